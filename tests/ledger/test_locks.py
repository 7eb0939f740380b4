"""Somebody holds a row's lock and does not let go: his streams are answered 503, everybody else's events are stored."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from app.core.event.acceptance import Accepted
from app.core.event.drafts import Draft
from app.core.problem import Problem
from app.database.connection import Database
from app.ledger import streams
from app.ledger.ledger import Submission
from app.settings import Settings
from tests.ledger.books import Answer, Books, draft
from tests.processes import eventually

SOON_SECONDS = 3  # one wait for a lock (a second), and the machine's haste
AT_ONCE_SECONDS = 0.7  # without any such wait


@pytest.fixture
def books(database: Database) -> Iterator[Books]:
    """A ledger that commits one group at a time, so that requests of several workspaces share one."""
    made = Books(database, groups_at_once=1)
    yield made
    made.close()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as made:
        yield made


def timed(books: Books, *drafts: Draft, workspace_id: str = "") -> tuple[list[Answer], float]:
    """The answers, and the seconds that they took."""
    begun = time.monotonic()
    answers = books.ledger.accept(Submission(workspace_id or books.workspace_id, drafts))
    return answers, time.monotonic() - begun


def codes(answers: list[Answer]) -> list[int | str]:
    return [one.seq if isinstance(one, Accepted) else one.code for one in answers]


@contextmanager
def holding(database: Database, statement: str, **values: object) -> Iterator[Connection]:
    """Run a statement and leave its transaction open."""
    with database.engine.connect() as connection:
        connection.exec_driver_sql(statement, values)
        yield connection
        connection.rollback()


def queue_behind(books: Books, pool: ThreadPoolExecutor, *names: str) -> list[Future[tuple[list[Answer], float]]]:
    """Requests of another workspace that wait for the group that is being committed."""
    other = books.workspace()
    eventually(lambda: books.ledger.committing)
    return [pool.submit(timed, books, draft(name), workspace_id=other) for name in names]


def stored_soon(behind: list[Future[tuple[list[Answer], float]]]) -> None:
    for one in behind:
        answers, seconds = one.result(60)
        assert codes(answers) == [1]
        assert seconds < SOON_SECONDS


def test_a_locked_stream_is_refused_and_all_others_are_stored(books: Books, pool: ThreadPoolExecutor) -> None:
    books.accept(draft("held"), draft("free"))
    with books.locked("held"):
        first = pool.submit(timed, books, draft("held"), draft("free"))
        behind = queue_behind(books, pool, *(f"s{number}" for number in range(40)))
        answers, seconds = first.result(60)
        assert codes(answers) == ["unavailable", 2]
        assert isinstance(answers[0], Problem)
        assert (answers[0].status, answers[0].retry_after_seconds) == (503, 1)
        assert seconds < SOON_SECONDS
        stored_soon(behind)
    assert codes(timed(books, draft("held"))[0]) == [2]  # no number was used up


def test_nobody_waits_for_a_locked_stream_a_second_time(books: Books, pool: ThreadPoolExecutor) -> None:
    books.accept(draft("held"), draft("free"))
    with books.locked("held"):
        assert books.outcomes(draft("held")) == ["unavailable"]
        for number in range(2, 8):
            again = pool.submit(timed, books, draft("held"))
            answers, seconds = timed(books, draft("free"))
            assert codes(answers) == [number]
            assert seconds < AT_ONCE_SECONDS
            answers, seconds = again.result(60)
            assert codes(answers) == ["unavailable"]
            assert seconds < AT_ONCE_SECONDS
    assert books.outcomes(draft("held")) == [2]
    assert books.seqs() == {"free": [1, 2, 3, 4, 5, 6, 7], "held": [1, 2]}


def test_a_locked_stream_is_not_taken_for_one_without_room(database: Database) -> None:
    books = Books(database, max_open_streams=1)
    books.accept(draft("held"))
    with books.locked("held"):
        assert books.outcomes(draft("held"), draft("new")) == ["unavailable", "too_many"]
    books.close()


def test_a_stream_that_somebody_is_making_keeps_nobody_waiting(books: Books, pool: ThreadPoolExecutor) -> None:
    making = "INSERT INTO streams (workspace_id, kind, external_id, created_at) VALUES (%(w)s, 'call', 'making', now())"
    with holding(books.database, making, w=books.workspace_id):
        first = pool.submit(timed, books, draft("making"))
        behind = queue_behind(books, pool, "a", "b", "c")
        stored_soon(behind)
        assert codes(first.result(60)[0]) == ["unavailable"]
        again = pool.submit(timed, books, draft("making"))
        answers, seconds = timed(books, draft("free"))
        assert (codes(answers), seconds < AT_ONCE_SECONDS) == ([1], True)
        assert codes(again.result(60)[0]) == ["unavailable"]
    assert books.outcomes(draft("making")) == [1]


def test_a_locked_idempotency_key_keeps_nobody_waiting(books: Books, pool: ThreadPoolExecutor) -> None:
    """Retention has dropped the event, and housekeeping is stuck while it deletes the key."""
    books.accept(draft("held", key="k"))
    books.sql("DELETE FROM events")
    with holding(books.database, "SELECT FROM event_keys FOR UPDATE"):
        first = pool.submit(timed, books, draft("held", key="k"))
        behind = queue_behind(books, pool, "a", "b", "c")
        stored_soon(behind)
        assert codes(first.result(60)[0]) == ["unavailable"]
    assert books.outcomes(draft("held", key="k")) == [2]


def test_a_token_is_minted_while_events_are_being_accepted(books: Books, pool: ThreadPoolExecutor) -> None:
    """A token refers to its stream's row, which a group of events holds locked until its commit."""
    books.accept(draft(key="k"))
    books.sql("DELETE FROM events")
    books.ledger.lock_seconds = 30
    with holding(books.database, "SELECT FROM event_keys FOR UPDATE"):
        accepting = pool.submit(timed, books, draft(key="k"))
        eventually(lambda: books.sql("SELECT FROM pg_locks WHERE NOT granted") != [])  # it holds its stream's lock now
        with books.database.begin() as minting:
            minting.exec_driver_sql("SET LOCAL lock_timeout = '500ms'")
            minting.exec_driver_sql(
                "INSERT INTO stream_tokens SELECT 'tok', id, workspace_id, 'key', now(), now(), NULL FROM streams"
            )
        with pytest.raises(DBAPIError, match="lock"), books.database.begin() as another_group:
            another_group.exec_driver_sql("SELECT FROM streams FOR NO KEY UPDATE NOWAIT")
    assert codes(accepting.result(60)[0]) == [2]


def test_ending_or_opening_a_locked_stream_is_answered_soon(books: Books, settings: Settings) -> None:
    books.accept(draft("held"))
    with books.locked("held"):
        begun = time.monotonic()
        with pytest.raises(Problem) as ending:
            books.ledger.end(books.workspace_id, "call", "held")
        with pytest.raises(Problem) as opening, books.database.session() as session:
            streams.open_stream(session, books.workspace_id, "call", "held", {"a": 1}, settings)
        assert time.monotonic() - begun < 2 * SOON_SECONDS
    for refused in (ending, opening):
        assert (refused.value.code, refused.value.retry_after_seconds) == ("unavailable", 1)
    books.ledger.end(books.workspace_id, "call", "held")


def hold_for(books: Books, name: str, seconds: float, all_held: threading.Barrier) -> None:
    """Hold a stream's lock, when all are held for so long by the database's clock."""
    with books.database.begin() as connection:
        connection.exec_driver_sql("SELECT FROM streams WHERE external_id = %(name)s FOR UPDATE", {"name": name})
        all_held.wait(60)
        connection.exec_driver_sql("SELECT pg_sleep(%(seconds)s)", {"seconds": seconds})


def test_several_locks_are_waited_for_no_longer_than_one(books: Books, pool: ThreadPoolExecutor) -> None:
    names = [f"s{number}" for number in range(5)]
    books.accept(*map(draft, names))
    books.ledger.lock_seconds = 0.4
    all_held = threading.Barrier(len(names) + 1)
    # Each is let go before its own wait would be over: one after the other they would take 1.5 s.
    holding = [pool.submit(hold_for, books, name, 0.3 * number, all_held) for number, name in enumerate(names, 1)]
    all_held.wait(60)
    answers = books.accept(*map(draft, names))
    assert codes(answers)[-1] == "unavailable"
    for one in holding:
        one.result(60)
