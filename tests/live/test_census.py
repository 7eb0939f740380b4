"""The census: told only while somebody looks, over all processes, and a way to disconnect one connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from app.live import census
from app.live.census import Connection, Enumerator, described, most_telling
from app.live.hub import Hub
from app.live.live_stream import LiveStream, Totals
from app.live.subscriber import Subscriber, Terms
from tests.live.scripted import VIEW, ReaderOfFeed, ScriptedSocket, frame

TERMS = Terms(True, 2, b":\n\n", 15, 100.0, "key_1", None, "ws_1", "serveka", "call/c1")


class Watched(Hub):
    """A hub of whom it is known who watches."""

    def __init__(self, *names: str) -> None:
        self.clock = lambda: 40.0
        live = LiveStream(1, "c1", Totals())
        live.last_seq = 9
        self.found = [(live, Subscriber(ScriptedSocket(), VIEW, TERMS, 10.0)) for _ in names]

    def watching(self) -> list[tuple[LiveStream, Subscriber]]:
        return self.found


@pytest.fixture
def enumerate_hub(redis_url: str) -> Iterator[Callable[[Hub], Enumerator]]:
    made: list[Enumerator] = []

    def enumerator(hub: Hub) -> Enumerator:
        made.append(Enumerator(redis_url, lambda: hub))
        return made[-1]

    yield enumerator
    for one in made:
        one.close()


def test_a_connection_is_described_as_it_is() -> None:
    ((live, subscriber),) = Watched("one").found
    subscriber.cursor = 4
    found = described("p", live, subscriber, 40.0)
    assert found == Connection(f"p.{subscriber.number}", "ws_1", "call/c1", "serveka", "SSE", 30.0, 5, 0, 60.0)
    subscriber.joined = True
    subscriber.outbox.extend([(5, frame(5)), (6, frame(6))])
    subscriber.write([(7, frame(7))], frame(7))
    subscriber.take_dropped()
    found = described("p", live, subscriber, 40.0)
    assert (found.lag, found.dropped) == (2, 1)


def test_a_reader_of_the_feed_is_told_of_while_it_is_there_and_can_be_ended(
    enumerate_hub: Callable[[Hub], Enumerator],
) -> None:
    hub, reader = Watched("one"), ReaderOfFeed()
    here, there = enumerate_hub(Watched()), enumerate_hub(hub)
    here.look()
    with there.listing(reader):
        hub.clock = lambda: 45.0
        there.round()
        (found,) = [one for one in here.look().connections if one.contract == census.FEED]
        assert found == Connection(found.id, "ws_1", "", "feed", "WebSocket", 5.0, 7, 0, 10.0, True)
        assert here.look().count == 2
        assert here.disconnect(found.id)
        there.round()
        assert reader.ended == ["disconnected"]
        assert hub.found[0][1].closing is None
    assert [one.contract for one in there.own().connections] == ["serveka"]
    assert not there.disconnect(found.id)


def test_who_is_furthest_behind_comes_first() -> None:
    def one(id: str, lag: int, age: float) -> Connection:
        return Connection(id, "", "", "", "", age, lag, 0, None)

    rows = [one("a", 0, 1.0), one("b", 3, 1.0), one("c", 0, 9.0)]
    assert [row.id for row in most_telling(rows, 2)] == ["b", "c"]


def test_processes_tell_of_their_connections_while_somebody_looks(
    enumerate_hub: Callable[[Hub], Enumerator], redis_url: str
) -> None:
    here, there = enumerate_hub(Watched("one")), enumerate_hub(Watched("two", "three"))
    there.round()
    assert Redis.from_url(redis_url).keys("census:*") == []
    assert here.look().count == 1
    there.round()
    known = here.look()
    assert (known.count, known.processes, known.whole) == (3, 2, True)
    assert len({one.id for one in known.connections}) == 3
    assert Redis.from_url(redis_url).ttl(f"census:told:{there.process}") <= census.TOLD_SECONDS


def test_a_connection_is_ended_by_whichever_process_is_asked(enumerate_hub: Callable[[Hub], Enumerator]) -> None:
    own, foreign = Watched("one"), Watched("two", "three")
    here, there = enumerate_hub(own), enumerate_hub(foreign)
    here.look()
    there.round()
    (_, mine), (_, theirs) = own.found[0], foreign.found[1]
    assert here.disconnect(f"{here.process}.{mine.number}")
    assert mine.closing == "disconnected"
    assert here.disconnect(f"{there.process}.{theirs.number}")
    assert theirs.closing is None
    there.round()
    assert theirs.closing == "disconnected"
    assert foreign.found[0][1].closing is None


@pytest.mark.parametrize("id", ["", "nobody.1", "x", "../a.1", ".", "é.1", "a" * 50 + ".1"])
def test_what_is_no_connection_is_not_found(enumerate_hub: Callable[[Hub], Enumerator], id: str) -> None:
    assert not enumerate_hub(Watched("one")).disconnect(id)


def test_what_another_release_tells_is_passed_over(enumerate_hub: Callable[[Hub], Enumerator], redis_url: str) -> None:
    redis = Redis.from_url(redis_url)
    redis.sadd(census.PROCESSES, "new")
    redis.set("census:told:new", '{"connections": [{"name": 1}]}')
    assert enumerate_hub(Watched("one")).look().count == 1


def test_without_redis_the_own_process_is_known() -> None:
    alone = Enumerator("redis://127.0.0.1:1/0", lambda: Watched("one"))
    known = alone.look()
    assert (known.count, known.processes, known.whole) == (1, 1, False)
