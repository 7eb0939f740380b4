"""A TCP proxy in front of PostgreSQL that counts round trips: how often the client speaks after the server has."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit, urlunsplit

import pytest

PIECE_BYTES = 65536


class Turns:
    """A proxy. url: the way through it. count: the round trips so far, those of connecting included."""

    def __init__(self, database_url: str) -> None:
        parts = urlsplit(database_url)
        self._target = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        login = parts.netloc.rpartition("@")[0]
        self.url = urlunsplit(parts._replace(netloc=f"{login}@127.0.0.1:{self._listener.getsockname()[1]}"))
        self.count = 0
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cut everything."""
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
                client_spoke_last = threading.Event()
                for source, sink, is_client in ((near, far, True), (far, near, False)):
                    threading.Thread(
                        target=self._pump, args=(source, sink, is_client, client_spoke_last), daemon=True
                    ).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_client: bool, spoke: threading.Event) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                if is_client and not spoke.is_set():
                    self.count += 1
                    spoke.set()
                elif not is_client:
                    spoke.clear()
                sink.sendall(piece)


@pytest.fixture
def turns(database_url: str) -> Iterator[Turns]:
    """A way to this test's database that counts."""
    made = Turns(database_url)
    yield made
    made.close()
