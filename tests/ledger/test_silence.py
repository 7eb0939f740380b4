"""PostgreSQL falls silent: every producer is answered 503 in bounded time, and nothing is stored twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.problem import Problem
from app.database.batching import LIMIT_SECONDS
from app.database.connection import Database
from app.ledger.ledger import Submission
from tests.database.black_hole import BlackHole
from tests.ledger.books import Books, draft
from tests.processes import eventually

PRODUCERS = 20
HASTE_SECONDS = 3  # of a busy machine
SERVER_SECONDS = 12  # after which the server itself ends a transaction that a process was cut off from


@pytest.fixture
def behind(hole: BlackHole, database: Database) -> Iterator[Books]:
    """Its ledger writes through the proxy; what the test looks at is read past it."""
    books = Books(database)
    through = Database(hole.url)
    books.ledger = books.another_ledger(through=through)
    books.accept(draft())
    yield books
    books.close()
    through.close()


def refused_after(books: Books, number: int) -> float:
    """Post an event that cannot be stored; the seconds until that is said."""
    begun = time.monotonic()
    with pytest.raises(Problem) as refused:
        books.ledger.accept(Submission(books.workspace_id, [draft(key=f"k{number}")]))
    assert (refused.value.status, refused.value.retry_after_seconds) == (503, 1)
    return time.monotonic() - begun


def test_all_producers_are_answered_while_the_database_is_silent(hole: BlackHole, behind: Books) -> None:
    hole.fall_silent()
    with ThreadPoolExecutor(PRODUCERS) as pool:
        seconds = list(pool.map(lambda number: refused_after(behind, number), range(PRODUCERS)))
    assert max(seconds) < LIMIT_SECONDS + HASTE_SECONDS
    hole.flow()
    assert [behind.outcomes(draft(key=f"k{number}")) for number in range(3)] == [[2], [3], [4]]


def test_a_group_that_was_cut_off_in_the_middle_gives_its_locks_back(hole: BlackHole, behind: Books) -> None:
    """The server waits for the rest of the transaction. Other processes need its streams."""
    with ThreadPoolExecutor(1) as pool:
        behind.ledger.lock_seconds = 30
        with behind.locked("one"):
            leading = pool.submit(refused_after, behind, 1)
            eventually(lambda: behind.sql("SELECT FROM pg_locks WHERE NOT granted") != [])
            hole.fall_silent()
        # It has the lock now, and nobody hears from it.
        other = behind.another_ledger()
        (locked,) = other.accept(Submission(behind.workspace_id, [draft()]))
        assert isinstance(locked, Problem)
        assert locked.code == "unavailable"

        def stored() -> bool:
            return not isinstance(other.accept(Submission(behind.workspace_id, [draft()]))[0], Problem)

        eventually(stored, SERVER_SECONDS + HASTE_SECONDS)
        assert leading.result(60) < LIMIT_SECONDS + HASTE_SECONDS


def test_forgotten_connections_cost_seconds_and_no_event(hole: BlackHole, behind: Books) -> None:
    hole.forget_connections()
    begun = time.monotonic()
    assert behind.outcomes(draft()) == [2]
    assert time.monotonic() - begun < 3 + HASTE_SECONDS
