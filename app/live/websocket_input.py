"""What a WebSocket client sends: bytes become texts, within limits. Touches no socket; it is given the bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import RemoteProtocolError

from app.core.wire import websocket

MAX_TEXT_BYTES = 64 * 1024
TEXTS_PER_SECOND = 20  # enough for a person who presses keys or a program that steers a call
BURST = 40
# Frames of any kind, empty ones too: several for each text, and pings and pongs. One costs 7 µs, so what a client may
# send at once costs 1.4 ms.
FRAMES_PER_SECOND = 100
FRAME_BURST = 200

# RFC 6455 section 7.4.1 and the IANA registry: whether it makes sense to come back.
NORMAL, GOING_AWAY, PROTOCOL, UNSUPPORTED, NO_CODE, INVALID, POLICY, TOO_BIG, RESTART, TRY_LATER = (
    1000, 1001, 1002, 1003, 1005, 1007, 1008, 1009, 1012, 1013,
)  # fmt: skip
CLOSES = {
    "ended": (NORMAL, "the stream has ended"),
    "restart": (RESTART, "the server restarts; reconnect"),
    "expired": (POLICY, "the token has expired; mint a fresh one"),
    "revoked": (POLICY, "the credential was revoked"),
    "gone": (POLICY, "the stream was removed"),
    "disconnected": (POLICY, "an operator ended this connection"),
    "too_big": (TOO_BIG, f"a text has at most {MAX_TEXT_BYTES} bytes"),
    "binary": (UNSUPPORTED, "send JSON texts"),
    "too_fast": (TRY_LATER, f"send at most {TEXTS_PER_SECOND} texts a second; reconnect later"),
    "flood": (POLICY, f"send at most {FRAMES_PER_SECOND} frames a second"),
    "protocol": (PROTOCOL, "that is not the WebSocket protocol"),
    "not_utf8": (INVALID, "a text must be UTF-8"),
}


@dataclass(slots=True)
class Allowance:
    """So many a second, and a burst of unused ones at once."""

    per_second: float
    left: float  # the burst, at first
    _most: float = field(init=False)
    _spent_at: float | None = None

    def __post_init__(self) -> None:
        self._most = self.left

    def spend(self, now: float) -> bool:
        """Take one; False when there is none left. now: monotonic seconds."""
        if self._spent_at is not None:
            self.left = min(self._most, self.left + (now - self._spent_at) * self.per_second)
        self._spent_at = now
        self.left -= 1
        return self.left >= 0


@dataclass(slots=True)
class WebSocketInput:
    """The receiving half of one connection.

    on_text: takes each whole text. reply: takes bytes to send back (pongs). end: takes the reason to close, a key of
    CLOSES or "peer". clock: monotonic seconds.
    """

    on_text: Callable[[str], None]
    reply: Callable[[bytes], None]
    end: Callable[[str], None]
    clock: Callable[[], float]
    peer_close: bytes = b""
    _connection: Connection = field(default_factory=lambda: Connection(ConnectionType.SERVER))
    _pieces: list[str] = field(default_factory=list)
    _size: int = 0
    _texts: Allowance = field(default_factory=lambda: Allowance(TEXTS_PER_SECOND, BURST))
    _frames: Allowance = field(default_factory=lambda: Allowance(FRAMES_PER_SECOND, FRAME_BURST))
    _over: bool = False

    def receive(self, data: bytes) -> None:
        """Take bytes as they came from the socket."""
        if not self._over:
            self._read(data)

    def _read(self, data: bytes) -> None:
        try:
            self._connection.receive_data(data)
            for event in self._connection.events():  # each is parsed when it is asked for: no work is done ahead
                if self._over:
                    break
                self._take(event)
        except RemoteProtocolError:
            self._close("protocol")

    def _take(self, event: object) -> None:
        # A frame may come in parts, of which the last one counts: a slow network is no flood.
        if getattr(event, "frame_finished", True) and not self._frames.spend(self.clock()):
            self._close("flood")
        elif isinstance(event, TextMessage):
            self._take_text(event)
        elif isinstance(event, BytesMessage):
            self._close("binary")
        elif isinstance(event, Ping):
            self.reply(websocket.frame(websocket.PONG, bytes(event.payload)))
        elif isinstance(event, CloseConnection):
            self._take_close(event.code)
        else:
            assert isinstance(event, Pong)

    def _take_close(self, code: int) -> None:
        if self._connection.state is not ConnectionState.REMOTE_CLOSING:
            # No close frame arrived: wsproto reports a protocol error this way.
            self._close("not_utf8" if code == INVALID else "protocol")
            return
        # NO_CODE stands for a close without one, and may not be sent itself (RFC 6455 section 7.4.1).
        self.peer_close = websocket.close_frame(NORMAL if code == NO_CODE else code, "")
        self._close("peer")

    def _take_text(self, event: TextMessage) -> None:
        self._size += len(event.data.encode())
        if self._size > MAX_TEXT_BYTES:
            self._close("too_big")
            return
        if event.data:  # any number of empty pieces would take memory that no limit counts
            self._pieces.append(event.data)
        if not event.message_finished:
            return
        text, self._pieces, self._size = "".join(self._pieces), [], 0
        if self._texts.spend(self.clock()):
            self.on_text(text)
        else:
            self._close("too_fast")

    def _close(self, reason: str) -> None:
        self._over = True
        self.end(reason)


def close_frame(reason: str, peer_close: bytes) -> bytes:
    """The close frame for a reason; for "peer" the answer to the peer's own."""
    return peer_close if reason == "peer" else websocket.close_frame(*CLOSES.get(reason, (GOING_AWAY, reason)))
