"""A live view that waits by itself, in a greenlet of its own: it writes to the socket, and ends as every stream does.

For what few watch at a time. Streams, which many watch, are written to by the hub.
"""

from __future__ import annotations

import random
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from flask import Response, request
from sqlalchemy.exc import SQLAlchemyError

from app.core.contract.frames import wrap
from app.core.wire import sse
from app.database.batching import Abandoned
from app.live.beat import Beat
from app.live.carrier import prepare_socket
from app.live.hub import Hub
from app.web.live.fixed_frames import RECONNECT_MILLISECONDS
from app.web.live.sse import cut

WAIT_SECONDS = 1.0  # of a blocking read: a viewer that left and a process that ends are noticed this late at most
CREDENTIAL_SECONDS = 5.0  # a revoked key or a deleted workspace closes its views this late at most
HEARTBEAT_SECONDS = 15.0
STALL_SECONDS = 10.0  # a viewer that takes nothing for so long is cut; it may resume from where it was
_HEARTBEAT = sse.comment("keepalive", blank_line=False)


class View(ABC):
    """One viewer. sock: as of client_socket."""

    def __init__(self, hub: Hub, sock: Any) -> None:
        self._hub, self._sock = hub, sock
        self._wrap = "chunk" if request.environ.get("SERVER_PROTOCOL") != "HTTP/1.0" else "raw"
        now = hub.clock()  # time runs from the request on, not from when the client first reads
        self._check, self._beat = (Beat(seconds, now + seconds) for seconds in (CREDENTIAL_SECONDS, HEARTBEAT_SECONDS))

    @abstractmethod
    def close(self) -> None:
        """Stop counting the viewer. Twice is once."""

    @abstractmethod
    def may_see(self) -> bool:
        """Whether the viewer may still watch. May raise SQLAlchemyError or Abandoned, which change nothing."""

    @abstractmethod
    def next_frames(self) -> Sequence[bytes]:
        """What is to be shown next, waiting WAIT_SECONDS for it at most."""

    def response(self) -> Response:
        """The response that shows the viewer what comes."""
        response = Response(self._body(), headers=list(sse.HEADERS), direct_passthrough=True)
        response.call_on_close(self.close)  # a generator that was never begun does not run its `finally`
        return response

    def _body(self) -> Iterator[bytes]:
        """It writes to the socket by itself, so that a viewer that stalls can be cut."""
        try:
            yield b""  # makes gunicorn send the headers
            prepare_socket(self._sock)
            before = self._sock.gettimeout()
            self._sock.settimeout(STALL_SECONDS)
            self._send([sse.retry(random.randint(*RECONNECT_MILLISECONDS))])
            self._serve()
            self._sock.settimeout(before)
            if self._hub.stopping:
                cut()
        except OSError:  # gone, stalled in the middle of a frame, or cut by us
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        finally:
            self.close()

    def _serve(self) -> None:
        """Run until the client leaves (raises OSError), its key is revoked or this process ends."""
        clock = self._hub.clock
        while not self._hub.stopping:
            self._check_client()
            if self._check.is_due(clock()) and not self._still_may_see():
                return
            if self._beat.is_due(clock()):
                self._send([_HEARTBEAT])
            self._send(self.next_frames())

    def _check_client(self) -> None:
        """Raises OSError when the client has disconnected."""
        raw = getattr(self._sock, "_sock", self._sock)
        with suppress(BlockingIOError):
            if not raw.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                raise ConnectionResetError("the viewer has gone")

    def _still_may_see(self) -> bool:
        """Whether the viewer may still watch; a database that cannot be reached changes nothing."""
        try:
            return self.may_see()
        except (SQLAlchemyError, Abandoned):
            return True

    def _send(self, frames: Sequence[bytes]) -> None:
        if frames:
            self._sock.sendall(wrap(self._wrap, b"".join(frames)))
