"""Redis may forget everything, freeze or be away: events are accepted all the same, and nothing is missing anywhere."""

from __future__ import annotations

import signal
import threading
import time

import redis

from app.local.embedded import EmbeddedRedis
from tests.acceptance.show import Show
from tests.conftest import StartServer
from tests.processes import RunningServer

FLUSHES, EVERY_SECONDS = 8, 0.4
AWAY_SECONDS, FROZEN_SECONDS = 4.0, 2.0
RATE = 40.0
ACKNOWLEDGED_SECONDS = 1.0


def flush(engine: EmbeddedRedis, server: RunningServer) -> None:
    with redis.Redis.from_url(engine.url) as client:
        for _ in range(FLUSHES):
            client.flushall()
            time.sleep(EVERY_SECONDS)


def freeze(engine: EmbeddedRedis, server: RunningServer) -> None:
    assert engine.process is not None
    engine.process.send_signal(signal.SIGSTOP)
    time.sleep(FROZEN_SECONDS)
    engine.process.send_signal(signal.SIGCONT)


def stop(engine: EmbeddedRedis, server: RunningServer) -> None:
    engine.stop()
    time.sleep(AWAY_SECONDS)
    engine.spawn()
    engine.wait_ready(10)


def test_nothing_is_missing_whatever_redis_does(start_server: StartServer, own_redis: EmbeddedRedis) -> None:
    """One product through all three, as a bad day would have it."""
    server = start_server(worker=True, REDIS_URL=own_redis.url)
    with Show(server) as show:
        show.open()
        show.receive()
        show.watch("early viewer")
        for fault, seconds in ((flush, FLUSHES * EVERY_SECONDS), (freeze, FROZEN_SECONDS), (stop, AWAY_SECONDS)):
            before = len(show.tally.acknowledgment_seconds)
            late = threading.Timer(seconds / 2, show.watch, [f"viewer who came during {fault.__name__}"])
            with show.posting(int((seconds + 1) * RATE), RATE):
                late.start()
                fault(own_redis, server)
            late.join()
            show.settle(30)
            took = sorted(show.tally.acknowledgment_seconds[before:])
            print(f"{fault.__name__}: {len(took)} requests, slowest {took[-1] * 1000:.0f} ms")
            assert took[-1] < ACKNOWLEDGED_SECONDS
        assert (show.tally.retried, show.tally.refused, show.tally.unanswered) == (0, 0, 0)
        counts = show.books.counts()
        assert counts["early viewer"].repeated == 0
        for name in ("early viewer", "webhook"):
            print(f"slowest for the {name}: {max(counts[name].delays_seconds):.2f} s")
    assert "Traceback" not in server.web.log_text()
