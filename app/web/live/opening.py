"""How a live stream opens, over SSE and WebSocket alike: admit, place, open. Each step takes the last one's value.

* `admit`: credential (401, 403), form of the id (422), look-up in the caller's workspace (404).
* `place`: where the subscriber begins, and what it is shown first.
* `open_carrier`: registration in the hub, before the first byte is sent.

Between them each transport calls `refuse_ended` and `require_room`, in the order that its clients can observe.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

from flask import request

from app.core.contract import frames
from app.core.contract.frames import View
from app.core.contract.model import Contract, ContractRoute
from app.core.event import names
from app.core.problem import Problem, not_found
from app.core.wire.envelope import Event
from app.ledger import streams
from app.ledger.streams import StreamRow
from app.live import reads
from app.live.carrier import Carrier, Handling, prepare_socket
from app.live.connections import Full
from app.live.subscriber import Subscriber, Terms
from app.web.access_log import LOGGED
from app.web.engine import Engine, engine
from app.web.live.credentials import Opener, opener_of
from app.web.live.errors import ContractRefusal
from app.web.live.fixed_frames import fixed_frame, heartbeat, retry
from app.web.live.limits import check_limits, limits, too_many
from app.web.live.query import Query
from app.web.metrics import streams as stream_metrics


@dataclass(frozen=True, slots=True)
class Admitted:
    """A request whose caller may see the stream that it names. linger_seconds: for how long the route stays open after
    the stream's end, for late events."""

    engine: Engine
    route: ContractRoute
    opener: Opener
    stream: StreamRow
    linger_seconds: int = 0

    @property
    def over(self) -> bool:
        """Whether the stream has ended and the route shows nothing more of it."""
        return self.stream.over(self.linger_seconds)


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an admitted subscriber begins.

    start: the seq after which events are shown. past: an event before that which is shown first, if any. resumes:
    whether the client gave a cursor that is to be believed. reset: None, or up to which seq what it has seen is still
    so, because it gave one of a future that was lost (a backup was restored, or a standby took over that had less).
    speed: of the replay, None for at once.
    """

    admitted: Admitted
    view: View
    start: int
    past: Event | None
    resumes: bool
    reset: int | None
    speed: float | None

    def opening(self) -> bytes:
        """What is sent before the first event: when to come back, the opening, the reset, and the event of the past."""
        route, stream = self.admitted.route, self.admitted.stream
        past = b""
        if self.past is not None:
            past = frames.encode(self.view, self.past, stream.external_id, stream.epoch)
        return retry(route, self.view) + fixed_frame(route.opening, self.view, stream) + self._reset() + past

    def _reset(self) -> bytes:
        if self.reset is None:
            return b""
        route, stream = self.admitted.route, replace(self.admitted.stream, last_seq=self.reset)
        return fixed_frame(route.reset, self.view, stream, frames.place(self.view.frame, self.reset, stream.epoch))

    def closing(self, id: str | None = None) -> bytes:
        """The contract's closing frame. id: for its `id:` line."""
        return fixed_frame(self.admitted.route.closing, self.view, self.admitted.stream, id)

    def shows_more(self) -> bool:
        """Whether the view shows any event after the start, of those that the request found."""
        stream = self.admitted.stream
        if self.start >= stream.last_seq:
            return False
        with self.admitted.engine.database.begin() as connection:
            return any(self.view.shows(type) for type in reads.types_after(connection, stream.id, self.start))


def admit(contract: Contract, route: ContractRoute, kind: str, stream_id: str) -> Admitted:
    """Let in whoever may see this stream. Raises Problem."""
    current = engine()
    opener = opener_of(current, route)
    if not stream_id:
        raise ContractRefusal("missing_id", f"The {route.id_in} parameter {route.id_name} is missing.")
    pattern = contract.id_patterns.get(kind)
    if not names.EXTERNAL_ID.fullmatch(stream_id) or (pattern and not re.fullmatch(pattern, stream_id)):
        raise ContractRefusal("invalid_id", f"{route.id_name} does not have the form of an id of a {kind}.")
    if not names.KIND.fullmatch(kind):
        raise ContractRefusal("invalid_id", f"The kind {names.KIND_HINT}.")
    opener.check_stream(kind, stream_id)
    stream = streams.seek_stream(current.database, opener.workspace_id, kind, stream_id)
    if stream is None:
        raise not_found("stream")
    return Admitted(current, route, opener, stream, current.rules.linger_seconds(contract, kind))


def refuse_ended(admitted: Admitted) -> None:
    """Raises the contract's refusal if the stream is over and the route does not show ended streams."""
    if admitted.over and admitted.route.ended == "refuse":
        raise ContractRefusal("ended", f"This {admitted.stream.kind} has ended.")


def require_room(admitted: Admitted) -> Any:
    """The client's socket, if one more connection may open. Raises Problem unavailable, too_many."""
    sock = client_socket()
    check_limits(admitted.engine, admitted.opener)
    return sock


def client_socket() -> Any:
    """The socket of this request's client. Raises Problem unavailable under a server that does not hand it over."""
    sock = request.environ.get("gunicorn.socket")
    if sock is None:
        raise Problem("unavailable", "Live streams need the gunicorn gevent server.")
    return sock


def forget_request(environ: dict[str, Any]) -> None:
    """Let go what a stream needs no more of the request that opened it, for as long as it is open: some kilobytes of
    headers and of what was read from them. What the access log tells at its end stays."""
    kept = {name: environ[name] for name in LOGGED if name in environ}
    environ.clear()
    environ.update(kept)


def place(admitted: Admitted, query: Query, wrap: str) -> Placed:
    """Where the subscriber begins. wrap: how its socket takes frames (see View)."""
    view = frames.view(admitted.route, wrap, admitted.stream.attributes, query.types)
    cursor, reset = _believed(admitted, query)
    start = _start(admitted, cursor)
    past = _past(admitted, cursor, start)
    return Placed(admitted, view, start, past, cursor is not None, reset, query.speed)


def _believed(admitted: Admitted, query: Query) -> tuple[int | None, int | None]:
    """The cursor to go by, and up to where another that was given is still true, if it is of a future that was lost.

    Such a client goes on from there where the contract can tell it so, else it begins as one without a cursor. Of an
    ended stream nothing more will come; there any cursor behind the end means that all was seen.
    """
    route, stream, cursor = admitted.route, admitted.stream, query.cursor
    if cursor is None:
        return None, None
    if cursor > stream.last_seq and admitted.over:
        stream_metrics.CURSORS_AHEAD.inc()
        return cursor, None
    shared = _shared(admitted, cursor, query.epoch)
    if shared == cursor:
        return cursor, None
    stream_metrics.CURSORS_AHEAD.inc()
    shared = stream.last_seq if shared is None else shared
    return (None if route.reset is None else shared), shared


def _shared(admitted: Admitted, cursor: int, epoch: int | None) -> int | None:
    """Up to where the stream is as somebody saw it, in a history that may be an earlier one. epoch: None if that is not
    said. None for a history that is not known: it was lost with another server."""
    stream = admitted.stream
    seq = min(cursor, stream.last_seq)
    if epoch is None or epoch == stream.epoch or not seq:
        return seq
    if epoch > stream.epoch:
        return None
    with admitted.engine.database.begin() as connection:
        return reads.last_shared(connection, stream.id, seq, epoch)


def _start(admitted: Admitted, cursor: int | None) -> int:
    route, stream = admitted.route, admitted.stream
    if route.replay == "window":
        with admitted.engine.database.begin() as connection:
            return max(cursor or 0, reads.seq_before(connection, stream.id, route.replay_seconds))
    if cursor is None and not (stream.ended and route.ended == "replay"):
        return stream.last_seq
    return cursor or 0


def _past(admitted: Admitted, cursor: int | None, start: int) -> Event | None:
    """An ended stream's last event of the contract's `ended_type`, unless it was seen or is about to be replayed."""
    route, stream = admitted.route, admitted.stream
    if not stream.ended or route.ended_type is None:
        return None
    with admitted.engine.database.begin() as connection:
        last = reads.last_event_of_type(connection, stream.id, route.ended_type)
    return last if last is not None and (cursor or 0) < last.seq <= start else None


def open_carrier(placed: Placed, sock: Any, handling: Handling) -> Carrier:
    """Register the subscriber in the hub, at its start and not yet joined. Raises Problem."""
    hub, stream = placed.admitted.engine.hub, placed.admitted.stream
    raw, now = prepare_socket(sock), hub.clock()
    subscriber = Subscriber(raw, placed.view, _terms(placed, now), now)
    most = limits(placed.admitted.engine.settings)
    try:
        live = hub.attach(
            stream.id, stream.external_id, subscriber, seq=stream.last_seq, epoch=stream.epoch, limits=most
        )
    except Full as full:
        raise too_many(full) from None
    except LookupError:
        raise not_found("stream") from None
    except ConnectionError as error:
        raise Problem("unavailable", f"Not available right now: {error}; try again.", retry_after_seconds=1) from None
    if live.epoch != stream.epoch:  # what the subscriber has been told, and is to be shown, are of different histories
        hub.detach(live, subscriber)
        text = "The history of the log has just changed; try again."
        raise Problem("unavailable", text, retry_after_seconds=1)
    subscriber.cursor = min(placed.start, live.last_seq)
    return Carrier(hub, live, subscriber, raw, handling)


def _terms(placed: Placed, now: float) -> Terms:
    """What the contract promises the subscriber, and whose credential opened it. now: monotonic seconds."""
    admitted = placed.admitted
    route, opener = admitted.route, admitted.opener
    return Terms(
        drop=route.overflow == "drop",
        overflow_frames=route.overflow_frames,
        heartbeat=heartbeat(route, placed.view),
        heartbeat_seconds=route.heartbeat_seconds,
        expires_at=None if opener.life_seconds is None else now + opener.life_seconds,
        key_id=opener.key_id,
        token_id=opener.token_id or opener.session_id,
        workspace_id=admitted.stream.workspace_id,
        linger_seconds=admitted.linger_seconds,
        contract=next((one.name for one in admitted.engine.rules.contracts if route in one.routes), ""),
        stream=f"{admitted.stream.kind}/{admitted.stream.external_id}",
    )
