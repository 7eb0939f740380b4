"""Drains stamp their rounds, so that others can see whether anybody looks for what is due."""

from __future__ import annotations

import math
from datetime import timedelta

from app.delivery import rounds
from app.delivery.rounds import Waiting
from tests.delivery.world import World


def look(world: World) -> Waiting:
    with world.database.begin() as connection:
        return rounds.Watcher().look(connection)


def age(world: World, seconds: float) -> None:
    world.sql("UPDATE drain_rounds SET stamped_at = now() - %(age)s::interval", age=timedelta(seconds=seconds))


def test_a_round_is_stamped_for_its_crew_at_most_once_a_second(world: World) -> None:
    age(world, 60)
    now = 0.0
    drain = world.drain(clock=lambda: now)
    drain.run_once()
    stamped = look(world)
    assert stamped.pool_silent_seconds < 30
    assert world.one("SELECT stamped_at < now() - interval '50 s' FROM drain_rounds WHERE crew = 'standby'")
    assert stamped.all_silent_seconds == stamped.pool_silent_seconds
    age(world, 60)
    now = 0.9
    drain.run_once()
    assert look(world).pool_silent_seconds >= 60
    now = 1.0
    drain.run_once("closing")
    assert look(world).pool_silent_seconds < 30
    age(world, 60)
    now = 2.0
    drain.run_once("closed")  # it looks for nothing
    assert look(world).pool_silent_seconds >= 60


def test_a_standbys_rounds_are_not_the_pools(world: World) -> None:
    age(world, 60)
    world.drain(crew="standby").run_once()
    seen = look(world)
    assert seen.pool_silent_seconds >= 60 > 30 > seen.all_silent_seconds


def test_how_long_the_oldest_delivery_has_been_due(world: World) -> None:
    assert look(world).overdue_seconds == 0
    assert not look(world).is_due
    world.endpoint("http://127.0.0.1:1/")
    world.publish(2)
    world.sql("UPDATE due SET due_at = now() + interval '1 hour'")
    assert not look(world).is_due
    world.sql("UPDATE due SET due_at = now() - interval '9 s' WHERE delivery_id = (SELECT min(id) FROM deliveries)")
    assert 9 <= look(world).overdue_seconds < 30
    world.end("failed")
    assert not look(world).is_due


def test_a_stamp_that_somebody_has_locked_holds_no_drain_up(world: World) -> None:
    age(world, 60)
    with world.database.begin() as frozen:
        frozen.exec_driver_sql("SELECT FROM drain_rounds FOR UPDATE")
        world.endpoint("http://127.0.0.1:1/")
        world.publish()
        assert len(world.drain().run_once().rows) == 1
    assert look(world).pool_silent_seconds >= 60


def test_a_stamp_of_the_future_is_none_and_is_mended_by_the_next_round(world: World) -> None:
    age(world, -3600)  # the server's clock has been set back by an hour
    assert look(world).pool_silent_seconds == math.inf
    world.drain().run_once()
    assert look(world).pool_silent_seconds < 30


def test_who_begins_looks_from_the_mark_that_was_written_down(world: World) -> None:
    """All that has ended lies below, and in a table that cannot be swept a look at everything may never end."""
    now = 0.0
    world.endpoint("http://127.0.0.1:1/")
    drain = world.drain(clock=lambda: now)
    drain.run_once()
    age(world, 60)
    now = 1.0
    drain.run_once()
    ((mark, all_seconds),) = world.sql("SELECT low_water, all_seconds FROM drain_rounds WHERE crew = 'pool'")
    assert timedelta() <= world.now() - mark < timedelta(seconds=60)
    world.publish()
    world.sql("UPDATE due SET due_at = %(mark)s::timestamptz - interval '1 minute'", mark=mark)  # it can hardly be
    begun = world.drain(clock=lambda: now)
    assert begun.run_once().rows == []
    assert not look(world).is_due
    now += all_seconds
    assert len(begun.run_once().rows) == 1


def test_a_walk_moves_the_mark(world: World) -> None:
    for _ in range(3):
        world.endpoint("http://127.0.0.1:1/")
    world.publish()
    world.sql("UPDATE due SET due_at = now() - interval '9 s'")
    walk = "SELECT * FROM look_for_due('-infinity', true, '', 600, 256, ARRAY[]::text[])"
    assert world.sql(walk)[0].low == world.one("SELECT min(due_at) FROM due")
