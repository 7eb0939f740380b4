"""One connection of a sender: what the steps of a receiver act on, and what is counted."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# Small, so that what was sent and not yet taken by the sender does not blur the count of what it took.
SEND_BUFFER_BYTES = 8 * 1024
RECEIVE_BYTES = 64 * 1024
# A request's head that is longer is no request of a sender that means it.
LONGEST_HEAD = 256 * 1024
# Absent outside Linux, where a stalled connection is then noticed when the next byte is sent.
HUNG_UP = getattr(select, "POLLRDHUP", 0)


class Gone(Exception):
    """The sender has closed the connection, or the zoo has."""


@dataclass(slots=True)
class Tally:
    """What came to one receiver: connections, requests whose heads were read, bytes sent in answer (TLS included)."""

    connections: int = 0
    requests: int = 0
    bytes_sent: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, *, connections: int = 0, requests: int = 0, bytes_sent: int = 0) -> None:
        """Count more of each; from any thread."""
        with self._lock:
            self.connections += connections
            self.requests += requests
            self.bytes_sent += bytes_sent


class Wire:
    """A connection, in plain text until `start_tls`. Every method raises Gone or OSError when the sender has gone."""

    def __init__(
        self,
        connection: socket.socket,
        tally: Tally,
        tls_context: Callable[[Any], ssl.SSLContext],
        close_port: Callable[[float], None],
    ) -> None:
        """`tls_context(handshake)`: the server side of it. `close_port(seconds)`: close the port that the connection
        came to for so long."""
        self._socket, self._tally = connection, tally
        self.tls_context, self.close_port = tls_context, close_port
        self._tls: ssl.SSLObject | None = None
        self._tls_in, self._tls_out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._read = bytearray()
        self.http2_stream = 0
        """The stream of the HTTP/2 request read last; 0 before the first."""
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data: bytes) -> None:
        """Send, encrypted when TLS has started; up to 16 KiB are one record."""
        if self._tls:
            self._tls.write(data)
            data = self._tls_out.read()
        self.send_raw(data)

    def send_raw(self, data: bytes) -> None:
        """Send past TLS."""
        rest = memoryview(data)
        while rest:
            sent = self._socket.send(rest[:RECEIVE_BYTES])
            self._tally.add(bytes_sent=sent)
            rest = rest[sent:]

    def send_urgent(self, byte: bytes) -> None:
        """Send one byte out of band."""
        self._socket.send(byte, socket.MSG_OOB)

    def receive(self, most: int = RECEIVE_BYTES) -> bytes:
        """What has come, at least one byte."""
        if not self._tls:
            return self._receive_raw(most)
        while True:
            try:
                data = self._tls.read(most)
            except ssl.SSLWantReadError:
                self._exchange()
                continue
            except ssl.SSLError as error:
                raise Gone from error
            if not data:
                raise Gone
            return data

    def _receive_raw(self, most: int = RECEIVE_BYTES) -> bytes:
        data = self._socket.recv(most)
        if not data:
            raise Gone
        return data

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Shake hands as the server. When the sender refuses, or is refused, it learns why before this raises Gone."""
        self._tls = context.wrap_bio(self._tls_in, self._tls_out, server_side=True)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._exchange()
            except ssl.SSLError as error:
                self.send_raw(self._tls_out.read())
                self.close()
                raise Gone from error
        self.send_raw(self._tls_out.read())

    def end_tls(self) -> None:
        """Say close_notify, which ends TLS in good order, and nothing else."""
        assert self._tls is not None
        try:
            self._tls.unwrap()
        except ssl.SSLError:  # it wants the sender's close_notify, too
            self.send_raw(self._tls_out.read())

    def _exchange(self) -> None:
        self.send_raw(self._tls_out.read())
        self._tls_in.write(self._receive_raw())

    def read_until(self, end: bytes) -> bytes:
        """The bytes up to and with `end`."""
        while (found := self._read.find(end)) < 0:
            if len(self._read) > LONGEST_HEAD:
                raise Gone
            self._read += self.receive()
        return self.read_exactly(found + len(end))

    def read_exactly(self, length: int) -> bytes:
        """So many bytes."""
        while len(self._read) < length:
            self._read += self.receive()
        data = bytes(self._read[:length])
        del self._read[:length]
        return data

    def skip(self, length: int) -> None:
        """Read so many bytes and drop them."""
        while length > len(self._read):
            length -= len(self._read)
            self._read.clear()
            self._read += self.receive()
        del self._read[:length]

    def count_request(self) -> None:
        """The head of a request has been read."""
        self._tally.add(requests=1)

    def wait_for_bytes(self) -> None:
        """Wait until something can be read, and in plain text leave it in the kernel."""
        if self._tls:
            self._read += self.receive()
            return
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        poller.poll()

    def wait(self, seconds: float) -> None:
        """Do nothing for so long, or until the sender has gone."""
        poller = select.poll()
        poller.register(self._socket, HUNG_UP)
        if poller.poll(seconds * 1000):
            raise Gone

    def clamp_window(self, length: int) -> None:
        """From now on offer the sender so many bytes at once (where the system can do that: Linux)."""
        if hasattr(socket, "TCP_WINDOW_CLAMP"):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, length)

    def reset(self) -> None:
        """Close by a reset (RST) rather than by an end (FIN)."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._socket.close()
        raise Gone

    def close(self) -> None:
        """Close in good order, but without ending TLS. What was sent arrives: closing with something unread would reset
        the connection."""
        self._socket.shutdown(socket.SHUT_WR)
        while self._socket.recv(RECEIVE_BYTES):
            pass

    def close_at_once(self) -> None:
        """Close with what has come unread."""
        self._socket.close()
        raise Gone
