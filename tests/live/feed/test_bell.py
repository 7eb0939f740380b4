"""The bell rings when something is announced, reads little of it, and is silent when nobody listens."""

from __future__ import annotations

import threading

import redis

from app.core.wire.bus_entry import shard_key
from app.live.feed.bell import Bell
from app.local.embedded import EmbeddedRedis
from tests.processes import eventually

SHARDS = 4


def test_it_rings_for_what_is_announced_in_any_shard_however_much(own_redis: EmbeddedRedis) -> None:
    rings, needed = threading.Semaphore(0), threading.Event()
    needed.set()
    with redis.Redis.from_url(own_redis.url) as client:
        for stream in range(SHARDS):
            client.xadd(shard_key(stream, SHARDS), {"b": "before"})
        Bell(own_redis.url, SHARDS, rings.release, needed.is_set).listen()
        assert rings.acquire(timeout=10), "it knows where it begins"
        before = sent(client)
        for stream in range(SHARDS):
            for _ in range(200):
                client.xadd(shard_key(stream, SHARDS), {"b": "x" * 8000})
            assert rings.acquire(timeout=10)
        eventually(lambda: not rings.acquire(timeout=0.2), about="the last ring")
        own = SHARDS * 200 * 60  # the answers to these commands
        assert sent(client) - before - own < SHARDS * 200 * 8000, "not all of it was read"
        needed.clear()
        client.xadd(shard_key(0, SHARDS), {"b": "after"})
        eventually(lambda: not [one for one in threading.enumerate() if one.name == "feed-bell"])


def sent(client: redis.Redis) -> int:
    """How many bytes Redis has sent to all its clients."""
    return int(client.info("stats")["total_net_output_bytes"])
