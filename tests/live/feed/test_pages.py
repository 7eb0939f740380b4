"""The feed over a real PostgreSQL: writers that overlap, a foreign transaction, a ticker; nothing missed, in order."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
from sqlalchemy import Connection

from app.core.feed.cursor import Cursor, Tick, decode, encode
from app.core.feed.snapshot import Snapshot
from app.core.feed.wanted import Wanted, read_wanted
from app.core.problem import Problem
from app.database.connection import Database
from app.ledger.ledger import Ledger
from app.live.feed import lag, pages, ticks
from app.live.feed.pages import GONE, MOST_SCANNED, READ_EVENTS, Feed, FeedEvent, Lost, Step, collect
from app.live.feed.sharing import SharedSteps
from app.web.api.feed import next_events
from app.web.engine import Engine
from tests.ledger.books import Books, draft

WRITERS, EVENTS_OF_EACH = 4, 40
TICK = Tick(1, 0, 1, 2_000_000, Snapshot(1, 1))


@pytest.fixture
def books(database: Database) -> Iterator[Books]:
    made = Books(database)
    yield made
    made.close()


@pytest.fixture
def feed(database: Database) -> Feed:
    return Feed(database)


def everything(event: FeedEvent) -> bool:
    return True


def read(feed: Feed, workspace_id: str, cursor: Cursor, limit: int = 1000) -> Step:
    return collect(lambda at, span: feed.step(workspace_id, at, span), cursor, everything, limit)


def write(ledger: Ledger, books: Books, writer: int) -> None:
    """Events of streams that others write to as well, some in one transaction."""
    for number in range(EVENTS_OF_EACH):
        books.accept(draft(f"s{number % 3}"), draft(f"s{(number + writer) % 3}"))


def test_writers_that_overlap_are_read_without_a_gap_and_each_stream_in_order(books: Books, feed: Feed) -> None:
    start = cursor = feed.start(ticks.first)
    with books.database.begin() as foreign:
        foreign.exec_driver_sql("UPDATE workspaces SET name = name WHERE false")
        foreign.exec_driver_sql("SELECT pg_current_xact_id()")  # it stays under way all the time
        threads = [threading.Thread(target=write, args=(books.ledger, books, number)) for number in range(WRITERS)]
        for thread in threads:
            thread.start()
        found: list[FeedEvent] = []
        deadline = time.monotonic() + 30
        while len(found) < WRITERS * EVENTS_OF_EACH * 2 and time.monotonic() < deadline:
            feed.tick(0)
            step = read(feed, books.workspace_id, cursor, limit=7)
            found += step.events
            cursor = decode(encode(step.cursor))
        for thread in threads:
            thread.join()
    stored = books.sql("SELECT body FROM events ORDER BY stream_id, seq")
    assert sorted(event.body for event in found) == sorted(bytes(row.body) for row in stored)
    for stream in ("s0", "s1", "s2"):
        shown = [event.body for event in found if event.external_id == stream]
        assert shown == [body for body in (bytes(row.body) for row in stored) if body in set(shown)]
    again = read(feed, books.workspace_id, start)
    assert sorted(event.body for event in again.events) == sorted(bytes(row.body) for row in stored)


def store(connection: Connection, workspace_id: str) -> None:
    """The event of a transaction that takes its time."""
    connection.exec_driver_sql(
        "INSERT INTO streams (workspace_id, kind, external_id, created_at) VALUES (%(w)s, 'call', 'slow', now())",
        {"w": workspace_id},
    )
    connection.exec_driver_sql(
        "INSERT INTO events (id, created_at, workspace_id, stream_id, seq, type, occurred_at, body)"
        " SELECT 'evt_slow', now(), %(w)s, id, 1, 'note', now(), 'slow' FROM streams WHERE external_id = 'slow'",
        {"w": workspace_id},
    )


def test_an_event_that_commits_late_comes_in_a_later_page(books: Books, feed: Feed) -> None:
    cursor = feed.start(ticks.first)
    with books.database.begin() as slow:
        store(slow, books.workspace_id)
        books.accept(draft("fast"))
        feed.tick(0)
        step = read(feed, books.workspace_id, cursor)
        assert [event.external_id for event in step.events] == ["fast"]
    feed.tick(0)
    assert [event.external_id for event in read(feed, books.workspace_id, step.cursor).events] == ["slow"]


def test_ticks_are_made_only_when_something_was_stored_and_not_too_often(books: Books, feed: Feed) -> None:
    first = feed.tick(0)
    assert feed.tick(0) == first
    books.accept(draft())
    second = feed.tick(0)
    assert second.id > first.id
    books.accept(draft())
    assert feed.tick(60_000) == second


def test_an_event_that_was_under_way_during_the_last_tick_is_in_the_next_one(books: Books, feed: Feed) -> None:
    """Though nothing was stored since, and although the snapshot does not name the newest transaction."""
    begin = feed.start(lambda connection: ticks.newest(connection, 0))
    with books.database.begin() as writing:
        store(writing, books.workspace_id)
        seen = feed.tick(0)
    assert feed.tick(0).id > seen.id
    assert [event.external_id for event in read(feed, books.workspace_id, begin).events] == ["slow"]


def test_of_many_who_want_a_tick_at_once_few_ask_for_it(books: Books) -> None:
    class Counted(Database):
        asked = 0

        @contextmanager
        def alone(self) -> Iterator[Connection]:
            Counted.asked += 1
            with super().alone() as connection:
                threading.Event().wait(0.05)
                yield connection

    ticking = Counted(books.database.url, pool_size=1)
    feed = Feed(books.database, ticking)
    books.accept(draft())
    found: list[Tick] = []
    threads = [threading.Thread(target=lambda: found.append(feed.tick(0))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ticking.close()
    assert len(found) == 20
    assert Counted.asked <= 3
    assert len({tick.id for tick in found}) == 1


def test_one_tick_is_made_at_a_time(books: Books, feed: Feed) -> None:
    books.accept(draft())
    newest = feed.start(lambda connection: ticks.newest(connection, 0)).after
    books.accept(draft())
    with books.database.begin() as other:
        other.exec_driver_sql("SELECT pg_advisory_xact_lock(7305, 1)")
        assert feed.tick(0) == newest  # at once: nobody waits for another one's
    assert feed.tick(0).id > newest.id


def test_nobody_holds_the_lock_of_ticks_beyond_a_statement(books: Books, feed: Feed) -> None:
    def is_free() -> bool:
        return bool(books.sql("SELECT pg_try_advisory_xact_lock(7305, 1) AS is_free")[0].is_free)

    books.accept(draft())
    with books.database.begin() as measuring:
        lag.ruler(measuring, books.workspace_id)
        assert is_free()
    with books.database.alone() as ticking:
        ticks.newest(ticking, 0)
        assert is_free()
    feed.check(feed.start(ticks.first))


def test_a_cursor_holds_although_its_ticks_were_thinned_out(books: Books, feed: Feed) -> None:
    books.accept(draft("before"))
    feed.tick(0)
    cursor = read(feed, books.workspace_id, feed.start(ticks.first)).cursor
    books.accept(draft("after"))
    feed.tick(0)
    books.sql("DELETE FROM ticks WHERE id = %(id)s", id=cursor.after.id)
    feed.check(cursor)
    assert [event.external_id for event in read(feed, books.workspace_id, cursor).events] == ["after"]


def test_a_cursor_of_a_future_that_was_lost_is_told_where_to_go_on(books: Books, feed: Feed) -> None:
    books.accept(draft("kept"))
    newest = feed.tick(0)
    for lost in (
        Tick(newest.id + 5, 0, 77, newest.no + 9, newest.snapshot),  # a restored backup has not come so far
        Tick(newest.id, 0, newest.mark + 1, newest.no, newest.snapshot),  # or made another tick of that number
    ):
        with pytest.raises(Lost) as raised:
            feed.check(Cursor(lost))
        assert raised.value.cursor.after == newest


def test_a_cursor_that_claims_to_be_later_than_it_is_is_refused(books: Books, feed: Feed) -> None:
    books.accept(draft())
    kept = feed.tick(0)
    books.accept(draft())
    thinned = feed.tick(0)
    books.accept(draft())
    feed.tick(0)
    books.sql("DELETE FROM ticks WHERE id = %(id)s", id=thinned.id)
    feed.check(Cursor(thinned))
    early = Snapshot(1, 1)
    for tick in (kept, thinned):
        for forged in (replace(tick, no=0), replace(tick, snapshot=early)):
            with pytest.raises(Lost):
                feed.check(Cursor(forged))


def test_a_cursor_that_claims_to_have_seen_more_or_less_than_its_neighbours_is_refused(
    books: Books, feed: Feed
) -> None:
    with books.database.begin() as slow:
        slow.exec_driver_sql("SELECT pg_current_xact_id()")  # what a tick may say to have been under way
        books.accept(draft())
        before = feed.tick(0)
        books.accept(draft())
        thinned = feed.tick(0)
        books.accept(draft())
        behind = feed.tick(0)
    books.sql("DELETE FROM ticks WHERE id = %(id)s", id=thinned.id)
    feed.check(Cursor(thinned))
    seen = thinned.snapshot
    for forged in (
        replace(thinned, no=behind.no + 1),
        replace(thinned, epoch=1),
        replace(thinned, snapshot=replace(seen, xmax=behind.snapshot.xmax + 1)),
        replace(thinned, snapshot=Snapshot(seen.xmin, seen.xmin)),  # not before what had ended
        replace(thinned, snapshot=Snapshot(seen.xmin - 1, seen.xmax, (seen.xmin - 1, seen.xmin))),
    ):
        with pytest.raises(Lost):
            feed.check(Cursor(forged))
    assert before.snapshot.in_flight == (seen.xmin,)


def test_two_ticks_far_apart_make_no_wide_page(books: Books, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can put the ticks of two cursors into one; what that asks for has no bound."""
    monkeypatch.setattr(pages, "SPAN", 5)
    first = feed.start(ticks.first).after
    for number in range(20):
        books.accept(draft(f"s{number}"))
        newest = feed.tick(0)
    cursor, found = Cursor(first, newest, 0), set()
    feed.check(cursor)
    for number in range(20):
        step = feed.step(books.workspace_id, cursor)
        if not number:
            assert 0 < len(step.events) <= 5
            assert step.cursor.after.no <= first.no + 5
        found |= {event.external_id for event in step.events}
        cursor = step.cursor
    assert found == {f"s{number}" for number in range(20)}


def test_a_cursor_that_is_older_than_what_is_kept_is_told_where_the_feed_begins(books: Books, feed: Feed) -> None:
    start = feed.start(ticks.first)
    books.accept(draft())
    kept = feed.tick(0)
    feed.check(start)
    books.sql("DELETE FROM ticks WHERE id < %(id)s", id=kept.id)
    with pytest.raises(Lost) as raised:
        feed.check(start)
    assert (raised.value.reason, raised.value.cursor) == (GONE, Cursor(kept))
    feed.check(Cursor(kept))


def test_a_filter_that_fits_nothing_in_a_million_events_is_given_a_cursor_to_go_on_from() -> None:
    """A page looks at a bounded number of them; pages that go on from each other come to the end."""
    million = 1_000_000
    looked_at = [0]

    def read(at: Cursor, span: int) -> Step:
        first = at.place
        count = min(READ_EVENTS, million - first)
        looked_at[0] += count
        body = b'{"id":"evt_1","data":{"amount":5}}'
        events = [FeedEvent("t", "k", "s", body, Cursor(TICK, TICK, first + one + 1)) for one in range(count)]
        return Step(events, events[-1].cursor if events else at, more=bool(events))

    wanted = read_wanted({"content_filter": {"path": "/amount", "gt": 5}})
    cursor, pages, more = Cursor(TICK, TICK, 0), 0, True
    while more and pages < 3:
        step = collect(read, cursor, lambda event: wanted.wants(event.type, "k", "s", event.body), 50)
        assert (step.events, step.more) == ([], True)
        assert 0 < step.cursor.place - cursor.place < MOST_SCANNED + READ_EVENTS
        cursor, pages = step.cursor, pages + 1
    assert looked_at[0] == cursor.place
    ended = collect(read, Cursor(TICK, TICK, million - 10), lambda event: False, 50)
    assert (ended.cursor.place, ended.more) == (million, False)


def test_another_server_begins_an_epoch_and_readers_go_on_over_it(books: Books, feed: Feed) -> None:
    start = feed.start(ticks.first)
    books.accept(draft("one"))
    before = Cursor(feed.tick(0))
    books.accept(draft("two"))
    books.sql("UPDATE epochs SET server = 'another'")  # as after a fail-over: the server is not that of the last tick
    books.accept(draft("three"))
    assert feed.tick(0).epoch == 1
    books.accept(draft("four"))
    feed.tick(0)
    for cursor, expected in ((before, ["two", "three", "four"]), (start, ["one", "two", "three", "four"])):
        feed.check(cursor)
        assert [event.external_id for event in read(feed, books.workspace_id, cursor).events] == expected
    beyond = Tick(before.after.id + 1, 0, 5, 99, before.after.snapshot)
    with pytest.raises(Lost) as raised:
        feed.check(Cursor(beyond))
    shown = read(feed, books.workspace_id, raised.value.cursor).events
    assert [event.external_id for event in shown] == ["four"]


def test_nothing_of_another_workspace_is_shown(books: Books, feed: Feed) -> None:
    cursor = feed.start(ticks.first)
    other = books.workspace()
    books.accept(draft("theirs"), workspace_id=other)
    feed.tick(0)
    assert read(feed, books.workspace_id, cursor).events == []
    assert [event.external_id for event in read(feed, other, cursor).events] == ["theirs"]


def test_what_is_not_wanted_is_passed_over_and_the_cursor_moves_on(books: Books, feed: Feed) -> None:
    cursor = feed.start(ticks.first)
    books.accept(*(draft(f"s{number % 2}") for number in range(6)))
    feed.tick(0)
    step = collect(
        lambda at, span: feed.step(books.workspace_id, at, span), cursor, lambda event: event.external_id == "s1", 2
    )
    assert [event.external_id for event in step.events] == ["s1", "s1"]
    rest = read(feed, books.workspace_id, step.cursor)
    assert [event.external_id for event in rest.events] == ["s0", "s1"]


def test_viewers_of_the_same_step_read_it_once(books: Books, feed: Feed) -> None:
    books.accept(draft())
    cursor = feed.start(ticks.first)
    feed.tick(0)
    reads: list[str] = []

    def counted(workspace_id: str, at: Cursor, span: int) -> Step:
        reads.append(workspace_id)
        return feed.step(workspace_id, at, span)

    shared = SharedSteps(counted, lambda: feed.epoch)
    threads = [threading.Thread(target=shared.step, args=(books.workspace_id, cursor, 100)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reads) == 1
    head = feed.step(books.workspace_id, cursor, 100).cursor
    assert [shared.step(books.workspace_id, head, 100).more for _ in range(2)] == [False, False]
    assert len(reads) == 3  # there may be more by now
    shared.step(books.workspace_id, cursor, 100)
    assert len(reads) == 3
    with books.database.begin() as connection:
        connection.exec_driver_sql("SELECT begin_history()")
    feed.check(cursor)
    shared.step(books.workspace_id, cursor, 100)
    assert len(reads) == 4  # what was kept may be of a future that was lost


def test_whoever_stood_before_a_new_history_goes_on_and_whoever_stood_beyond_is_told(books: Books, feed: Feed) -> None:
    first = feed.tick(0)
    books.accept(*(draft("s") for _ in range(5)))
    shared = feed.tick(0)
    between = read(feed, books.workspace_id, Cursor(first), limit=2).cursor
    with books.database.begin() as connection:
        connection.exec_driver_sql("SELECT begin_history()")
    books.accept(*(draft("s") for _ in range(3)))
    feed.tick(0)
    for cursor, left in ((Cursor(first), 8), (between, 6), (Cursor(shared), 3)):
        feed.check(cursor)
        found, step = [], Step((), cursor, more=True)
        while step.more:
            step = read(feed, books.workspace_id, step.cursor)
            found += step.events
        assert len(found) == left
    beyond = Tick(shared.id + 1, 0, 12345, shared.no, shared.snapshot)
    with pytest.raises(Lost):
        feed.step(books.workspace_id, Cursor(beyond))


def test_whoever_stood_in_a_page_that_was_lost_reads_what_is_left_of_it(books: Books, feed: Feed) -> None:
    first = feed.tick(0)
    books.accept(*(draft("s") for _ in range(5)))
    numbers = [row.no for row in books.sql("SELECT no FROM events ORDER BY no")]
    with books.database.begin() as connection:
        connection.exec_driver_sql("SELECT begin_history()")
    last_tick = books.sql("SELECT max(last_tick) AS last_tick FROM epochs")[0].last_tick
    books.accept(draft("s"))
    feed.tick(0)
    lost = Tick(last_tick + 1, 0, 77, numbers[-1] + 9, Snapshot(first.snapshot.xmax + 50, first.snapshot.xmax + 50))
    with pytest.raises(Lost) as raised:
        feed.check(Cursor(first, lost, numbers[1]))
    feed.check(raised.value.cursor)
    found, step = 0, Step((), raised.value.cursor, more=True)
    while step.more:
        step = read(feed, books.workspace_id, step.cursor)
        found += len(step.events)
    assert found == 4
    unknown = Tick(first.id, 0, first.mark + 1, first.no, first.snapshot)
    with pytest.raises(Lost) as raised:
        feed.check(Cursor(unknown, lost, numbers[1]))
    feed.check(raised.value.cursor)  # never the same one again


def test_a_cursor_that_is_lost_while_somebody_reads_is_refused_as_one_that_was_lost_before(
    books: Books, feed: Feed
) -> None:
    newest = feed.tick(0)
    beyond = Cursor(Tick(newest.id + 1, 9, 77, newest.no, newest.snapshot))
    engine = cast(Engine, SimpleNamespace(feed=feed))
    with pytest.raises(Problem) as caught:
        next_events(engine, books.workspace_id, beyond, Wanted(), 10)
    books.accept(draft())
    feed.tick(0)
    with pytest.raises(Problem) as again:
        next_events(engine, books.workspace_id, beyond, Wanted(), 10)
    assert (caught.value.code, again.value.code) == ("cursor_lost", "cursor_lost")
    assert decode(caught.value.extra["cursor"]).after == newest


def test_a_new_history_is_read_from_its_first_transaction_on(books: Books, feed: Feed) -> None:
    books.accept(draft("before"))
    feed.tick(0)
    with books.database.begin() as connection:
        connection.exec_driver_sql("SELECT begin_history()")
    books.accept(draft("after"))
    with books.database.begin() as connection:
        first_xid = ticks.epochs(connection)[-1].first_xid
    before, after = (int(row.xid) for row in books.sql("SELECT xid::text FROM events ORDER BY no"))
    assert before < first_xid <= after
