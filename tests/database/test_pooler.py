"""Behind a pooler that gives each transaction another connection of the server, nothing is asked of a session.

What a client sends is read on its way: that is what decides whether a pooler serves.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import replace

import pytest

from app.accounts.callers import Callers
from app.database.calls import INT4, Prepared
from app.database.connection import Database
from app.settings import Settings
from tests.database.proxy import Proxy
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.delivery.world import World

LENGTH = struct.Struct("!i")
WISHES = (80877103, 80877104)  # for encryption; they come before the opening
ONE = Prepared(b"one", "SELECT 1", takes=(), gives={"one": INT4})
# What is of a session and not of a transaction. SET LOCAL and SET TRANSACTION end with the latter.
OF_SESSION = re.compile(
    r"\b(UN)?LISTEN\b|\bNOTIFY\b|\bPREPARE\b|\bDEALLOCATE\b|\bDISCARD\b|\bTEMP(ORARY)?\b|WITH HOLD"
    r"|pg_(try_)?advisory_(un)?lock|^\s*(RE)?SET\s+(?!LOCAL|TRANSACTION)",
    re.IGNORECASE,
)


class Spy(Proxy):
    """Reads what clients say. openings: of connections. names: of the statements that they prepared. texts: the SQL."""

    def __init__(self, database_url: str) -> None:
        self.openings: list[bytes] = []
        self.names: list[bytes] = []
        self.texts: list[str] = []
        super().__init__(database_url)

    def shared(self) -> None:
        """Nothing."""

    def pump(self, source: socket.socket, sink: socket.socket, is_client: bool, shared: None) -> None:
        """Pass everything on, whole messages at a time where a client speaks."""
        while piece := source.recv(65536):
            sink.sendall(piece)
            if is_client:
                self._hear(source, sink, piece)

    def _hear(self, source: socket.socket, sink: socket.socket, heard: bytes) -> None:
        opened = False
        while True:
            head = 0 if not opened else 1
            while len(heard) < head + 4 or len(heard) < head + LENGTH.unpack_from(heard, head)[0]:
                piece = source.recv(65536)
                if not piece:
                    return
                sink.sendall(piece)
                heard += piece
            size = head + LENGTH.unpack_from(heard, head)[0]
            message, heard = heard[:size], heard[size:]
            if opened:
                self._note(message)
            elif LENGTH.unpack_from(message, 4)[0] not in WISHES:
                self.openings.append(message)
                opened = True

    def _note(self, message: bytes) -> None:
        if message[:1] == b"P":
            name, text, _ = message[5:].split(b"\0", 2)
            self.names.append(name)
            self.texts.append(text.decode())
        elif message[:1] == b"Q":
            self.texts.append(message[5:-1].decode())


@pytest.fixture
def spy(database_url: str) -> Iterator[Spy]:
    made = Spy(database_url)
    yield made
    made.close()


def test_nothing_is_asked_of_a_session(spy: Spy, settings: Settings) -> None:
    settings = replace(settings, database_url=f"{spy.url}?pooler=transaction")
    database = Database(settings.database_url)
    with ScriptedServer(answering(OK)) as receiver:
        world = World(database, settings)
        world.endpoint(receiver.url)
        for _ in range(8):  # more often than psycopg waits before it prepares a statement
            world.publish()
            world.drain().run()
            assert Callers(database).authenticate("sk_unknown") is None
        assert world.statuses() == {"delivered": 8}
    world.close()
    database.close()
    assert len(spy.openings) > 1
    assert not any(b"options" in opening for opening in spy.openings)
    assert any("accept_one" in text for text in spy.texts)
    assert any("drain_round" in text for text in spy.texts)
    assert set(spy.names) == {b""}
    assert [text for text in spy.texts if OF_SESSION.search(text)] == []


def test_without_a_pooler_statements_are_kept(spy: Spy) -> None:
    database = Database(spy.url)
    assert database.read(ONE) == [(1,)]
    database.close()
    assert b"options" in spy.openings[0]
    assert b"one" in spy.names


def test_what_may_only_read_cannot_write_behind_a_pooler(database_url: str) -> None:
    reading = Database(f"{database_url}?pooler=transaction", read_only=True)
    with reading.begin() as connection:
        assert connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on"
    reading.close()
