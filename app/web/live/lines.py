"""The connection of a viewer who is served by a greenlet of its own (view.py): over SSE, or over a WebSocket.

A line sends in bounded pieces, notices that its client has gone, and ends as its protocol wants it.
"""

from __future__ import annotations

import errno
import random
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any, ClassVar, NoReturn

from flask import Response, request

from app.core.contract.frames import wrap
from app.core.wire import sse, websocket
from app.live.carrier import INPUT_BYTES, prepare_socket
from app.live.subscriber import SILENT_HEARTBEATS
from app.live.websocket_input import WebSocketInput, close_frame
from app.web.live.conversation import LINGER_SECONDS
from app.web.live.fixed_frames import RECONNECT_MILLISECONDS
from app.web.live.sse import cut
from app.web.live.websocket import Switched

HEARTBEAT_SECONDS = 15.0
STALL_SECONDS = 10.0  # a viewer that takes no piece for so long is cut; it may resume from where it was
PIECE_BYTES = 64 * 1024  # sent before the viewer is looked after again; a frame that is larger is sent in pieces, too

_NO_TEXTS = b'{"error":{"code":"bad_request","detail":"This feed takes no texts from its viewers."}}'


class Line(ABC):
    """sock: as of client_socket."""

    transport: ClassVar[str]  # for people

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._raw = getattr(sock, "_sock", sock)
        self._timeout: float | None = None

    def begin(self) -> None:
        """Take the socket over, behind the response's head. Raises OSError."""
        prepare_socket(self._sock)
        self._timeout = self._sock.gettimeout()
        self._sock.settimeout(STALL_SECONDS)

    def pieces(self, frames: Sequence[bytes]) -> Iterator[bytes]:
        """Frames as they go over the wire, joined to pieces of bounded size."""
        waiting: list[bytes] = []
        size = 0
        for frame in frames:
            if waiting and size + len(frame) > PIECE_BYTES:
                yield self.wrapped(b"".join(waiting))
                waiting, size = [], 0
            waiting.append(frame)
            size += len(frame)
        if waiting:
            yield self.wrapped(b"".join(waiting))

    def send(self, piece: bytes) -> None:
        """Send a piece. Raises OSError when the viewer has gone, or takes nothing."""
        for at in range(0, len(piece), PIECE_BYTES):
            self._sock.sendall(piece[at : at + PIECE_BYTES])

    def cut(self) -> None:
        """End the connection, perhaps in the middle of a frame."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    @abstractmethod
    def response(self, body: Iterator[bytes]) -> Response:
        """The response whose body writes to the socket by itself."""

    @abstractmethod
    def wrapped(self, data: bytes) -> bytes:
        """Frames as they go over the wire."""

    @abstractmethod
    def heartbeat(self) -> bytes:
        """A frame for quiet times."""

    @abstractmethod
    def look(self) -> str | None:
        """Whether the client still is there. A reason to end: a key of websocket_input.CLOSES, or "peer". Raises
        OSError when it has disconnected."""

    @abstractmethod
    def end(self, reason: str) -> None:
        """End properly. reason: as of `look`, or "restart", "revoked", "expired", "disconnected"."""


class EventSourceLine(Line):
    """Server-sent events."""

    transport = "SSE"

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._wrap = "chunk" if request.environ.get("SERVER_PROTOCOL") != "HTTP/1.0" else "raw"

    def begin(self) -> None:
        """As of a line; then tells when to come back after a cut."""
        super().begin()
        self.send(self.wrapped(sse.retry(random.randint(*RECONNECT_MILLISECONDS))))

    def response(self, body: Iterator[bytes]) -> Response:
        """200, with an endless body."""
        return Response(body, headers=list(sse.HEADERS), direct_passthrough=True)

    def wrapped(self, data: bytes) -> bytes:
        """As a chunk."""
        return wrap(self._wrap, data)

    def heartbeat(self) -> bytes:
        """A comment."""
        return sse.comment("keepalive", blank_line=False)

    def look(self) -> None:
        """What the client sends is its next request, and stays where it is."""
        with suppress(BlockingIOError):
            if not self._raw.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                raise ConnectionResetError("the viewer has gone")

    def end(self, reason: str) -> None:
        """The body's last chunk, or for a process that ends a cut."""
        self._sock.settimeout(self._timeout)
        if reason == "restart":
            cut()


class SocketLine(Line):
    """A WebSocket, on which the client may say nothing but pings and its farewell. accept: answers its handshake."""

    transport = "WebSocket"

    def __init__(self, sock: Any, accept: str) -> None:
        super().__init__(sock)
        self._accept = accept
        self._heard_at = time.monotonic()
        self._reason: str | None = None
        self._input = WebSocketInput(self._on_text, self._reply, self._on_end, time.monotonic)

    def response(self, body: Iterator[bytes]) -> Response:
        """101."""
        return Switched(body, self._accept)

    def wrapped(self, data: bytes) -> bytes:
        """As it is: texts are frames already."""
        return data

    def heartbeat(self) -> bytes:
        """A ping."""
        return websocket.frame(websocket.PING, b"")

    def look(self) -> str | None:
        """Take what the client has sent, a bounded part of it at a time."""
        data = None
        with suppress(BlockingIOError):
            data = self._raw.recv(INPUT_BYTES, socket.MSG_DONTWAIT)
        if data == b"":
            raise ConnectionResetError("the viewer has gone")
        if data:
            self._heard_at = time.monotonic()
            self._input.receive(data)
        elif time.monotonic() - self._heard_at > SILENT_HEARTBEATS * HEARTBEAT_SECONDS:
            raise ConnectionResetError("the viewer answers no pings")
        return self._reason

    def end(self, reason: str) -> NoReturn:
        """Send a close frame, and give the client time to close first (RFC 6455 section 7.1.1)."""
        with suppress(OSError):  # it may have gone by now, and then there is nobody to say farewell to
            self._sock.sendall(close_frame(reason, self._input.peer_close))
            if reason != "peer":
                self._linger()
        # Returning would make gunicorn end an HTTP body. This looks like a client that has gone, so it just closes.
        raise BrokenPipeError(errno.EPIPE, "the WebSocket is over")

    def _linger(self) -> None:
        self._reason = None
        until = time.monotonic() + LINGER_SECONDS
        while self._reason is None and (left := until - time.monotonic()) > 0:
            self._sock.settimeout(left)
            if not (data := self._sock.recv(INPUT_BYTES)):
                return
            self._input.receive(data)

    def _on_text(self, text: str) -> None:
        self._reply(websocket.text_frame(_NO_TEXTS))

    def _reply(self, frame: bytes) -> None:
        self._sock.sendall(frame)

    def _on_end(self, reason: str) -> None:
        self._reason = self._reason or reason
