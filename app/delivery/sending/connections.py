"""The sockets of libcurl's connections: whether one is fit for another request, and how much has come over it.

libcurl keeps the connections. Before it sends a request it names the one it has chosen by its addresses and ports, and
it looks at most once a second whether anything has come over that connection since the last request. A second answer
that nobody asked for would therefore be taken for the answer to the next request. So each socket is remembered from
its opening on, and looked at before each request.
"""

from __future__ import annotations

import fcntl
import select
import socket
import struct
import sys
import termios
from collections.abc import Sequence
from contextlib import suppress

Address = tuple[str, str, int, int]
"""As libcurl names a connection: remote and local address, remote and local port."""

# What the kernel stores for a socket before it makes the sender wait: for a receiver that floods us it would otherwise
# grow to megabytes. The kernel doubles this number.
RECEIVE_BUFFER_BYTES = 32 * 1024

# What may come over a connection for each attempt, everything counted: handshake, heads, framing, padding. Twice the
# largest head (transfer.py); a body that passes is not needed.
MAX_RECEIVED_BYTES = 128 * 1024


class Connection:
    """A socket that libcurl has opened and will close: the descriptor is only borrowed."""

    def __init__(self, descriptor: int) -> None:
        self.address: Address | None = None
        self.transfers: set[object] = set()
        """The transfers under way on it; several only over HTTP/2."""
        self._speaks_http1 = False
        self._descriptor = descriptor
        self._socket = _BorrowedSocket(fileno=descriptor)
        self._poller = select.poll()
        self._poller.register(descriptor, _HUNG_UP)
        self._received_before = 0
        self._allowance = MAX_RECEIVED_BYTES
        self._read_before: int | None = None

    @property
    def local_port(self) -> int:
        """The port at our end; 0 when libcurl has closed it."""
        try:
            return int(self._socket.getsockname()[1])
        except OSError:
            return 0

    def found_http1(self) -> None:
        """An HTTP/1 answer has come over this connection: from now on nothing may come between two requests. Over
        HTTP/2 frames may come at any time, and say themselves which request they belong to."""
        if not self._speaks_http1:
            self._speaks_http1 = True
            self._poller.modify(self._descriptor, _HUNG_UP | select.POLLIN)

    def is_fit(self) -> bool:
        """Whether another request may be sent: the receiver has not closed it, and nothing unasked waits in it."""
        return not self._poller.poll(0)

    def begin(self, transfer: object, with_tls: bool) -> None:
        """A request is about to be sent."""
        if transfer in self.transfers:  # it opened the connection: everything that came counts
            return
        if self._speaks_http1:
            self.transfers.clear()  # the one before is over, even if nobody has said so yet
        if self.transfers:
            self._allowance += MAX_RECEIVED_BYTES
        else:
            self._received_before = self._received()
            self._allowance = MAX_RECEIVED_BYTES
            # Without TLS nothing is read ahead of an answer: what nobody asked for waits in the socket.
            self._read_before = (self._received_before or None) if with_tls and self._speaks_http1 else None
        self.transfers.add(transfer)

    def end(self, transfer: object) -> None:
        """A transfer is over. What it did not use of its allowance is not left to the others."""
        if transfer in self.transfers:
            self.transfers.remove(transfer)
            if self.transfers:
                used = self._received() - self._received_before
                self._allowance = min(self._allowance, used + MAX_RECEIVED_BYTES * len(self.transfers))

    def answered_early(self) -> bool:
        """Whether an answer that is being read now was there before its request was sent.

        The TLS library reads ahead: what followed the last answer closely is in its buffer, and the socket looks
        quiet. Nothing has been read from the socket since then exactly when the answer comes from that buffer.
        """
        if self._read_before is None:
            return False
        most = self._read_before + 1  # the end of the stream counts as a byte
        received = self._received()
        if not self._poller.poll(0):  # nothing is waiting: all that came was read
            return received <= most
        # What comes between the two questions that _read asks makes its answer too small, hence three times.
        return all(self._read() <= most for _ in range(3))

    def is_flooded(self) -> bool:
        """Whether more has come than the transfers under way may take."""
        return self._received() - self._received_before > self._allowance

    def shut_down(self) -> None:
        """End it for all transfers on it and for good. libcurl closes it, by a reset: a receiver that goes on sending
        would else wait for a minute."""
        with suppress(OSError):  # closed already
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._socket.shutdown(socket.SHUT_RDWR)

    def _received(self) -> int:
        """How many bytes have come over it; 0 where the kernel does not count them (other than Linux)."""
        if _TCP_INFO is None:
            return 0
        try:
            information = self._socket.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _BYTES_RECEIVED_AT + 8)
        except OSError:  # libcurl closed it
            return 0
        return int.from_bytes(information[_BYTES_RECEIVED_AT:], sys.byteorder)

    def _read(self) -> int:
        """How many of them have been read from the socket."""
        received = self._received()
        waiting: int = struct.unpack("=i", fcntl.ioctl(self._descriptor, termios.FIONREAD, bytes(4)))[0]
        return received - waiting


class Connections:
    """All sockets that a Sender's libcurl has opened. One that was closed is forgotten when its number is used again,
    so there are never more than the process has had open files at once."""

    def __init__(self) -> None:
        self._by_descriptor: dict[int, Connection] = {}
        self._by_address: dict[Address, Connection] = {}

    def opened(self, descriptor: int, transfer: object) -> Connection:
        """Remember a socket that libcurl has just been given for a transfer."""
        before = self._by_descriptor.get(descriptor)
        if before is not None and before.address is not None and self._by_address.get(before.address) is before:
            del self._by_address[before.address]
        connection = self._by_descriptor[descriptor] = Connection(descriptor)
        connection.transfers.add(transfer)
        return connection

    def at(self, address: Address, just_opened: Sequence[Connection]) -> Connection | None:
        """The connection with this address. just_opened: one of them has got it now, if there are any."""
        for connection in reversed(just_opened):
            if len(just_opened) == 1 or connection.local_port == address[3]:
                connection.address = address
                self._by_address[address] = connection
                return connection
        return self._by_address.get(address)

    def shut_down_if_left(self, descriptor: int) -> None:
        """Shut down a connection that no request needs any more and whose receiver goes on sending. libcurl would read
        on for a while, to end TLS in good order."""
        connection = self._by_descriptor.get(descriptor)
        if connection is not None and not connection.transfers and connection.is_flooded():
            connection.shut_down()


class _BorrowedSocket(socket.socket):
    """Asks about a descriptor that belongs to somebody else, and so does not close it."""

    def __del__(self) -> None:
        self.detach()


_RESET = struct.pack("ii", 1, 0)  # struct linger: on, for no time
# Only Linux says that the other side has closed without being asked whether there is something to read.
_HUNG_UP = getattr(select, "POLLRDHUP", 0)
_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None) if hasattr(select, "epoll") else None
_BYTES_RECEIVED_AT = 128  # tcpi_bytes_received in struct tcp_info of linux/tcp.h, since Linux 4.1
