"""What drains tell of recorded attempts: to whoever watches, as counts for everybody, at no delivery's cost."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis

from app.delivery.live_log import KEPT_SECONDS, MAX_ENTRIES, PAUSE_SECONDS, LogReader, LogTeller, log_key
from app.local.embedded import EmbeddedRedis
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.delivery.world import World

ERROR = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def reader(redis_url: str) -> Iterator[LogReader]:
    reader = LogReader(redis_url)
    yield reader
    reader.close()


@pytest.fixture
def redis_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    engine = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def teller(redis_url: str) -> Iterator[LogTeller]:
    teller = LogTeller(redis_url)
    yield teller
    teller.close()


def test_where_nobody_watches_attempts_are_counted_and_not_told(
    world: World, client: redis.Redis, reader: LogReader, teller: LogTeller
) -> None:
    with ScriptedServer(answering(OK, ERROR)) as receiver:
        world.endpoint(receiver.url)
        world.publish(2)
        world.drain(tell=teller.tell).run()
    assert client.exists(log_key(world.workspace_id)) == 0
    assert reader.counts() == {"attempts:success": 1, "attempts:http_error": 1, "ended:delivered": 1}


def test_a_watcher_is_told_of_every_attempt_once_with_the_ids_that_are_in_the_log(
    world: World, client: redis.Redis, reader: LogReader, teller: LogTeller
) -> None:
    reader.watch(world.workspace_id)
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url)
        world.publish(100)
        world.drain(tell=teller.tell).run()
    entries = reader.after(world.workspace_id, "0-0", 0.01)
    assert sorted((entry.delivery_id, entry.attempt_id) for entry in entries) == [
        (row.delivery_id, row.id) for row in world.attempts()
    ]
    assert 0 < client.ttl(log_key(world.workspace_id)) <= KEPT_SECONDS
    assert reader.after(world.workspace_id, entries[98].id, 0.01) == entries[99:]
    assert reader.newest(world.workspace_id) == entries[99].id


def test_an_attempt_that_could_not_be_sent_is_told_too_but_says_nothing_of_the_endpoints_health(
    world: World, reader: LogReader, teller: LogTeller
) -> None:
    reader.watch(world.workspace_id)
    endpoint = world.endpoint("http://127.0.0.1:9/")
    world.sql("DELETE FROM endpoint_secrets")
    world.publish()
    assert world.drain(tell=teller.tell).run() == 0
    (attempt,) = world.attempts()
    assert [entry.attempt_id for entry in reader.after(world.workspace_id, "0-0", 0.01)] == [attempt.id]
    assert world.endpoint_row(endpoint).consecutive_failures == 0


def test_what_is_kept_for_those_who_come_back_is_bounded(
    world: World, client: redis.Redis, reader: LogReader, teller: LogTeller
) -> None:
    reader.watch(world.workspace_id)
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url)
        world.publish(2 * MAX_ENTRIES)
        assert world.drain(tell=teller.tell).run() == 2 * MAX_ENTRIES
    assert MAX_ENTRIES <= client.xlen(log_key(world.workspace_id)) < 1.2 * MAX_ENTRIES


def test_without_redis_deliveries_go_on_and_the_counts_are_made_good(
    world: World, redis_of_its_own: EmbeddedRedis, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    teller = LogTeller(redis_of_its_own.url, clock=lambda: now)
    reader = LogReader(redis_of_its_own.url)
    redis_of_its_own.stop()
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url)
        world.publish(50)
        assert world.drain(tell=teller.tell).run() == 50
        assert caplog.text.count("the live delivery log has a gap") == 1
        assert world.statuses() == {"delivered": 50}
        redis_of_its_own.start()
        now = 10.0
        world.publish(1)
        world.drain(tell=teller.tell).run()
    assert reader.counts() == {"attempts:success": 51, "ended:delivered": 51, "untold": 50}
    teller.close()
    reader.close()


def test_a_redis_that_hangs_is_asked_once_in_a_pause_and_holds_no_delivery_up(world: World) -> None:
    now = 0.0
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.setblocking(False)
        teller = LogTeller(f"redis://127.0.0.1:{silent.getsockname()[1]}/0", clock=lambda: now)

        def connections() -> int:
            """How many connections have come since the last call."""
            taken = 0
            with suppress(BlockingIOError):
                while True:
                    silent.accept()[0].close()
                    taken += 1
            return taken

        with ScriptedServer(answering(OK)) as receiver:
            world.endpoint(receiver.url)
            drain = world.drain(tell=teller.tell)
            asked = []
            for moment in (0.0, 0.1, PAUSE_SECONDS - 0.1, PAUSE_SECONDS, PAUSE_SECONDS + 0.1):
                now = moment
                world.publish(5)
                assert drain.run() == 5
                asked.append(connections() > 0)
        assert asked == [True, False, False, True, False]
        assert world.statuses() == {"delivered": 25}
        teller.close()
