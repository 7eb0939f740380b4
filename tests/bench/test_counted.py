"""Round trips are counted on the wire, statements in PostgreSQL's log."""

from __future__ import annotations

import struct
from contextlib import closing
from urllib.parse import urlsplit

import psycopg
import pytest

from app.local.embedded import EmbeddedPostgres
from bench.counted import by_first_word
from bench.round_trips import Frontend, Relay


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


SSL = message(b"", struct.pack("!I", 80877103))
STARTUP = message(b"", struct.pack("!I", 196608) + b"user\0twofold\0\0")
TALK = SSL + STARTUP + message(b"Q", b"BEGIN\0") + message(b"P", b"\0") + message(b"E", b"\0") + message(b"S")


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_messages_are_told_apart_wherever_they_are_cut(size: int) -> None:
    frontend = Frontend()
    seen = [kind for start in range(0, len(TALK), size) for kind in frontend.take(TALK[start : start + size])]
    assert seen == [b"Q", b"P", b"E", b"S"]


def test_a_relay_counts_what_is_waited_for(postgres: EmbeddedPostgres) -> None:
    with closing(Relay(postgres.url)) as relay:
        assert urlsplit(relay.url).port != urlsplit(postgres.url).port
        with closing(psycopg.connect(relay.url, autocommit=True)) as connection:
            before = relay.count
            connection.execute("SELECT 1")
            connection.execute("SELECT %s", (2,))
            assert relay.count - before == 2
            with connection.pipeline():
                for number in range(5):
                    connection.execute("SELECT %s", (number,))
            assert relay.count - before == 3


def test_statements_of_the_log_are_counted_in_their_database() -> None:
    log = (
        "@@shop@@ LOG:  statement: BEGIN\n"
        "@@shop@web@ LOG:  execute _pg3_1: \n\tselect 1\n"
        "@@shop@web@ DETAIL:  Parameters: $1 = 'x'\n"
        "@@other@@ LOG:  statement: COMMIT\n"
        "@@shop@@ LOG:  statement: ;\n"
    )
    assert by_first_word(log, "shop") == {"BEGIN": 1, "SELECT": 1, "PING": 1}
