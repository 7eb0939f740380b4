"""The bus over a real Redis: what is announced arrives where it is followed, and nothing ends the reader."""

from __future__ import annotations

import itertools
import signal
import threading
from collections.abc import Callable, Sequence

import pytest
import redis

from app.core.wire.bus_entry import MAX_BODY_BYTES, shard_key
from app.core.wire.envelope import Announcement
from app.live.bus import Announcer, BusReader
from app.local.embedded import EmbeddedRedis
from tests.live.scripted import event, told
from tests.processes import eventually

SHARDS = 4
LARGE = '{"x":"' + "x" * MAX_BODY_BYTES + '"}'
numbers = itertools.count(1)


class Ear:
    """A reader of the bus that writes down what it hears."""

    def __init__(self, redis_url: str) -> None:
        self.heard: list[Announcement] = []
        self.fails = 0
        self.reader = BusReader(redis_url, shards=SHARDS, on_batch=self._hear)

    def _hear(self, batch: list[Announcement]) -> None:
        if self.fails:
            self.fails -= 1
            raise RuntimeError("the database is away")
        self.heard += batch

    def seqs(self, stream: int) -> list[int]:
        return [one.seq for one in self.heard if one.stream == stream]


def mouth(
    redis_url: str,
    bell: Sequence[Sequence[str | int]] = (),
    maxlen: int = 1000,
    on_lost: Callable[[int], object] = lambda count: None,
) -> Announcer:
    return Announcer(redis_url, shards=SHARDS, maxlen=maxlen, bell=bell, on_lost=on_lost)


class Losses:
    """Counts what Redis did not take. here: how many of those were noticed by the thread that announced them."""

    def __init__(self) -> None:
        self.count = 0
        self.here = 0
        self._thread = threading.get_ident()

    def __call__(self, count: int) -> None:
        self.count += count
        self.here += count if threading.get_ident() == self._thread else 0


@pytest.mark.parametrize("protocol", [2, 3])
def test_what_is_announced_arrives_in_order_at_whoever_follows(redis_url: str, protocol: int) -> None:
    url = f"{redis_url}?protocol={protocol}"
    ear, announcer = Ear(url), mouth(url)
    ear.reader.follow(1)
    ear.reader.follow(2)
    sent = [told(seq, stream=stream, ends=seq == 50) for seq in range(1, 51) for stream in (1, 2, 3)]
    for at in range(0, len(sent), 7):
        announcer.announce(sent[at : at + 7], False)
    announcer.announce([Announcement(1, 51, event(51, data=LARGE), False)], False)
    eventually(lambda: len(ear.heard) == 101)
    for stream in (1, 2):
        assert [one for one in ear.heard if one.stream == stream][:50] == [one for one in sent if one.stream == stream]
    assert [one for one in ear.heard if one.stream == 1][50:] == [told(51, too_large=True)]
    assert ear.seqs(3) == []  # nobody here follows its shard


def test_whoever_follows_hears_everything_from_that_moment_on(redis_url: str) -> None:
    ear, announcer = Ear(redis_url), mouth(redis_url)
    for seq in range(1, 31):
        stream = next(numbers) * SHARDS + seq % SHARDS
        announcer.announce([told(1, stream=stream)], False)  # before: may be missed
        ear.reader.follow(stream)
        announcer.announce([told(2, stream=stream)], False)
        eventually(lambda stream=stream: 2 in ear.seqs(stream))
        ear.reader.unfollow(stream)


def test_a_shard_is_read_as_long_as_anybody_follows_it(redis_url: str) -> None:
    ear, announcer = Ear(redis_url), mouth(redis_url)
    for stream in (1, 1 + SHARDS, 2):
        ear.reader.follow(stream)
    ear.reader.unfollow(1)
    announcer.announce([told(1, stream=1 + SHARDS)], False)
    eventually(lambda: ear.seqs(1 + SHARDS) == [1])
    ear.reader.unfollow(1 + SHARDS)
    announcer.announce([told(1, stream=2)], False)
    eventually(lambda: ear.seqs(2) == [1])  # the reader has looked again at whom it follows, or will after this
    announcer.announce([told(2, stream=2)], False)
    eventually(lambda: ear.seqs(2) == [1, 2])
    announcer.announce([told(2, stream=1 + SHARDS), told(3, stream=2)], False)
    eventually(lambda: ear.seqs(2) == [1, 2, 3])
    assert ear.seqs(1 + SHARDS) == [1]


def test_entries_of_others_and_a_hub_that_fails_do_not_end_the_reader(redis_url: str) -> None:
    ear, announcer = Ear(redis_url), mouth(redis_url)
    ear.reader.follow(1)
    with redis.Redis.from_url(redis_url) as client:
        client.xadd(shard_key(1, SHARDS), {"hello": "world"})
        client.xadd(shard_key(1, SHARDS), {"s": "1", "q": "2", "b": "no envelope"})
    announcer.announce([told(1)], False)
    eventually(lambda: ear.seqs(1) == [1])
    ear.fails = 1
    announcer.announce([told(2)], False)
    eventually(lambda: not ear.fails)
    announcer.announce([told(3)], False)
    eventually(lambda: ear.seqs(1) == [1, 3])


def test_a_key_of_another_kind_in_our_place_is_survived(redis_url: str) -> None:
    losses = Losses()
    ear, announcer = Ear(redis_url), mouth(redis_url, on_lost=losses)
    ear.reader.follow(2)
    with redis.Redis.from_url(redis_url) as client:
        client.delete(shard_key(2, SHARDS))
        client.set(shard_key(2, SHARDS), "a text")
        announcer.announce([told(1, stream=2)], False)
        eventually(lambda: losses.count == 1)
        client.delete(shard_key(2, SHARDS))
    announcer.announce([told(2, stream=2)], False)
    eventually(lambda: ear.seqs(2) == [2])


def test_it_goes_on_after_everything_was_flushed(redis_url: str) -> None:
    ear, announcer = Ear(redis_url), mouth(redis_url)
    ear.reader.follow(1)
    with redis.Redis.from_url(redis_url) as client:
        for seq in range(1, 11):
            announcer.announce([told(seq)], False)
            eventually(lambda seq=seq: seq in ear.seqs(1))
            client.flushdb()
    ear.reader.follow(2)
    announcer.announce([told(1, stream=2)], False)
    eventually(lambda: ear.seqs(2) == [1])


def test_the_bus_stays_small(redis_url: str) -> None:
    announcer = mouth(redis_url, maxlen=100)
    announcer.announce([told(seq) for seq in range(1, 3001)], False)
    with redis.Redis.from_url(redis_url) as client:
        eventually(lambda: b"3000" in str(client.xrevrange(shard_key(1, SHARDS), count=1)).encode())
        assert 100 <= client.xlen(shard_key(1, SHARDS)) <= 300  # trimmed by whole nodes of 100 entries


# A bell that notes how many announcements were there when it rang.
NOTING = (
    ("EVAL", "return redis.call('RPUSH', KEYS[2], redis.call('XLEN', KEYS[1]))", 2, shard_key(1, SHARDS), "rung"),
)


def test_a_drain_is_rung_after_the_announcements_and_only_when_due(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        announcer = mouth(redis_url, bell=NOTING)
        announcer.announce([told(1)], False)
        eventually(lambda: client.xlen(shard_key(1, SHARDS)) == 1)
        announcer.announce([told(2)], True)
        eventually(lambda: client.lrange("rung", 0, -1) == [b"2"])
        announcer.announce([], True)
        eventually(lambda: client.lrange("rung", 0, -1) == [b"2", b"2"])


def test_a_bell_that_redis_refuses_loses_nothing(redis_url: str) -> None:
    losses, ear = Losses(), Ear(redis_url)
    ear.reader.follow(1)
    announcer = mouth(redis_url, bell=(("LPUSH", shard_key(1, SHARDS), 1),), on_lost=losses)
    for seq in (1, 2):
        announcer.announce([told(seq)], True)
        eventually(lambda seq=seq: seq in ear.seqs(1))
    assert losses.count == 0


def test_a_redis_that_stops_delays_nobody_and_is_found_again(own_redis: EmbeddedRedis) -> None:
    losses = Losses()
    ear, announcer = Ear(own_redis.url), mouth(own_redis.url, bell=NOTING, on_lost=losses)
    ear.reader.follow(1)
    announcer.announce([told(1)], False)
    eventually(lambda: ear.seqs(1) == [1])

    own_redis.stop()
    announcer.announce([told(2)], True)
    eventually(lambda: losses.count == 1)
    assert losses.here == 0  # whoever announced was not the one who tried
    follower = threading.Thread(target=ear.reader.follow, args=(2,), daemon=True)
    follower.start()
    eventually(lambda: not follower.is_alive())  # whoever follows does not wait for Redis to come back

    own_redis.spawn()
    own_redis.wait_ready(10)

    def both_arrive() -> bool:  # what is said before the reader is back is the poll's to find
        announcer.announce([told(3), told(3, stream=2)], True)
        return 3 in ear.seqs(1) and 3 in ear.seqs(2)

    eventually(both_arrive, poll_seconds=0.1)
    assert 2 not in ear.seqs(1)
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.llen("rung") > 0


def test_a_redis_that_freezes_delays_nobody_and_what_waited_comes_when_it_thaws(own_redis: EmbeddedRedis) -> None:
    losses = Losses()
    ear, announcer = Ear(own_redis.url), mouth(own_redis.url, on_lost=losses)
    ear.reader.follow(1)
    assert own_redis.process is not None
    own_redis.process.send_signal(signal.SIGSTOP)
    try:
        for seq in range(1, 201):
            announcer.announce([told(seq)], True)
        assert ear.seqs(1) == []  # all were announced before Redis answered any
    finally:
        own_redis.process.send_signal(signal.SIGCONT)
    eventually(lambda: ear.seqs(1) == list(range(1, 201)))
    assert losses.count == 0  # nor did any wait until Redis was given up


def test_what_redis_refuses_is_lost_and_the_connection_goes_on(redis_url: str) -> None:
    losses, ear = Losses(), Ear(redis_url)
    announcer = mouth(redis_url, on_lost=losses)
    ear.reader.follow(1)
    with redis.Redis.from_url(redis_url) as client:
        client.set(shard_key(2, SHARDS), "no stream")
        announcer.announce([told(1, stream=2), told(1)], False)
        eventually(lambda: losses.count == 2)
        eventually(lambda: ear.seqs(1) == [1])  # its neighbour was taken nevertheless
        client.delete(shard_key(2, SHARDS))
    announcer.announce([told(2)], False)
    eventually(lambda: ear.seqs(1) == [1, 2])
    assert losses.count == 2
