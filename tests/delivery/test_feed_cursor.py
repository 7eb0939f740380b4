"""Webhooks of endpoints that want it carry a cursor of the feed: whoever reads from there reads their event."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack

import pytest

from app.core.feed import cursor as cursors
from app.database.connection import Database
from app.database.retention import thin_ticks
from app.live.feed.pages import Feed, collect
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen, answering
from tests.delivery.world import World

TICKER_PAUSE_SECONDS = 0.002
SHORT = 2000  # of a header that servers take


def headers(seen: Seen) -> dict[str, str]:
    pairs = (line.partition(": ") for line in seen.head[1:])
    return {name.lower(): value for name, _, value in pairs}


def behind(world: World, cursor: str) -> list[str]:
    """The bodies of the workspace's events that a reader finds from here on."""
    feed = Feed(world.database)
    feed.tick(0)
    place = cursors.decode(cursor)
    feed.check(place)
    step = collect(lambda at, span: feed.step(world.workspace_id, at, span), place, lambda event: True, 1000)
    return [event.body.decode() for event in step.events]


def test_a_reader_from_the_cursor_finds_the_event_whatever_is_under_way(world: World) -> None:
    """With a ticker that never rests, and more foreign transactions than a header has room for."""
    ended = threading.Event()
    feed = Feed(world.database)

    def tick() -> None:
        while not ended.is_set():
            feed.tick(0)
            time.sleep(TICKER_PAUSE_SECONDS)

    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, feed_cursor=True)
        ticker = threading.Thread(target=tick)
        ticker.start()
        with world.database.engine.connect() as foreign:
            foreign.exec_driver_sql("SELECT pg_current_xact_id()")  # under way all the time
            for _ in range(12):
                world.publish(2)
            ended.set()
            ticker.join()
            world.drain().run()
    assert len(receiver.seen) == 24
    cursor_of = {seen.body: headers(seen)["webhook-feed-cursor"] for seen in receiver.seen}
    found_from = {cursor: behind(world, cursor) for cursor in set(cursor_of.values())}
    for seen in receiver.seen:
        assert len(cursor_of[seen.body]) <= SHORT
        found = found_from[cursor_of[seen.body]]
        assert seen.body.decode() in found
        assert found.index(seen.body.decode()) <= 20, "the place is not near"


def test_many_transactions_under_way_make_no_long_header(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cursors, "MOST_IN_A_HEADER", 3)
    others = Database(world.settings.database_url, pool_size=6)
    with ExitStack() as open_ones, ScriptedServer(answering(OK)) as receiver:
        for _ in range(6):
            open_ones.enter_context(others.engine.connect()).exec_driver_sql("SELECT pg_current_xact_id()")
        world.publish()
        Feed(world.database).tick(0)
        world.endpoint(receiver.url, feed_cursor=True)
        world.publish()
        world.drain().run()
    others.close()
    (seen,) = receiver.seen
    cursor = headers(seen)["webhook-feed-cursor"]
    assert len(cursors.decode(cursor).after.snapshot.in_flight) == 3
    assert behind(world, cursor)[1:] == [seen.body.decode()]  # behind one that the whole snapshot would have known


def test_a_tick_that_has_seen_the_event_is_not_taken_although_its_number_is_lower(world: World) -> None:
    feed = Feed(world.database)
    before = feed.tick(0)
    world.publish()
    after = feed.tick(0)
    # As when the event is stored between the two looks of one tick: the number is of before, the snapshot of after.
    world.sql("UPDATE ticks SET no = %(no)s WHERE id = %(id)s", no=before.no, id=after.id)
    (found,) = world.sql("SELECT (tick_before(xid, no) ->> 0)::bigint AS id FROM events")
    assert found.id == before.id


def test_others_get_none(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, timeout_seconds=5)
        world.publish()
        world.drain().run()
    (seen,) = receiver.seen
    assert "webhook-feed-cursor" not in headers(seen)


def test_an_event_that_is_older_than_all_ticks_goes_without_one(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, feed_cursor=True)
        world.publish()
        Feed(world.database).tick(0)
        world.sql("DELETE FROM ticks WHERE id < (SELECT max(id) FROM ticks)")
        world.drain().run()
    (seen,) = receiver.seen
    assert "webhook-feed-cursor" not in headers(seen)


def test_the_cursor_holds_when_its_tick_was_thinned_out(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, feed_cursor=True)
        feed = Feed(world.database)
        feed.tick(0)
        world.publish()
        feed.tick(0)
        world.drain().run()
        world.sql("UPDATE ticks SET created_at = created_at - interval '2 hours'")
        (now,) = world.sql("SELECT now() - interval '90 days' AS now")
        thin_ticks(world.database, now.now)
    (seen,) = receiver.seen
    cursor = headers(seen)["webhook-feed-cursor"]
    assert behind(world, cursor) == [seen.body.decode()]
