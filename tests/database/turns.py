"""A TCP proxy in front of PostgreSQL that counts round trips: how often the client speaks after the server has."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.database.proxy import PIECE_BYTES, Proxy


class Turns(Proxy):
    """Counts. count: the round trips so far, those of connecting included."""

    def __init__(self, database_url: str) -> None:
        self.count = 0
        super().__init__(database_url)

    def shared(self) -> threading.Event:
        """Whether the client spoke last."""
        return threading.Event()

    def pump(self, source: socket.socket, sink: socket.socket, is_client: bool, shared: threading.Event) -> None:
        """Pass everything on."""
        while piece := source.recv(PIECE_BYTES):
            if is_client and not shared.is_set():
                self.count += 1
                shared.set()
            elif not is_client:
                shared.clear()
            sink.sendall(piece)


@pytest.fixture
def turns(database_url: str) -> Iterator[Turns]:
    """A way to this test's database that counts."""
    made = Turns(database_url)
    yield made
    made.close()
