"""A TCP proxy that can fall silent: it keeps its connections open, takes what it is sent, and passes nothing on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.database.proxy import PIECE_BYTES, Proxy


class BlackHole(Proxy):
    """Passes everything on until it is told to fall silent."""

    def __init__(self, database_url: str) -> None:
        self._flows = threading.Event()
        self._flows.set()
        self._forgotten = threading.Event()  # set for connections that nothing passes through any more
        super().__init__(database_url)

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
        super().close()

    def shared(self) -> threading.Event:
        """Whether the connection is forgotten."""
        return self._forgotten

    def pump(self, source: socket.socket, sink: socket.socket, is_client: bool, shared: threading.Event) -> None:
        """Pass on what comes, when anything flows, unless the connection is forgotten by then."""
        while piece := source.recv(PIECE_BYTES):
            self._flows.wait()
            if not shared.is_set():
                sink.sendall(piece)
        self._flows.wait()
        if not shared.is_set():
            sink.shutdown(socket.SHUT_WR)


@pytest.fixture
def hole(database_url: str) -> Iterator[BlackHole]:
    """A way to this test's database that can fall silent."""
    made = BlackHole(database_url)
    yield made
    made.close()
