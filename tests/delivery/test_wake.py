"""Rings are coalesced, best effort, and safe in every kind of process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from app.delivery.wake import MAX_WAITING, PAUSE_SECONDS, QUEUE, Wake, broker_url, key_of
from app.local.embedded import EmbeddedRedis
from tests.processes import ROOT


@pytest.fixture
def wake(redis_url: str) -> Iterator[Wake]:
    wake = Wake(redis_url)
    yield wake
    wake.close()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def test_a_ring_sends_one_message_that_celery_understands(wake: Wake, client: redis.Redis) -> None:
    assert wake.call()
    message = json.loads(client.lindex("deliver", 0))
    assert message["headers"]["task"] == "deliver"
    assert message["headers"]["ignore_result"] is True
    assert message["headers"]["eta"] is None
    assert message["content-type"] == "application/json"


def test_rings_are_one_until_a_drain_answers(wake: Wake, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.delivery.wake.KEY_MILLISECONDS", 60_000)  # no key ends by itself meanwhile
    for _ in range(5):
        assert wake.call()
    assert client.llen("deliver") == 1
    wake.answered()
    wake.call()
    assert client.llen("deliver") == 2


def test_a_lost_message_hides_rings_for_a_second_only(wake: Wake, client: redis.Redis) -> None:
    wake.call()
    assert 0 < client.pttl(key_of(QUEUE)) <= 1000


def test_wakes_that_nobody_takes_do_not_pile_up(wake: Wake, client: redis.Redis) -> None:
    for _ in range(MAX_WAITING + 10):
        wake.call()
        wake.answered()
    assert client.llen("deliver") == MAX_WAITING


def connections_taken(client: redis.Redis) -> int:
    """How many connections a Redis has taken since it started."""
    return int(client.info("stats")["total_connections_received"])


def test_without_redis_rings_say_no_and_only_one_in_a_pause_tries(engine_directory: Path) -> None:
    engine = EmbeddedRedis(engine_directory / "away")
    engine.start()
    engine.stop()  # its port is known, and nobody listens there
    now = 100.0
    wake = Wake(engine.url, clock=lambda: now)
    assert not wake.call()
    engine.start()
    try:
        with redis.Redis.from_url(engine.url) as client:
            before = connections_taken(client)
            now += PAUSE_SECONDS * 0.99
            assert not wake.call()
            assert not wake.answered()
            assert connections_taken(client) == before
            now += PAUSE_SECONDS * 0.02
            assert wake.call()
            assert connections_taken(client) > before
    finally:
        wake.close()
        engine.stop()


def test_with_a_frozen_redis_one_ring_waits_and_the_next_ones_do_not(engine_directory: Path) -> None:
    engine = EmbeddedRedis(engine_directory / "frozen")
    engine.start()
    now = 100.0
    wake = Wake(engine.url, clock=lambda: now)
    try:
        assert wake.call()
        with redis.Redis.from_url(engine.url) as client:
            pid = int(client.info("server")["process_id"])
            before = connections_taken(client)
            os.kill(pid, signal.SIGSTOP)
            try:
                started = time.monotonic()
                assert not wake.call()
                assert time.monotonic() - started < 5
                assert not any(wake.call() for _ in range(100))
            finally:
                os.kill(pid, signal.SIGCONT)
        with redis.Redis.from_url(engine.url) as client:  # its connection is taken after those of the rings, if any
            assert connections_taken(client) == before + 1
        now += PAUSE_SECONDS
        assert wake.call()
    finally:
        wake.close()
        engine.stop()


def test_a_ring_after_the_server_closed_the_connection_is_no_failure(wake: Wake, client: redis.Redis) -> None:
    wake.call()
    wake.answered()
    client.client_kill_filter(_type="normal", skipme=True)
    assert wake.call()


def test_flushall_costs_no_ring(wake: Wake, client: redis.Redis) -> None:
    for _ in range(5):
        assert wake.call()
        client.flushall()
    assert wake.call()
    assert client.llen("deliver") == 1


def test_parent_and_child_of_a_fork_do_not_share_a_connection(wake: Wake, client: redis.Redis) -> None:
    wake.call()
    child = os.fork()
    if child == 0:
        done = all(wake.answered() and wake.call() for _ in range(5))
        os._exit(0 if done else 1)
    for _ in range(5):
        assert wake.answered()
        assert wake.call()
    assert os.waitpid(child, 0)[1] == 0
    assert client.llen("deliver") >= 2


def test_it_works_for_many_greenlets_under_gevent(redis_url: str, client: redis.Redis) -> None:
    program = f"""
from gevent import monkey; monkey.patch_all()
import gevent
from app.delivery import wake
wake.KEY_MILLISECONDS = 60_000  # on a busy machine two hundred rings take longer than a key lasts
wake = wake.Wake({redis_url!r})
done = gevent.joinall([gevent.spawn(wake.call) for _ in range(200)], timeout=10)
assert all(ring.value for ring in done)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert client.llen("deliver") == 1


@pytest.mark.parametrize(
    ("ours", "kombus"),
    [
        ("redis://:pw@host:1/2", "redis://:pw@host:1/2"),
        ("unix:///run/redis.sock?db=3", "redis+socket:///run/redis.sock?virtual_host=3"),
        ("unix://u:pw@/run/redis.sock", "redis+socket://u:pw@/run/redis.sock?virtual_host=0"),
        ("rediss://host/0", "rediss://host/0?ssl_cert_reqs=CERT_REQUIRED"),
        ("rediss://host/0?ssl_cert_reqs=none", "rediss://host/0?ssl_cert_reqs=none"),
    ],
)
def test_redis_urls_are_understood_by_celery_too(ours: str, kombus: str) -> None:
    assert broker_url(ours) == kombus
