"""One subscriber's connection from its cursor to its end: replay, hand-over, live, farewell, in one loop.

Runs in the request's greenlet. The hub writes live events into the socket by itself; this loop reads what the
subscriber has not seen yet, drains what the socket would not take, and notices that the client has gone.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import gevent

from app.core import contract
from app.hub import Hub, LiveStream
from app.subscriber import Subscriber

log = logging.getLogger(__name__)

READ, WRITE = 1, 2  # libev's event bits
# What the kernel may hold for one connection (it doubles the figure). Unbounded it hides megabytes, and a
# subscriber's bound of 64 frames would not be seen.
SEND_BUFFER_BYTES = 32 * 1024
KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_PROBES = 30, 10, 3


def prepare_socket(sock: Any) -> Any:
    """Bound the send buffer and look for dead peers; the non-blocking socket below gevent's."""
    raw = getattr(sock, "_sock", sock)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if raw.family in (socket.AF_INET, socket.AF_INET6):
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for name, value in (
            ("TCP_KEEPIDLE", KEEPALIVE_IDLE_SECONDS),
            ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL_SECONDS),
            ("TCP_KEEPCNT", KEEPALIVE_PROBES),
        ):
            if hasattr(socket, name):
                raw.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return raw


class Feed:
    """Carries one subscriber.

    opening, closing: frames (ready for the socket) before the first event and after the last of an ended stream.
    restart: what to send when this process ends and the client is to come back.
    on_input: what to do with bytes that the client sends (WebSocket); None: they are read and ignored.
    """

    def __init__(
        self,
        hub: Hub,
        live: LiveStream,
        subscriber: Subscriber,
        sock: Any,
        *,
        opening: bytes = b"",
        closing: Callable[[], bytes] = bytes,
        restart: Callable[[], bytes] = bytes,
        on_input: Callable[[bytes], None] | None = None,
    ) -> None:
        self._hub = hub
        self._live = live
        self._subscriber = subscriber
        self._raw = sock
        self._opening = opening
        self._farewell = {"ended": closing, "restart": restart}
        self._on_input = on_input

    def run(self) -> bool:
        """Serve until the stream ends, the client goes or this side closes.

        True: everything was sent and the response can be ended properly. False: the connection was cut, perhaps
        in the middle of a frame.
        """
        subscriber = self._subscriber
        loop = gevent.get_hub().loop
        reader = loop.io(self._raw.fileno(), READ)
        writer = loop.io(self._raw.fileno(), WRITE)
        reader.start(self._on_readable)
        subscriber.started = True
        if self._opening:
            subscriber.outbox.append((0, self._opening))
        try:
            return self._serve(writer)
        finally:
            reader.stop()
            reader.close()
            writer.stop()
            writer.close()
            self.close()
            if subscriber.gone:
                self._cut()

    def close(self) -> None:
        """Leave the hub. Done by run() too; for a response that was never begun."""
        self._hub.detach(self._live, self._subscriber)

    def _serve(self, writer: Any) -> bool:
        subscriber, live = self._subscriber, self._live
        said_farewell = False
        while not subscriber.gone:
            subscriber.attention.clear()
            if not subscriber.flush(time.monotonic()):
                writer.start(subscriber.attention.set)
                subscriber.attention.wait()
                writer.stop()
            elif said_farewell:
                return True
            elif subscriber.closing is not None:
                said_farewell = self._say_farewell(subscriber.closing)
            elif not subscriber.joined and not self._hub.join(live, subscriber):
                self._replay()
            elif live.ended:
                said_farewell = self._say_farewell("ended")
            else:
                subscriber.attention.wait()
        return False

    def _say_farewell(self, reason: str) -> bool:
        """Queue what the contract says at the end, if it says anything for this reason."""
        frame = self._farewell.get(reason, bytes)()
        if frame:
            self._subscriber.outbox.append((0, frame))
        return True

    def _replay(self) -> None:
        """Put the next page behind the cursor into the outbox."""
        subscriber = self._subscriber
        page = self._hub.page(self._live, subscriber.cursor)
        if not page:
            # Retention has dropped what lies between: the sequence goes on where the log begins again.
            subscriber.cursor = self._live.last_seq
            return
        for event in page:
            if subscriber.view.shows(event.type):
                data = contract.encode(subscriber.view, event, self._live.external_id)
                subscriber.outbox.append((event.seq, data))
        subscriber.cursor = page[-1].seq

    def _on_readable(self) -> None:
        """Called by the event loop: the client has said something, or has gone."""
        try:
            data = self._raw.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._subscriber.fail()
        elif self._on_input is not None:
            self._on_input(data)

    def _cut(self) -> None:
        try:
            self._raw.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
