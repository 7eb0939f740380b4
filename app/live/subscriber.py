"""One open connection: its socket, the frames that wait for the socket, and when it has to end."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from app.core.contract.frames import View
from app.live.beat import Beat

NUMBERS = itertools.count(1)  # of live connections, in this process
SILENT_HEARTBEATS = 2.5  # a WebSocket peer that left two pings unanswered is dead

Frames = Sequence[tuple[int, bytes]]  # (seq, bytes ready for the socket); seq 0: not an event


class RawSocket(Protocol):
    """A non-blocking socket."""

    def send(self, data: bytes, flags: int = ..., /) -> int: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """What a subscriber was promised. Times are monotonic seconds."""

    drop: bool  # overflow: drop the newest frame, rather than catch up from SQL
    overflow_frames: int
    heartbeat: bytes
    heartbeat_seconds: int
    expires_at: float | None
    key_id: str
    token_id: str | None
    workspace_id: str
    contract: str = ""  # the contract's name and the stream's kind and id: for people
    stream: str = ""
    linger_seconds: int = 0  # how long an ended stream is shown on, for late events


class Subscriber:
    """The state of one connection. `write`, `say`, `flush` and `tick` may write to the socket; none of them waits.

    A partial or refused send is remembered: nothing is ever written after half a frame but its other half.
    """

    __slots__ = (
        "_dropped",
        "_dropped_before",
        "_finished",
        "_heartbeat",
        "_laggards",
        "_partial",
        "_progress_at",
        "_sock",
        "_terms",
        "attention",
        "closing",
        "cursor",
        "gone",
        "heard_at",
        "joined",
        "number",
        "opened_at",
        "outbox",
        "slot",
        "started",
        "view",
    )

    def __init__(self, sock: RawSocket, view: View, terms: Terms, now: float) -> None:
        self._sock = sock
        self._terms = terms
        self._partial = False  # whether the first entry of the outbox is the rest of a frame
        self._dropped = 0  # since somebody took the count
        self._dropped_before = 0
        self._heartbeat = Beat(terms.heartbeat_seconds, now + terms.heartbeat_seconds)
        self._progress_at: float | None = None  # when the socket last took something of what waits; None: unknown
        self._laggards: set[Subscriber] | None = None
        self.number = next(NUMBERS)
        self.opened_at = now
        self.view = view
        self.cursor = 0  # the seq up to which it was sent everything; kept up to date only while not joined
        self.joined = False
        self.outbox: list[tuple[int, bytes]] = []  # short; a deque takes 600 bytes when it is empty
        self._finished = False  # the last bytes are sent or queued
        self.slot: int | None = None  # of the wheel that looks at it
        self.gone = False  # the peer has closed, or the socket failed
        self.started = False  # whether the response's headers are sent, so that frames may follow
        self.closing: str | None = None  # why this side ends it; None: it does not
        self.heard_at: float | None = None  # when the peer last sent anything; None: it need not (SSE)
        self.attention = threading.Event()  # wakes the connection's own greenlet to look at the state above

    @property
    def terms(self) -> Terms:
        """What the subscriber was promised."""
        return self._terms

    @property
    def dropped(self) -> int:
        """How many frames were dropped since it was opened."""
        return self._dropped_before + self._dropped

    @property
    def key_id(self) -> str:
        """The key that opened it, or that made the token that did."""
        return self._terms.key_id

    @property
    def token_id(self) -> str | None:
        """The stream token that opened it, if one did."""
        return self._terms.token_id

    @property
    def workspace_id(self) -> str:
        """Whose stream it is."""
        return self._terms.workspace_id

    @property
    def linger_seconds(self) -> int:
        """How long it waits, at the end of its stream, for a late event."""
        return self._terms.linger_seconds

    def lag_among(self, laggards: set[Subscriber]) -> None:
        """Be among these from the moment on at which something waits for the socket, or was dropped."""
        self._laggards = laggards

    def next_look(self) -> float:
        """When a tick may be due, in monotonic seconds, as long as nothing waits for the socket."""
        at = self._heartbeat.at
        if self.closing is not None:
            return at
        if self.heard_at is not None:
            at = min(at, self.heard_at + SILENT_HEARTBEATS * self._terms.heartbeat_seconds)
        return at if self._terms.expires_at is None else min(at, self._terms.expires_at)

    def write(self, frames: Frames, together: bytes) -> bool:
        """Send frames now, keeping what the socket does not take. together: the same frames as one piece.

        False: more frames wait than may, so the queue was dropped and `cursor` says where to read on. Nothing new is
        taken once this side has begun to close.
        """
        if self.closing is not None or self._finished:
            return True  # otherwise a busy queue could postpone closing forever
        if self.outbox or self.gone:
            return self._keep(frames)
        sent = self._send(together)
        if sent == len(together):
            return True
        return self._keep(*_unsent(frames, sent))

    def say(self, data: bytes) -> None:
        """Send a whole frame that is no event, such as the answer to a ping; dropped when the queue is full.

        Dropped behind the farewell, too: nothing follows a Close frame (RFC 6455 section 5.5.1).
        """
        if self._finished:
            return
        if self.outbox or self.gone:
            if len(self.outbox) < self._terms.overflow_frames:
                self._keep([(0, data)])
        else:
            self.write([(0, data)], data)

    def finish(self, farewell: bytes) -> None:
        """Queue the last bytes that this side sends, which may be none."""
        if farewell:
            self.outbox.append((0, farewell))
        self._finished = True

    def flush(self, now: float) -> bool:
        """Send what is waiting, as far as the socket takes it; True when nothing is left."""
        while self.outbox and not self.gone:
            seq, data = self.outbox[0]
            sent = self._send(data)
            if sent:
                self._progress_at = now
            if sent < len(data):
                if sent:
                    self.outbox[0] = (seq, data[sent:])
                    self._partial = True
                break
            del self.outbox[0]
            self._partial = False
        if self.outbox:
            self._lag(now)
        return not self.outbox

    def tick(self, now: float, stall_seconds: float) -> None:
        """Heartbeat, expiry and stall, by the monotonic clock."""
        if self._terms.expires_at is not None and now >= self._terms.expires_at:
            self.close("expired")
        if self.heard_at is not None and now - self.heard_at > SILENT_HEARTBEATS * self._terms.heartbeat_seconds:
            self.fail()
        heartbeat_due = self._heartbeat.is_due(now)
        if not self.outbox:
            self._progress_at = None
            if heartbeat_due and self.started and self.closing is None and not self._finished:
                self.write([(0, self._terms.heartbeat)], self._terms.heartbeat)
        elif self._progress_at is None:
            self._progress_at = now
        elif now - self._progress_at > stall_seconds:
            self.fail()

    def close(self, reason: str) -> None:
        """Ask the connection's greenlet to end it after what is waiting has been sent."""
        if self.closing is None:
            self.closing = reason
        self.attention.set()

    def fail(self) -> None:
        """Give the connection up: its peer is gone, or its socket failed."""
        self.gone = True
        self.attention.set()

    def take_dropped(self) -> int:
        """How many frames were dropped since the last call."""
        dropped, self._dropped = self._dropped, 0
        self._dropped_before += dropped
        return dropped

    def _send(self, data: bytes) -> int:
        try:
            return self._sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0
        except OSError:
            self.fail()
            return 0

    def _keep(self, frames: Frames, cut: bool = False) -> bool:
        """Queue frames up to the bound. cut: the first one is the rest of a frame."""
        if self.gone:
            return True  # nobody will read them; the greenlet is about to end
        if not self.outbox:
            self._partial = cut
            self._lag(None)
        room = max(0, self._terms.overflow_frames - len(self.outbox))
        self.outbox.extend(frames[:room])
        self.attention.set()
        if len(frames) <= room:
            return True
        if self._terms.drop:
            self._dropped += len(frames) - room
            return True
        self._let_go(frames[room][0])
        return False

    def _lag(self, now: float | None) -> None:
        """Something waits for the socket. now: None where nobody says what time it is; the next tick does."""
        if self._laggards is not None and self not in self._laggards:
            self._laggards.add(self)
            self._progress_at = now

    def _let_go(self, next_seq: int) -> None:
        """Drop the queue, keeping a partly sent frame. next_seq: the first frame that did not fit."""
        kept = [self.outbox.pop(0)] if self._partial else []
        self.cursor = next((seq for seq, _ in self.outbox if seq), next_seq) - 1
        self.outbox = kept


def _unsent(frames: Frames, sent: int) -> tuple[Frames, bool]:
    """The frames that a send of `sent` bytes left over, and whether the first is the rest of one."""
    for index, (seq, data) in enumerate(frames):
        if sent < len(data):
            return [(seq, data[sent:]), *frames[index + 1 :]], sent > 0
        sent -= len(data)
    return [], False
