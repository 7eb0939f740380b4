"""The routes that contracts declare: live streams and the tokens that open them.

The order in which a subscriber is let in matters: credential (401), form of the id (422), look-up in the caller's
workspace (404), state of the stream, limits (429), registration in the hub, and only then the first byte.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, request

from app import streams
from app.core import contract, drafts, envelope, ids, sse
from app.core.contract import Contract, Rules, View
from app.core.contract import Route as ContractRoute
from app.core.envelope import Event
from app.core.problem import Problem
from app.feed import Feed, prepare_socket
from app.streams import Found
from app.subscriber import Subscriber, Terms
from app.web import auth, contract_errors
from app.web.contract_errors import Refused
from app.web.credentials import Opener, opener
from app.web.find import find
from app.web.mint import mint
from app.web.parts import Parts, parts

# After a restart clients come back spread over this time, each told a time of its own.
RECONNECT_MILLISECONDS = (1000, 5000)
_CURSOR = re.compile(r"[0-9]{1,18}")


def blueprint(rules: Rules) -> Blueprint:
    """All routes of all contracts."""
    made = Blueprint("contracts", __name__)
    for declared in rules.contracts:
        for route in declared.routes:
            serve = {"sse": serve_sse, "mint": mint}.get(route.does)
            if serve is not None:
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
        except Problem as problem:
            return contract_errors.answer(declared, problem, stream_id)

    view.__name__ = f"{declared.name}_{route.name}"
    summary = f"{declared.about} ({declared.name}: {route.name})"
    answers = {route.mint_status: ""} if route.does == "mint" else {200: ""}
    auth.declare_view(made, auth.Route(route.method, route.path, "subscribe", summary, answers=answers), view)


def serve_sse(declared: Contract, route: ContractRoute, kind: str, stream_id: str) -> Response:
    """Open a server-sent event stream."""
    joined = parts()
    who = opener(route)
    found = find(joined, declared, route, who, kind, stream_id)
    wanted = _wanted(route)
    cursor = _cursor(route)
    if found.ended:
        if route.ended == "refuse":
            raise Refused("ended", f"This {kind} has ended.")
        if cursor is not None and cursor >= found.last_seq:
            return Response(status=204)  # the polite stop for an EventSource (WHATWG HTML, section 9.2.3)
    sock = request.environ.get("gunicorn.socket")
    if sock is None:
        raise Problem("unavailable", "Live streams need the gunicorn gevent server.")
    check_limits(joined, who)
    chunked = request.environ.get("SERVER_PROTOCOL") != "HTTP/1.0"
    view = contract.view(route, "chunk" if chunked else "raw", found.attributes, wanted)
    start, last = _start(joined, route, found, cursor)
    opening = _opening(route, view, found, last)
    if request.method == "HEAD":
        return Response(headers=list(sse.HEADERS))
    feed = open_feed(joined, route, view, found, who, sock, start, opening)
    return Response(_body(feed), headers=list(sse.HEADERS), direct_passthrough=True)


def check_limits(joined: Parts, who: Opener) -> None:
    """Raises Problem too_many when the process, the workspace or the key has its fill of connections."""
    settings, counts = joined.settings, joined.hub.open
    for name, most, what in (
        ("", settings.max_subscribers, "This server"),
        (who.workspace_id, settings.max_subscribers_per_workspace, "The workspace"),
        (who.key_id, settings.max_subscribers_per_key, "The key"),
    ):
        if counts[name] >= most:
            raise Problem("too_many", f"{what} has {most} live connections, the most there may be; close some first.")


def open_feed(
    joined: Parts,
    route: ContractRoute,
    view: View,
    found: Found,
    who: Opener,
    sock: Any,
    start: int,
    opening: bytes,
) -> Feed:
    """Register the subscriber in the hub, standing at `start` and not yet joined."""
    now = time.monotonic()
    terms = Terms(
        drop=route.overflow == "drop",
        overflow_frames=route.overflow_frames,
        heartbeat=contract.wrap(view.wrap, sse.comment(route.heartbeat, blank_line=route.heartbeat_blank_line)),
        heartbeat_seconds=route.heartbeat_seconds,
        expires_at=None if who.expires_at is None else now + who.expires_at - time.time(),
        key_id=who.key_id,
        token_id=who.token_id,
        workspace_id=found.workspace_id,
    )
    raw = prepare_socket(sock)
    subscriber = Subscriber(raw, view, terms, now)
    live = joined.hub.attach(found.id, found.external_id, subscriber)
    joined.hub.reach(live, found.last_seq)
    subscriber.cursor = min(start, live.last_seq)
    return Feed(
        joined.hub,
        live,
        subscriber,
        raw,
        opening=opening,
        closing=lambda: _fixed(route, view, found, closing=True),
        restart=lambda: contract.wrap(view.wrap, sse.retry(random.randint(*RECONNECT_MILLISECONDS))),
    )


def _body(feed: Feed) -> Iterator[bytes]:
    try:
        yield b""  # makes gunicorn send the headers; from here on the hub writes to the socket by itself
        feed.run()
    finally:
        feed.close()


def _wanted(route: ContractRoute) -> tuple[str, ...] | None:
    given = ",".join(request.args.getlist("types")) if "types" in route.options else ""
    if not given:
        return None
    patterns = tuple(sorted({part.strip() for part in given.split(",") if part.strip()}))
    for pattern in patterns:
        if pattern != "*" and not drafts.TYPE.fullmatch(pattern.removesuffix(".*")):
            raise Problem("invalid", f"types: {pattern!r} is neither a type, nor a prefix such as call.*, nor *.")
    return patterns


def _cursor(route: ContractRoute) -> int | None:
    """The seq up to which the client has seen everything. The header wins: an EventSource repeats its first URL."""
    if route.replay == "none":
        return None
    name, given = "Last-Event-ID", request.headers.get("Last-Event-ID")
    if given is None and "after_seq" in route.options:
        name, given = "after_seq", request.args.get("after_seq")
    if not given:
        return None
    if not _CURSOR.fullmatch(given):
        raise Problem("bad_request", f"{name} is not the number of an event; leave it out to start anew.")
    return int(given)


def _start(joined: Parts, route: ContractRoute, found: Found, cursor: int | None) -> tuple[int, Event | None]:
    """(the seq behind which the stream begins for this subscriber, an event of the past to show first)."""
    floor = 0
    if route.replay == "window":
        with joined.database.begin() as connection:
            floor = streams.seq_before(connection, found.id, route.replay_seconds)
    start = max(cursor or 0, floor)
    if cursor is None and route.replay != "window" and not (found.ended and route.ended == "replay"):
        start = found.last_seq
    if found.ended and route.ended_type is not None and start >= found.last_seq:
        with joined.database.begin() as connection:
            return start, streams.last_event_of_type(connection, found.id, route.ended_type)
    return start, None


def _opening(route: ContractRoute, view: View, found: Found, last: Event | None) -> bytes:
    shown = contract.encode(view, last, found.external_id) if last is not None else b""
    return _fixed(route, view, found, closing=False) + shown


def _fixed(route: ContractRoute, view: View, found: Found, *, closing: bool) -> bytes:
    """The contract's opening or closing frame, ready for the socket; empty if it has none."""
    fixed = route.closing if closing else route.opening
    if fixed is None:
        return b""
    now = datetime.now(UTC)
    values = {
        "new_id": ids.make(ids.EVENT, now, os.urandom(ids.RANDOM_BYTES)),
        "now": envelope.rfc3339(now),
        "stream_id": found.external_id,
        "trace_id": None,
    }
    return contract.wrap(view.wrap, sse.frame(fixed.event, None, contract.fixed_data(fixed.data, values)))
