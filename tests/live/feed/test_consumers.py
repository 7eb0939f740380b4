"""Consumers over a real PostgreSQL: two readers, a lease that is lost, a late commit, and how far one is behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from app.accounts.workspaces import delete_workspace
from app.core.feed.consumer import windows_behind
from app.core.feed.cursor import Cursor
from app.core.feed.window import Window
from app.core.problem import Problem
from app.database.connection import Database
from app.live.feed import consumers, lag, ticks
from app.live.feed.consumers import Consumer
from app.live.feed.pages import Feed, parameters
from tests.ledger.books import Books, draft, together

NAME = "billing"


@pytest.fixture
def books(database: Database) -> Iterator[Books]:
    made = Books(database)
    yield made
    made.close()


class Reader:
    """Reads the consumer `billing`, with a lease of its own."""

    def __init__(self, books: Books, lease: str) -> None:
        self._books, self._lease, self.feed = books, lease, Feed(books.database)

    def read(self, seconds: float = 60) -> list[str]:
        """The streams of the next events."""
        with self._books.database.begin() as connection:
            found = consumers.lease(connection, self._books.workspace_id, NAME, self._lease, seconds)
        self.feed.tick(0)
        step = self.feed.step(self._books.workspace_id, found.place.cursor)
        with self._books.database.begin() as connection:
            consumers.hand_out(connection, self._books.workspace_id, found, step.cursor, seconds)
        return [event.external_id for event in step.events]

    def commit(self, cursor: Cursor | None = None) -> Consumer:
        with self._books.database.begin() as connection:
            return consumers.commit(connection, self._books.workspace_id, NAME, self._lease, cursor)


@pytest.fixture
def one(books: Books) -> Reader:
    begin = Feed(books.database).start(ticks.first)
    with books.database.begin() as connection:
        assert consumers.put(connection, books.workspace_id, NAME, {}, begin)
    return Reader(books, "one")


@pytest.fixture
def other(books: Books) -> Reader:
    return Reader(books, "other")


def code(act: object) -> str:
    with pytest.raises(Problem) as caught:
        act()  # type: ignore[operator]
    return caught.value.code


def end_lease(books: Books) -> None:
    books.sql("UPDATE feed_consumers SET leased_until = now() - interval '1 second'")


def test_a_second_reader_is_told_when_to_come_back(books: Books, one: Reader, other: Reader) -> None:
    books.accept(draft("a"))
    assert one.read(seconds=30) == ["a"]
    with pytest.raises(Problem) as caught:
        other.read()
    assert caught.value.code == "lease_held"
    assert 28 <= (caught.value.retry_after_seconds or 0) <= 31
    one.commit()
    books.accept(draft("b"))
    assert other.read() == ["b"]


def test_of_readers_at_once_one_reads(books: Books, one: Reader) -> None:
    books.accept(draft("a"))
    came: list[str] = []

    def read(number: int) -> None:
        try:
            Reader(books, f"lease{number}").read()
            came.append("read")
        except Problem as problem:
            came.append(problem.code)

    together(4, read)
    assert sorted(came) == ["lease_held", "lease_held", "lease_held", "read"]


def test_what_was_not_committed_is_read_again_and_the_late_commit_refused(
    books: Books, one: Reader, other: Reader
) -> None:
    books.accept(draft("a"))
    assert one.read() == ["a"]
    end_lease(books)
    assert other.read() == ["a"]
    assert code(one.commit) == "lease_lost"
    place = other.commit().place
    assert code(one.commit) == "lease_lost"
    assert other.commit().place == place  # twice is once


def test_a_lease_that_is_over_may_be_committed_while_nobody_else_has_read(books: Books, one: Reader) -> None:
    books.accept(draft("a"))
    one.read()
    end_lease(books)
    assert one.commit().place.committed == "one"


def test_a_consumer_that_was_moved_has_lost_its_reader(books: Books, one: Reader) -> None:
    books.accept(draft("a"))
    begin = one.feed.start(ticks.first)
    one.read()
    with books.database.begin() as connection:
        consumers.seek(connection, books.workspace_id, NAME, begin)
    assert code(one.commit) == "lease_lost"
    assert one.read() == ["a"]


def test_a_page_that_comes_after_the_lease_was_lost_is_not_handed_out(books: Books, one: Reader) -> None:
    with books.database.begin() as connection:
        slow = consumers.lease(connection, books.workspace_id, NAME, "slow", 0)
    other_page = Cursor(one.feed.tick(0))
    one.read()
    with books.database.begin() as connection:
        assert code(lambda: consumers.hand_out(connection, books.workspace_id, slow, other_page, 60)) == "lease_lost"


def test_of_a_read_that_was_repeated_with_its_lease_only_the_last_one_answers(books: Books, one: Reader) -> None:
    with books.database.begin() as connection:
        first = consumers.lease(connection, books.workspace_id, NAME, "one", 60)
    books.accept(draft("a"))
    assert one.read() == ["a"]
    books.accept(draft("b"))
    later = Cursor(one.feed.tick(0))
    with books.database.begin() as connection:
        assert code(lambda: consumers.hand_out(connection, books.workspace_id, first, later, 60)) == "lease_lost"
        consumers.pass_over(connection, books.workspace_id, first, later)
        consumers.release(connection, books.workspace_id, first)
    one.commit()
    assert code(one.read) == "lease_lost"  # what was read with this lease is committed
    assert Reader(books, "two").read() == ["b"]


def test_the_lag_is_counted_up_to_a_bound(books: Books, one: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lag, "MOST_COUNTED", 3)
    begin = one.feed.start(ticks.first)

    def told(cursor: Cursor) -> lag.Lag:
        with books.database.begin() as connection:
            return lag.ruler(connection, books.workspace_id)(cursor)

    assert told(begin) == lag.Lag(0, False, None)
    books.accept(draft("a"), draft("b"), draft("c"))
    one.feed.tick(0)
    found = told(begin)
    assert (found.events, found.at_least) == (3, False)
    assert found.since is not None
    (first, *_) = one.feed.step(books.workspace_id, begin).events
    assert told(first.cursor).events == 2
    books.accept(draft("d"))
    one.feed.tick(0)
    assert (told(begin).events, told(begin).at_least) == (3, True)
    assert told(first.cursor).events == 3
    assert told(Cursor(one.feed.tick(0))).events == 0


def test_figures_class_all_consumers(books: Books, one: Reader) -> None:
    def counts() -> dict[str, int]:
        with books.database.begin() as connection:
            return {name: count for name, count in lag.figures(connection).counts.items() if count}

    one.feed.tick(0)
    one.read()
    one.commit()
    assert counts() == {"caught_up": 1}
    books.accept(draft("a"))
    one.feed.tick(0)
    assert counts() == {"under_1m": 1}
    books.sql("UPDATE ticks SET created_at = now() - interval '2 hours'")
    assert counts() == {"over_1h": 1}


def test_a_workspace_takes_its_consumers_along(books: Books, one: Reader) -> None:
    with books.database.session() as session:
        delete_workspace(session, books.workspace_id)
    assert books.sql("SELECT count(*) AS count FROM feed_consumers")[0].count == 0


def test_a_workspace_has_so_many_at_most(books: Books, one: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "MOST_CONSUMERS", 2)
    begin = one.feed.start(ticks.first)

    def make(name: str) -> bool:
        with books.database.begin() as connection:
            return consumers.put(connection, books.workspace_id, name, {}, begin)

    assert make("second")
    assert code(lambda: make("third")) == "too_many"
    assert not make("second")  # there already
    with books.database.begin() as connection:
        found = consumers.listed(connection, books.workspace_id, limit=10, after="billing")
    assert [one.name for one in found] == ["second"]


def test_what_is_counted_is_bounded_however_much_lies_behind(
    books: Books, one: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lag, "MOST_COUNTED", 10)
    begin = one.feed.start(ticks.first)
    books.accept(*[draft(f"s{number % 7}") for number in range(300)])
    one.feed.tick(0)
    (window,) = windows_of(books, begin)
    with books.database.begin() as connection:
        assert lag.ruler(connection, books.workspace_id)(begin).at_least
        asked = parameters(books.workspace_id, window) | {"bound": 11}
        plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {lag.BEHIND}", asked).scalar_one()
    assert max(rows_of(plan[0]["Plan"])) <= 11


def windows_of(books: Books, cursor: Cursor) -> list[Window]:
    with books.database.begin() as connection:
        return windows_behind(cursor, ticks.newest(connection, 0), ticks.epochs(connection))


def rows_of(node: dict[str, Any]) -> list[float]:
    """The rows that each step of a plan has handed on."""
    return [node["Actual Rows"], *(rows for inner in node.get("Plans", ()) for rows in rows_of(inner))]
