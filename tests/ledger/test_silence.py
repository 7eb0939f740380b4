"""PostgreSQL falls silent: every producer is answered 503 in bounded time, and nothing is stored twice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.event.acceptance import Accepted
from app.core.problem import Problem
from app.database.batching import LIMIT_SECONDS
from app.database.connection import Database
from app.ledger.group import CALL_SECONDS
from app.ledger.ledger import Submission
from tests.database.black_hole import BlackHole
from tests.ledger.books import Books, draft
from tests.processes import eventually

PRODUCERS = 20
HASTE_SECONDS = 3  # of a busy machine


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


def test_a_group_that_was_cut_off_in_the_middle_keeps_nobody_waiting(hole: BlackHole, behind: Books) -> None:
    """The group is one statement: the server finishes it and lets go of its streams, whether or not it is heard."""
    with ThreadPoolExecutor(1) as pool:
        behind.ledger.lock_seconds = 30
        with behind.locked("one"):
            leading = pool.submit(refused_after, behind, 1)
            eventually(lambda: behind.sql("SELECT FROM pg_locks WHERE NOT granted") != [])
            hole.fall_silent()
        # It has the lock now, and nobody hears from it.
        begun = time.monotonic()
        assert behind.another_ledger().accept(Submission(behind.workspace_id, [draft()]))[0].seq in (2, 3)  # type: ignore[union-attr]
        assert time.monotonic() - begun < HASTE_SECONDS
        assert leading.result(60) < CALL_SECONDS + HASTE_SECONDS
    eventually(lambda: len(behind.seqs()["one"]) == 3)
    hole.flow()
    (repeat,) = behind.accept(draft(key="k1"))
    assert isinstance(repeat, Accepted)
    assert repeat.duplicate  # what was answered 503 had been stored, and is not stored again
    assert behind.seqs() == {"one": [1, 2, 3]}


def test_a_call_that_is_not_answered_is_not_made_again_and_its_connection_is_replaced(
    hole: BlackHole, behind: Books
) -> None:
    """The firewall forgot the connection a moment after it was used: whether the call arrived is not known."""
    hole.forget_connections()
    assert refused_after(behind, 1) < CALL_SECONDS + HASTE_SECONDS
    begun = time.monotonic()
    assert behind.outcomes(draft()) == [2]
    assert time.monotonic() - begun < HASTE_SECONDS


def test_those_who_wait_behind_a_call_that_is_not_answered_are_stored(hole: BlackHole, behind: Books) -> None:
    with ThreadPoolExecutor(8) as pool:
        hole.forget_connections()
        leading = pool.submit(refused_after, behind, 1)
        eventually(lambda: behind.ledger.committing)
        waiting = [pool.submit(behind.outcomes, draft(f"s{number}")) for number in range(5)]
        assert [one.result(60) for one in waiting] == [[1]] * 5
        leading.result(60)


def test_forgotten_connections_cost_seconds_and_no_event(hole: BlackHole, behind: Books) -> None:
    through = Database(
        hole.url, trust_seconds=0
    )  # as if the connections had been idle for longer than they are trusted
    behind.ledger = behind.another_ledger(through=through)
    assert behind.outcomes(draft()) == [2]
    hole.forget_connections()
    begun = time.monotonic()
    assert behind.outcomes(draft()) == [3]
    assert time.monotonic() - begun < 3 + HASTE_SECONDS
    through.close()
