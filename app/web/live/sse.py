"""The routes that contracts declare: live streams and the tokens that open them.

The order in which a subscriber is let in matters: credential (401), form of the id (422), look-up in the caller's
workspace (404), state of the stream, limits (429), registration in the hub, and only then the first byte.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from flask import Response, request

from app.core.contract import frames
from app.core.contract.frames import View
from app.core.contract.model import Contract, ContractRoute
from app.core.problem import Problem
from app.core.wire import sse
from app.ledger.streams import StreamRow
from app.live.carrier import Carrier
from app.web.engine import engine
from app.web.live.credentials import opener
from app.web.live.errors import Refused
from app.web.live.opening import (
    check_limits,
    cursor_of,
    fixed_frame,
    has_more,
    open_carrier,
    opening_of,
    start_of,
    stream_asked_for,
    types_of,
)

# After a restart clients come back spread over this time, each told a time of its own.
RECONNECT_MILLISECONDS = (1000, 5000)
SPEEDS = (0.01, 1000.0)


def serve_sse(declared: Contract, route: ContractRoute, kind: str, stream_id: str) -> Response:
    """Open a server-sent event stream."""
    joined = engine()
    who = opener(route)
    found = stream_asked_for(joined, declared, route, who, kind, stream_id)
    wanted = types_of(route)
    cursor = cursor_of(route)
    speed = _speed(route, found)
    if found.ended and route.ended == "refuse":
        raise Refused("ended", f"This {kind} has ended.")
    chunked = request.environ.get("SERVER_PROTOCOL") != "HTTP/1.0"
    view = frames.view(route, "chunk" if chunked else "raw", found.attributes, wanted)
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
    feed = open_carrier(joined, route, view, found, who, sock, start, options)
    response = Response(_body(feed), headers=list(sse.HEADERS), direct_passthrough=True)
    response.call_on_close(feed.close)  # a generator that was never begun does not run its `finally`
    return response


def _body(feed: Carrier) -> Iterator[bytes]:
    try:
        yield b""  # makes gunicorn send the headers; from here on the hub writes to the socket by itself
        feed.run()
    finally:
        feed.close()


def _speed(route: ContractRoute, found: StreamRow) -> float | None:
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


def _farewell(route: ContractRoute, view: View, found: StreamRow, reason: str) -> bytes:
    """What ends the stream: the contract's closing frame, or before a restart how long to wait."""
    if reason == "ended":
        # Who came when it was over may have been shown nothing else, and comes back until an id says not to.
        return fixed_frame(route.closing, view, found, str(found.last_seq) if found.ended else None)
    if reason == "restart":
        return frames.wrap(view.wrap, sse.retry(random.randint(*RECONNECT_MILLISECONDS)))
    return b""
