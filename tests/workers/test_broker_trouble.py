"""Whatever Redis does to a worker's consumer, the worker's process stays and takes wake-ups afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis

from app.delivery.wake import QUEUE, Wake
from app.local.embedded import EmbeddedRedis
from tests.processes import RunningProcess, environment, eventually, start_worker, waits_for_a_wake


@pytest.fixture
def engine(engine_directory: Path) -> Iterator[EmbeddedRedis]:
    """A Redis that may be stopped, started and filled."""
    server = EmbeddedRedis(engine_directory / "trouble")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def worker(environ: dict[str, str], engine: EmbeddedRedis, tmp_path: Path) -> Iterator[RunningProcess]:
    process = start_worker(environment({**environ, "REDIS_URL": engine.url}), tmp_path / "worker.log")
    yield process
    process.kill_all()
    print(process.log_text()[-4000:])  # shown when the test fails


def ring(engine: EmbeddedRedis) -> None:
    wake = Wake(engine.url)
    assert wake.answered()  # or else the last ring's key suppresses this one
    assert wake.call()
    wake.close()


def stays_and_waits(worker: RunningProcess, engine: EmbeddedRedis) -> bool:
    assert worker.status is None, f"the worker ended with {worker.status}"
    return waits_for_a_wake(engine.url)


def test_a_worker_outlives_a_redis_that_is_full(worker: RunningProcess, engine: EmbeddedRedis) -> None:
    """What it can neither note as taken nor acknowledge is an answer of Redis, and no lost connection."""
    parent = psutil.Process(worker.pid)
    with redis.Redis.from_url(engine.url) as client:
        parent.suspend()
        ring(engine)
        client.config_set("maxmemory", 1)
        parent.resume()
        eventually(lambda: "OutOfMemory" in worker.log_text(), about="Redis refuses what the worker writes")
        client.config_set("maxmemory", 0)
        eventually(lambda: stays_and_waits(worker, engine), 15)
        ring(engine)
        eventually(lambda: not client.llen(QUEUE), about="it takes a message again")
        assert worker.status is None
