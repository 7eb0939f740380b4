"""The pulse rings while something is due, and outlives outages without filling the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import redis
from sqlalchemy import text

from app.database.partitions import partition_name, week_of
from app.delivery.wake import Wake
from app.local.embedded import EmbeddedPostgres
from tests.delivery.outages import no_connections
from tests.delivery.world import World
from tests.processes import eventually, free_port
from workers.pulse import Pulse


@pytest.fixture
def pulse(world: World) -> Iterator[Pulse]:
    found = Pulse(world.settings.database_url, Wake(world.settings.redis_url), beat_seconds=0.05)
    found.start()
    yield found
    found.stop()
    assert not found._thread.is_alive()


def waiting(world: World) -> int:
    with redis.Redis.from_url(world.settings.redis_url) as client:
        return int(client.llen("deliver"))


def test_it_rings_when_a_row_becomes_due_and_not_before(world: World, pulse: Pulse) -> None:
    world.endpoint("http://127.0.0.1:1/")
    world.publish()
    eventually(lambda: waiting(world) == 1)
    world.sql("UPDATE deliveries SET due_at = now() + interval '1 hour'")
    assert pulse.beat() is False
    world.sql("UPDATE deliveries SET status = 'failed', due_at = now()")
    assert pulse.beat() is False


def test_it_makes_the_coming_weeks_partitions(world: World) -> None:
    latest = partition_name("events", week_of(world.one("SELECT now() + interval '4 weeks'")))
    with world.database.begin() as connection:
        connection.execute(text(f"DROP TABLE {latest}"))
    pulse = Pulse(world.settings.database_url, Wake(world.settings.redis_url))
    pulse.beat()
    pulse._database.close()
    assert world.one(f"SELECT to_regclass('{latest}')::text") == latest


def test_without_redis_it_says_so_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.endpoint("http://127.0.0.1:1/")
    world.publish()
    pulse = Pulse(world.settings.database_url, Wake(f"redis://127.0.0.1:{free_port()}/0"))
    for _ in range(5):
        assert pulse.beat() is True
    pulse._wake = Wake(world.settings.redis_url)
    pulse.beat()
    pulse._wake.close()
    pulse._database.close()
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


def test_what_nobody_foresaw_costs_a_beat_only(
    world: World, pulse: Pulse, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(pulse, "_look", lambda: [][0])
        eventually(lambda: "a beat was missed" in caplog.text)
    world.endpoint("http://127.0.0.1:1/")
    world.publish()
    eventually(lambda: waiting(world) == 1)
