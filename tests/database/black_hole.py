"""A TCP proxy that can fall silent: it keeps its connections open, takes what it is sent, and passes nothing on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

import pytest

PIECE_BYTES = 65536


class BlackHole:
    """A proxy in front of the PostgreSQL of a URL. url: the way through it."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        self._target = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        login = parts.netloc.rpartition("@")[0]
        self.url = urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{self._listener.getsockname()[1]}"))
        self._flows = threading.Event()
        self._flows.set()
        self._forgotten = threading.Event()  # set for connections that nothing passes through any more
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def fall_silent(self) -> None:
        """Nothing passes any more, on new connections neither."""
        self._flows.clear()

    def forget_connections(self) -> None:
        """Nothing passes on the present connections for ever; new ones work. So does a firewall that lost its state."""
        self._forgotten.set()
        self._forgotten = threading.Event()

    def flow(self) -> None:
        """Pass everything on again, what was held back included."""
        self._flows.set()

    def close(self) -> None:
        """Cut everything."""
        self._flows.set()
        self._listener.close()
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(self._target)  # type: ignore[arg-type]
                self._sockets += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pump, args=(source, sink, self._forgotten), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, forgotten: threading.Event) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                self._flows.wait()
                if not forgotten.is_set():
                    sink.sendall(piece)
            self._flows.wait()
            if not forgotten.is_set():
                sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def hole(database_url: str) -> Iterator[BlackHole]:
    """A way to this test's database that can fall silent."""
    made = BlackHole(database_url)
    yield made
    made.close()
