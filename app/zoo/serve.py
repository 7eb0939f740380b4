"""The zoo: a port and a thread for each receiver, a thread for each connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

from app.zoo.certificates import Certificates
from app.zoo.name_server import NameServer
from app.zoo.receiver import Listening, Receiver
from app.zoo.receivers import RECEIVERS
from app.zoo.steps import perform
from app.zoo.wire import Tally, Wire

HOST = "127.0.0.1"
# A sender's rush of connections must not fail for our slowness.
QUEUE = 512
# More than a queue of length 0 takes, on any system.
FILLERS = 8


class Port:
    """The port of one receiver, and the connections that came to it."""

    def __init__(self, receiver: Receiver, number: int, certificates: Certificates) -> None:
        """`number`: 0 for any. Raises OSError when it is taken."""
        self.receiver, self.tally = receiver, Tally()
        self._certificates = certificates
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._shut_seconds = 0.0
        self._open: set[socket.socket] = set()
        self._fillers: list[socket.socket] = []
        self._listener = self._bind(number)
        self.number: int = self._listener.getsockname()[1]
        if receiver.listening is Listening.FULL:
            self._fill()
        elif receiver.listening is Listening.ACCEPTS:
            threading.Thread(target=self._accept, name=receiver.name, daemon=True).start()

    def _bind(self, number: int) -> socket.socket:
        listener = socket.socket()
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self.receiver.receive_buffer is not None:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receiver.receive_buffer)
            listener.bind((HOST, number))
            if self.receiver.listening is not Listening.REFUSES:
                listener.listen(0 if self.receiver.listening is Listening.FULL else QUEUE)
        except OSError as error:
            listener.close()
            raise OSError(f"port {number} cannot be used ({error.strerror})") from None
        return listener

    def _fill(self) -> None:
        """Take the places in the queue ourselves: the kernel drops whoever asks after that."""
        for _ in range(FILLERS):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((HOST, self.number))
            self._fillers.append(filler)

    def _accept(self) -> None:
        while not self._over.is_set():
            with suppress(OSError):  # the listener was shut
                while True:
                    self._admit(self._listener.accept()[0])
            if self._over.wait(self._shut_seconds):
                return
            self._listener = self._bind(self.number)

    def _admit(self, connection: socket.socket) -> None:
        self.tally.add(connections=1)
        with self._lock:
            self._open.add(connection)
        threading.Thread(target=self._serve, args=(connection,), name=self.receiver.name, daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            perform(self.receiver.steps, Wire(connection, self.tally, self._certificates.context, self.shut))
        with self._lock:
            self._open.discard(connection)

    def shut(self, seconds: float) -> None:
        """Refuse connections for so long."""
        self._shut_seconds = seconds
        with suppress(OSError):  # it does not listen
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`, which closing does not
        self._listener.close()

    def close(self) -> None:
        """Close everything; the threads end by that."""
        self._over.set()
        self.shut(0)
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for filler in self._fillers:
            filler.close()


class Zoo:
    """All receivers and their name server, from the moment it is made until it is closed. A context manager."""

    def __init__(self, port: int = 0, receivers: Sequence[Receiver] = RECEIVERS) -> None:
        """The name server takes `port` (UDP), the receivers those after it; 0: any that are free.

        Raises OSError when one is taken."""
        certificates = Certificates()
        self.authority_pem = certificates.authority_pem
        self.ports: list[Port] = []
        self.name_server = NameServer(port)
        try:
            for number, receiver in enumerate(receivers, 1):
                self.ports.append(Port(receiver, port and port + number, certificates))
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Zoo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every port and connection."""
        for port in self.ports:
            port.close()
        self.name_server.close()
