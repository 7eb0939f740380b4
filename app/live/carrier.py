"""One subscriber's connection from its cursor to its end: replay, hand-over, live, farewell, in one loop.

Runs in the request's greenlet. The hub writes live events into the socket by itself; this loop reads what the
subscriber has not seen yet, sends what the socket would not take, and notices that the client has gone.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gevent

from app.core.contract import frames
from app.core.problem import first_line
from app.core.wire.envelope import Event
from app.live.hub import Hub
from app.live.live_stream import LiveStream
from app.live.pace import Pace
from app.live.subscriber import Subscriber

log = logging.getLogger(__name__)

READ, WRITE = 1, 2  # libev's event bits
# What the kernel may buffer for one connection (it doubles the figure). By default that grows to megabytes, and a slow
# subscriber would not be noticed by its queue of 64 frames.
SEND_BUFFER_BYTES = 32 * 1024
KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS, KEEPALIVE_PROBES = 30, 10, 3
INPUT_BYTES = 4096  # read of a client before another connection has its turn: a few texts, or 680 empty frames


def prepare_socket(sock: Any) -> Any:
    """Limit the send buffer and detect dead peers. Returns the non-blocking socket beneath gevent's."""
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


@dataclass(frozen=True, slots=True)
class Handling:
    """How a carrier treats its connection.

    opening: bytes (ready for the socket) before the first event. farewell: the bytes to end with, by reason: "ended"
    (the stream), "restart" (this process), "expired", "revoked", "gone" (the workspace) or what `close` was given.
    speed: an ended stream is replayed at its own pace, so many times faster; None: at once.
    on_input: what to do with bytes that the client sends (WebSocket), called in the connection's own greenlet; None:
    they are its next request, and stay where they are until this one is over.
    linger_seconds: how long to wait, after the farewell for a reason, for the client to close first.
    """

    opening: bytes
    farewell: Callable[[str], bytes]
    speed: float | None = None
    on_input: Callable[[bytes], None] | None = None
    linger_seconds: Callable[[str], float] = lambda reason: 0.0


class Carrier:
    """Carries one subscriber. sock: the non-blocking socket that the subscriber writes to."""

    def __init__(self, hub: Hub, live: LiveStream, subscriber: Subscriber, sock: Any, handling: Handling) -> None:
        self.subscriber = subscriber
        self.lingering = False  # everything is sent; only the client's close is awaited
        self._hub = hub
        self._live = live
        self._raw = sock
        self._handling = handling
        self._pace = None if handling.speed is None else Pace(handling.speed)
        self._received = b""  # what the client has sent and nobody has looked at; nothing more is read meanwhile
        self._reader: Any = None

    def run(self) -> bool:
        """Serve until the stream ends, the client leaves or this side closes.

        True: everything was sent and the response can be ended properly. False: the connection was cut, perhaps
        in the middle of a frame.
        """
        subscriber = self.subscriber
        loop = gevent.get_hub().loop
        self._reader = reader = loop.io(self._raw.fileno(), READ)
        reader.start(self._on_readable)
        subscriber.started = True
        if self._handling.opening:
            subscriber.outbox.append((0, self._handling.opening))
        try:
            self._serve()
            self._take_input()  # a client that has gone may have said something before
        except Exception as error:  # such as PostgreSQL lost during a replay: the client comes back and resumes
            log.warning("a live connection was cut: %s: %s", type(error).__name__, first_line(error))
            subscriber.fail()
        finally:
            reader.stop()
            reader.close()
            self.close()
            if subscriber.gone:
                self._cut()
        return not subscriber.gone

    def close(self) -> None:
        """Leave the hub. run() does it too; this is for a response that was never begun."""
        self._hub.detach(self._live, self.subscriber)

    def _serve(self) -> None:
        subscriber, live = self.subscriber, self._live
        while not subscriber.gone:
            subscriber.attention.clear()
            self._take_input()
            if not subscriber.flush(self._hub.clock()):
                self._wait_for_room()
            elif subscriber.closing is not None:
                return self._end(subscriber.closing)
            elif not subscriber.joined and not live.join(subscriber):
                self._read_on()
            elif live.over(subscriber.linger_seconds, self._hub.clock()):
                return self._end("ended")
            else:
                subscriber.attention.wait()

    def _wait_for_room(self) -> None:
        """Wait until the socket takes more, or something else sets `attention`."""
        writer = gevent.get_hub().loop.io(self._raw.fileno(), WRITE)
        writer.start(self.subscriber.attention.set)
        try:
            self.subscriber.attention.wait()
        finally:
            writer.stop()
            writer.close()

    def _read_on(self) -> None:
        if self._pace is None:
            self._replay(self._hub.page(self._live, self.subscriber.cursor))
            return
        if not self._pace.waiting:
            self._pace.waiting.extend(self._hub.page(self._live, self.subscriber.cursor))
        seconds = self._pace.seconds_left(time.monotonic())
        if seconds > 0:
            self.subscriber.attention.wait(timeout=seconds)
        else:
            self._replay([self._pace.waiting.popleft()] if self._pace.waiting else [])

    def _replay(self, page: Sequence[Event]) -> None:
        """Put events that follow the cursor into the outbox."""
        subscriber = self.subscriber
        for event in page:
            if subscriber.view.shows(event.type):
                data = frames.encode(subscriber.view, event, self._live.external_id, self._live.epoch)
                subscriber.outbox.append((event.seq, data))
        # An empty page: retention has deleted what lay between, so there is nothing to wait for.
        subscriber.cursor = page[-1].seq if page else self._live.last_seq

    def _end(self, reason: str) -> None:
        """Send the farewell and all that waits, then give the client time to close first, where it should."""
        subscriber = self.subscriber
        subscriber.finish(self._handling.farewell(reason))
        while not subscriber.gone and not subscriber.flush(self._hub.clock()):
            subscriber.attention.clear()
            self._take_input()
            self._wait_for_room()
        self.lingering = True
        until = time.monotonic() + self._handling.linger_seconds(reason)
        while not subscriber.gone and (left := until - time.monotonic()) > 0:
            subscriber.attention.clear()
            self._take_input()
            subscriber.attention.wait(timeout=left)

    def _on_readable(self) -> None:
        """Called by the event loop: the client has sent something or disconnected. Takes one piece and parses nothing.

        Every connection has its turn in the loop before the next piece is read, and what a piece costs is spent in the
        connection's own greenlet, between those of all others.
        """
        with_input = self._handling.on_input is not None
        try:
            size, flags = (INPUT_BYTES, 0) if with_input else (1, socket.MSG_PEEK)
            data = self._raw.recv(size, socket.MSG_DONTWAIT | flags)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.subscriber.fail()
            return
        self._reader.stop()  # for SSE, for good: a disconnect now surfaces at the next heartbeat
        if with_input:
            self._received = data
            self.subscriber.attention.set()

    def _take_input(self) -> None:
        """Hand on what the client has sent, then let the event loop read on."""
        on_input, data = self._handling.on_input, self._received
        if data and on_input is not None:
            self._received = b""
            on_input(data)
            self._reader.start(self._on_readable)

    def _cut(self) -> None:
        with contextlib.suppress(OSError):
            self._raw.shutdown(socket.SHUT_RDWR)
