"""The routes that contracts declare: live streams and the tokens that open them.

The order in which a subscriber is let in matters: credential (401), form of the id (422), look-up in the caller's
workspace (404), state of the stream, limits (429), registration in the hub, and only then the first byte.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator

from flask import Blueprint, Response, request

from app.core import contract, sse
from app.core.contract import Contract, Rules, View
from app.core.contract import Route as ContractRoute
from app.core.problem import Problem
from app.feed import Feed
from app.hub import Hub
from app.streams import Found
from app.web import auth, contract_docs, contract_errors, problems
from app.web.contract_errors import Refused
from app.web.credentials import opener
from app.web.find import find
from app.web.mint import mint
from app.web.opening import check_limits, cursor_of, fixed_frame, has_more, open_feed, opening_of, start_of, types_of
from app.web.parts import parts
from app.web.ws import serve_websocket

# After a restart clients come back spread over this time, each told a time of its own.
RECONNECT_MILLISECONDS = (1000, 5000)
WATCH_SECONDS = 0.2
LISTENER_SECONDS = 1.2
CLOSING_SECONDS = 3.0  # over which a process that ends closes its streams; gunicorn's graceful_timeout is 20
SPEEDS = (0.01, 1000.0)


def blueprint(rules: Rules) -> Blueprint:
    """All routes of all contracts."""
    made = Blueprint("contracts", __name__)
    made.after_request(_allow_other_origins)
    for declared in rules.contracts:
        for route in declared.routes:
            serve = {"sse": serve_sse, "websocket": serve_websocket, "mint": mint}[route.does]
            _add(made, declared, route, serve)
    return made


def _add(
    made: Blueprint,
    declared: Contract,
    route: ContractRoute,
    serve: Callable[[Contract, ContractRoute, str, str], Response],
) -> None:
    def view(**values: str) -> Response:
        stream_id = values.get(route.id_name) if route.id_in == "path" else request.args.get(route.id_name)
        try:
            return serve(declared, route, route.kind or values["kind"], stream_id or "")
        except Exception as error:  # whatever it is, it is told in the contract's form
            problem = error if isinstance(error, Problem) else problems.problem_of(error)
            return contract_errors.answer(declared, problem, stream_id)

    view.__name__ = f"{declared.name}_{route.name}"
    summary = f"{declared.about} ({declared.name}: {route.name})"
    described = contract_docs.operation(declared, route)
    shown = auth.Route(route.method, route.path, "subscribe", summary, operation=described)
    auth.declare_view(made, shown, view, websocket=route.does == "websocket")


def _allow_other_origins(response: Response) -> Response:
    """Let pages of any origin read streams (Fetch standard, CORS). No cookie goes along with `*`, so whoever reads
    has a key or a token."""
    response.headers.setdefault("Access-Control-Allow-Origin", "*")
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Headers"] = "Authorization, X-API-Key, Last-Event-ID, Cache-Control"
        response.headers["Access-Control-Max-Age"] = "600"
    return response


def serve_sse(declared: Contract, route: ContractRoute, kind: str, stream_id: str) -> Response:
    """Open a server-sent event stream."""
    joined = parts()
    who = opener(route)
    found = find(joined, declared, route, who, kind, stream_id)
    wanted = types_of(route)
    cursor = cursor_of(route)
    speed = _speed(route, found)
    if found.ended and route.ended == "refuse":
        raise Refused("ended", f"This {kind} has ended.")
    chunked = request.environ.get("SERVER_PROTOCOL") != "HTTP/1.0"
    view = contract.view(route, "chunk" if chunked else "raw", found.attributes, wanted)
    start, last = start_of(joined, route, found, cursor)
    # Who has no cursor is let in for what the contract itself says; without that, an EventSource that is shown nothing
    # is given no id either, and would come back for ever.
    stops = cursor is not None or (route.opening is None and route.closing is None)
    if found.ended and stops and last is None and not has_more(joined, view, found, start):
        return Response(status=204)  # the polite stop for an EventSource (WHATWG HTML, section 9.2.3)
    sock = request.environ.get("gunicorn.socket")
    if sock is None:
        raise Problem("unavailable", "Live streams need the gunicorn gevent server.")
    check_limits(joined, who)
    opening = opening_of(route, view, found, last)
    if request.method == "HEAD":
        return Response(headers=list(sse.HEADERS))
    options = {"opening": opening, "farewell": lambda reason: _farewell(route, view, found, reason), "speed": speed}
    feed = open_feed(joined, route, view, found, who, sock, start, options)
    response = Response(_body(feed), headers=list(sse.HEADERS), direct_passthrough=True)
    response.call_on_close(feed.close)  # a generator that was never begun does not run its `finally`
    return response


def watch(hub: Hub) -> Callable[[Callable[[], bool]], None]:
    """What the server calls with a function that tells whether this process is to go on."""

    def wait(alive: Callable[[], bool]) -> None:
        def run() -> None:
            while alive():
                threading.Event().wait(WATCH_SECONDS)
            # gunicorn closes its listener within a second. Streams that were closed before could come back to here.
            threading.Event().wait(LISTENER_SECONDS)
            hub.close_all("restart", CLOSING_SECONDS)

        threading.Thread(target=run, name="watch", daemon=True).start()

    return wait


def _body(feed: Feed) -> Iterator[bytes]:
    try:
        yield b""  # makes gunicorn send the headers; from here on the hub writes to the socket by itself
        feed.run()
    finally:
        feed.close()


def _speed(route: ContractRoute, found: Found) -> float | None:
    """How many times faster than it happened an ended stream is to be replayed."""
    given = request.args.get("speed") if "speed" in route.options else None
    if not given:
        return None
    try:
        speed = float(given)
    except ValueError:
        speed = 0.0
    if not SPEEDS[0] <= speed <= SPEEDS[1]:
        raise Problem("invalid", f"speed: give a factor from {SPEEDS[0]} to {SPEEDS[1]:.0f}, such as 1 or 2.5.")
    if not found.ended:
        raise Problem("conflict", "Only an ended stream can be replayed at its own pace; leave speed out.")
    return speed


def _farewell(route: ContractRoute, view: View, found: Found, reason: str) -> bytes:
    """What ends the stream: the contract's closing frame, or before a restart how long to wait."""
    if reason == "ended":
        # Who came when it was over may have been shown nothing else, and comes back until an id says not to.
        return fixed_frame(route.closing, view, found, str(found.last_seq) if found.ended else None)
    if reason == "restart":
        return contract.wrap(view.wrap, sse.retry(random.randint(*RECONNECT_MILLISECONDS)))
    return b""
