"""The pulse rings while something is due, and outlives outages without filling the log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from app.database.partitions import partition_name, week_of
from app.delivery.rounds import Waiting
from app.delivery.wake import PAUSE_SECONDS, Wake
from app.local.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.delivery.outages import no_connections
from tests.delivery.world import World
from tests.processes import eventually
from tests.statements import statements
from workers.pulse import LOOK_SECONDS, Pulse
from workers.standby import Standby


@pytest.fixture
def pulse(world: World) -> Iterator[Pulse]:
    """A pulse that beats, until the test is over."""
    with beating(world, Wake(world.settings.redis_url)) as pulse:
        yield pulse


@contextmanager
def beating(world: World, wake: Wake) -> Iterator[Pulse]:
    pulse = Pulse(world.settings.database_url, wake, beat_seconds=0.05)
    pulse.start()
    yield pulse
    pulse.stop()
    assert "pulse" not in {thread.name for thread in threading.enumerate()}


class UnluckyWake(Wake):
    """A wake that meets what nobody foresaw, until it is told otherwise."""

    unlucky = True

    def call(self) -> bool:
        if self.unlucky:
            raise LookupError("nobody foresaw this")
        return super().call()


def waiting(world: World) -> int:
    with redis.Redis.from_url(world.settings.redis_url) as client:
        return int(client.llen("deliver"))


def test_it_rings_when_a_row_becomes_due_and_not_before(world: World, pulse: Pulse) -> None:
    world.endpoint("http://127.0.0.1:1/")
    world.publish()
    eventually(lambda: waiting(world) == 1)
    world.sql("UPDATE due SET due_at = now() + interval '1 hour'")
    assert pulse.beat() is False
    world.end("failed")
    assert pulse.beat() is False


def test_it_makes_the_coming_weeks_partitions(world: World) -> None:
    latest = partition_name("events", week_of(world.one("SELECT now() + interval '4 weeks'")))
    world.sql(f"DROP TABLE {latest}")
    pulse = Pulse(world.settings.database_url, Wake(world.settings.redis_url))
    pulse.beat()
    pulse.stop()
    assert world.one(f"SELECT to_regclass('{latest}')::text") == latest


def test_without_redis_it_says_so_once(world: World, engine_directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine = EmbeddedRedis(engine_directory / "late")
    engine.start()
    engine.stop()  # its port is known, and nobody listens there
    now = 100.0
    world.endpoint("http://127.0.0.1:1/")
    world.publish()
    world.sql("UPDATE due SET due_at = now() - interval '1 second'")
    pulse = Pulse(world.settings.database_url, Wake(engine.url, clock=lambda: now))
    for _ in range(5):
        assert pulse.beat() is True
    engine.start()
    try:
        now += PAUSE_SECONDS
        pulse.beat()
        pulse.stop()
    finally:
        engine.stop()
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [line.split(":")[0] for line in said] == ["Redis cannot be used", "Redis can be used again"]


def test_without_postgresql_it_says_so_once_and_goes_on(
    world: World, pulse: Pulse, postgres: EmbeddedPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    with no_connections(postgres, world.settings.database_url):
        eventually(lambda: "PostgreSQL cannot be used" in caplog.text)
        for _ in range(3):
            assert pulse.beat() is False
    eventually(lambda: "PostgreSQL can be used again" in caplog.text)
    assert caplog.text.count("PostgreSQL cannot be used") == 1
    world.endpoint("http://127.0.0.1:1/")
    world.publish()
    eventually(lambda: waiting(world) == 1)


def test_what_nobody_foresaw_costs_a_beat_only(world: World, caplog: pytest.LogCaptureFixture) -> None:
    wake = UnluckyWake(world.settings.redis_url)
    with beating(world, wake):
        world.endpoint("http://127.0.0.1:1/")
        world.publish()
        eventually(lambda: "a beat was missed" in caplog.text)
        assert waiting(world) == 0
        wake.unlucky = False
        eventually(lambda: waiting(world) == 1)


def test_while_others_find_nothing_it_looks_seldom_and_a_row_that_they_do_not_see_is_seen(world: World) -> None:
    now, quiet = 0.0, True
    wake = Wake(world.settings.redis_url)
    pulse = Pulse(
        world.settings.database_url, wake, nobody_stands=lambda: False, is_quiet=lambda: quiet, clock=lambda: now
    )

    def looks(beats: int) -> int:
        nonlocal now
        with statements() as asked:
            for _ in range(beats):
                now += 1
                pulse.beat()
        assert len(asked) <= beats
        return sum("drain_rounds" in text for text in asked)

    pulse.beat()
    assert looks(20) == 20 / LOOK_SECONDS
    world.endpoint("http://127.0.0.1:1/")
    world.publish()
    world.sql("UPDATE due SET due_at = now() - interval '1 second'")
    assert looks(int(LOOK_SECONDS)) == 1
    assert waiting(world) == 1, "they are wrong"
    assert looks(3) == 3, "and are not relied on while something is due"
    world.sql("UPDATE due SET due_at = now() + interval '1 hour'")
    assert looks(1 + int(LOOK_SECONDS)) == 2
    quiet = False
    assert looks(3) == 3, "nobody looks"
    pulse.stop()


def test_while_a_standby_runs_it_looks_whatever_others_find(world: World) -> None:
    class Running(Standby):
        """A standby that has a process."""

        @property
        def is_running(self) -> bool:
            return True

        def mind(self, waiting: Waiting, *, rung: bool) -> None:
            pass

    pulse = Pulse(
        world.settings.database_url,
        Wake(world.settings.redis_url),
        standby=Running(world.settings),
        is_quiet=lambda: True,
    )
    pulse.beat()
    with statements() as asked:
        pulse.beat()
    assert sum("drain_rounds" in text for text in asked) == 1
    pulse.stop()
