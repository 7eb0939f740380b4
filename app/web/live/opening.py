"""What SSE and WebSocket streams have in common when they open: limits, cursor, registration in the hub."""

from __future__ import annotations

import os
import re
import time
from datetime import UTC, datetime
from typing import Any

from flask import request

from app.core import ids
from app.core.contract import frames
from app.core.contract.frames import View
from app.core.contract.model import Contract, ContractRoute, Fixed
from app.core.event import names
from app.core.problem import Problem, not_found
from app.core.wire import envelope, sse, websocket
from app.core.wire.envelope import Event
from app.ledger import streams
from app.ledger.streams import StreamRow
from app.live import reads
from app.live.carrier import Carrier, prepare_socket
from app.live.hub import Full
from app.live.subscriber import Subscriber, Terms
from app.web.engine import Engine
from app.web.live.credentials import Opener
from app.web.live.errors import Refused


def stream_asked_for(
    joined: Engine, declared: Contract, route: ContractRoute, who: Opener, kind: str, stream_id: str
) -> StreamRow:
    """The stream that is asked for, in the caller's workspace. Raises Problem."""
    if not stream_id:
        raise Refused("missing_id", f"The {route.id_in} parameter {route.id_name} is missing.")
    pattern = declared.id_patterns.get(kind)
    if not names.EXTERNAL_ID.fullmatch(stream_id) or (pattern and not re.fullmatch(pattern, stream_id)):
        raise Refused("invalid_id", f"{route.id_name} does not have the form of an id of a {kind}.")
    if not names.KIND.fullmatch(kind):
        raise Refused("invalid_id", f"The kind {names.KIND_HINT}.")
    who.check_stream(kind, stream_id)
    with joined.database.begin() as connection:
        found = streams.find_stream(connection, who.workspace_id, kind, stream_id)
    if found is None:
        raise not_found("stream")
    return found


_CURSOR = re.compile(r"[0-9]{1,18}")


def check_limits(joined: Engine, who: Opener) -> None:
    """Raises Problem too_many when the process, the workspace or the key has its fill of connections."""
    for name, (most, _) in _limits(joined, who).items():
        if joined.hub.open[name] >= most:
            raise _too_many(joined, who, name)


def _limits(joined: Engine, who: Opener) -> dict[str, tuple[int, str]]:
    """Name in the hub's counts -> (most, whose connections they are)."""
    settings = joined.settings
    return {
        "": (settings.max_subscribers, "This server"),
        who.workspace_id: (settings.max_subscribers_per_workspace, "The workspace"),
        who.key_id: (settings.max_subscribers_per_key, "The key"),
    }


def _too_many(joined: Engine, who: Opener, name: str) -> Problem:
    most, what = _limits(joined, who)[name]
    return Problem("too_many", f"{what} has {most} live connections, the most there may be; close some first.")


def open_carrier(
    joined: Engine,
    route: ContractRoute,
    view: View,
    found: StreamRow,
    who: Opener,
    sock: Any,
    start: int,
    options: dict[str, Any],
) -> Carrier:
    """Register the subscriber in the hub, standing at `start` and not yet joined. options: of the Feed."""
    now = joined.hub.clock()
    terms = Terms(
        drop=route.overflow == "drop",
        overflow_frames=route.overflow_frames,
        heartbeat=_heartbeat(route, view),
        heartbeat_seconds=route.heartbeat_seconds,
        expires_at=None if who.expires_at is None else now + who.expires_at - time.time(),
        key_id=who.key_id,
        token_id=who.token_id,
        workspace_id=found.workspace_id,
    )
    raw = prepare_socket(sock)
    subscriber = Subscriber(raw, view, terms, now)
    most = {name: number for name, (number, _) in _limits(joined, who).items()}
    try:
        live = joined.hub.attach(found.id, found.external_id, subscriber, seq=found.last_seq, most=most)
    except Full as full:
        raise _too_many(joined, who, full.name) from None
    except LookupError:
        raise not_found("stream") from None
    except ConnectionError as error:
        raise Problem("unavailable", f"Not available right now: {error}; try again.", retry_after_seconds=1) from None
    subscriber.cursor = min(start, live.last_seq)
    return Carrier(joined.hub, live, subscriber, raw, **options)


def _heartbeat(route: ContractRoute, view: View) -> bytes:
    if view.wrap == "ws":
        return websocket.frame(websocket.PING, b"")
    return frames.wrap(view.wrap, sse.comment(route.heartbeat, blank_line=route.heartbeat_blank_line))


def types_of(route: ContractRoute) -> tuple[str, ...] | None:
    given = ",".join(request.args.getlist("types")) if "types" in route.options else ""
    if not given:
        return None
    patterns = tuple(sorted({part.strip() for part in given.split(",") if part.strip()})) or ("*",)
    for pattern in patterns:
        if pattern != "*" and not names.TYPE.fullmatch(pattern.removesuffix(".*")):
            raise Problem("invalid", f"types: {pattern!r} is neither a type, nor a prefix such as call.*, nor *.")
    return patterns


def cursor_of(route: ContractRoute) -> int | None:
    """The seq up to which the client has seen everything. The header wins: an EventSource repeats its first URL."""
    if route.replay == "none":
        return None
    name, given = "Last-Event-ID", request.headers.get("Last-Event-ID")
    if not given and "after_seq" in route.options:
        name, given = "after_seq", request.args.get("after_seq")
    if not given:
        return None
    if not _CURSOR.fullmatch(given):
        raise Problem("bad_request", f"{name} is not the number of an event; leave it out to start anew.")
    return int(given)


def start_of(joined: Engine, route: ContractRoute, found: StreamRow, cursor: int | None) -> tuple[int, Event | None]:
    """(the seq behind which the stream begins for this subscriber, an event of the past to show first)."""
    floor = 0
    if route.replay == "window":
        with joined.database.begin() as connection:
            floor = reads.seq_before(connection, found.id, route.replay_seconds)
    start = max(cursor or 0, floor)
    if cursor is None and route.replay != "window" and not (found.ended and route.ended == "replay"):
        start = found.last_seq
    if found.ended and route.ended_type is not None:
        with joined.database.begin() as connection:
            last = reads.last_event_of_type(connection, found.id, route.ended_type)
        if last is not None and (cursor or 0) < last.seq <= start:  # neither seen before nor about to be replayed
            return start, last
    return start, None


def has_more(joined: Engine, view: View, found: StreamRow, after: int) -> bool:
    """Whether this view shows anything of an ended stream behind a seq."""
    if after >= found.last_seq:
        return False
    with joined.database.begin() as connection:
        return any(view.shows(type) for type in reads.types_after(connection, found.id, after))


def opening_of(route: ContractRoute, view: View, found: StreamRow, last: Event | None) -> bytes:
    """What comes before the first event: the contract's opening frame, and an event of the past to show first."""
    shown = frames.encode(view, last, found.external_id) if last is not None else b""
    return fixed_frame(route.opening, view, found) + shown


def fixed_frame(fixed: Fixed | None, view: View, found: StreamRow, id: str | None = None) -> bytes:
    """A contract's opening or closing frame, ready for the socket; empty if it has none."""
    if fixed is None:
        return b""
    now = datetime.now(UTC)
    values = {
        "new_id": ids.make(ids.EVENT, now, os.urandom(ids.RANDOM_BYTES)),
        "now": envelope.rfc3339(now),
        "stream_id": found.external_id,
    }
    return frames.encode_fixed(view, fixed, id, values)
