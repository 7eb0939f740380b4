"""A ring wakes a drain that waits, at once; a Redis that is away, frozen or emptied costs it a second at most."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import redis

from app.delivery.doorbell import BACK_SECONDS, LATE_SECONDS, PAUSE_SECONDS, POP_SECONDS, Doorbell, Place
from app.delivery.drain import TURN_SECONDS, Drain
from app.delivery.wake import BELL, Wake
from app.local.embedded import EmbeddedPostgres, EmbeddedRedis
from tests.delivery.outages import no_connections
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.delivery.world import World
from tests.processes import eventually


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def wake(redis_url: str) -> Iterator[Wake]:
    wake = Wake(redis_url)
    yield wake
    wake.close()


@pytest.fixture
def doorbell(redis_url: str) -> Iterator[Doorbell]:
    doorbell = Doorbell(redis_url)
    yield doorbell
    doorbell.close()


def test_of_rings_that_nobody_takes_one_is_kept(wake: Wake, client: redis.Redis, doorbell: Doorbell) -> None:
    for _ in range(50):
        assert wake.ring()
    assert client.llen(BELL) == 1
    assert doorbell.wait(5)
    assert not doorbell.wait(0.05)


def test_a_ring_ends_a_wait(wake: Wake, doorbell: Doorbell) -> None:
    for _ in range(3):
        assert not doorbell.wait(0.01)
        threading.Timer(0.1, wake.ring).start()
        started = time.monotonic()
        assert doorbell.wait(5)
        assert time.monotonic() - started < 2


def test_rings_wake_as_many_as_wait(redis_url: str, wake: Wake) -> None:
    bells = [Doorbell(redis_url) for _ in range(3)]
    for bell in bells:
        assert not bell.wait(0.01)
    for _ in bells:
        wake.ring()
    eventually(lambda: all(bell.fileno() is not None for bell in bells))
    assert [bell.wait(2) for bell in bells] == [True] * 3
    for bell in bells:
        bell.close()


def test_a_bell_that_is_closed_takes_no_ring_from_others(redis_url: str, wake: Wake, client: redis.Redis) -> None:
    first = Doorbell(redis_url)
    assert not first.wait(0.01)
    first.close()
    own = str(client.connection_pool.connection_kwargs["db"])  # other tests' products wait in theirs
    eventually(lambda: not [each for each in client.client_list() if (each["cmd"], each["db"]) == ("blpop", own)])
    wake.ring()
    assert client.llen(BELL) == 1


def test_a_lost_connection_is_a_ring_and_is_made_again_after_a_pause(own_redis: EmbeddedRedis) -> None:
    now = 100.0
    bell = Doorbell(own_redis.url, clock=lambda: now)
    assert not bell.wait(0.01)
    own_redis.stop()
    assert bell.wait(5)
    assert bell.fileno() is None
    started = time.monotonic()
    assert not bell.wait(0.1)
    assert 0.1 <= time.monotonic() - started < 1
    own_redis.start()
    now += PAUSE_SECONDS
    wake = Wake(own_redis.url)
    wake.ring()
    assert bell.wait(5)
    bell.close()
    wake.close()


def test_a_frozen_redis_is_noticed_and_keeps_nobody_waiting(own_redis: EmbeddedRedis) -> None:
    now = 100.0
    bell = Doorbell(own_redis.url, clock=lambda: now)
    assert not bell.wait(0.01)
    with redis.Redis.from_url(own_redis.url) as client:
        pid = int(client.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        now += POP_SECONDS + LATE_SECONDS + 0.1
        started = time.monotonic()
        assert not bell.wait(0.1)
        assert bell.fileno() is None
        now += PAUSE_SECONDS
        assert not bell.wait(0.1)
        assert time.monotonic() - started < 3
    finally:
        os.kill(pid, signal.SIGCONT)
        bell.close()


@contextmanager
def running(drain: Drain, stop: threading.Event, turn_seconds: float = TURN_SECONDS) -> Iterator[None]:
    """A drain's turn in a thread."""
    thread = threading.Thread(target=drain.run, args=(turn_seconds,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        assert not thread.is_alive()


@contextmanager
def standing(world: World, **options: object) -> Iterator[Drain]:
    """A drain that waits at the doorbell."""
    stop = threading.Event()
    place = Place(Doorbell(world.settings.redis_url), take=lambda: True, leave=lambda: None)
    drain = world.drain(stopping=stop.is_set, place=place, **options)
    with running(drain, stop):
        yield drain


def hang(server: ScriptedServer, *_: object) -> None:
    server.over.wait(30)


def test_whoever_is_called_at_the_end_of_a_turn_finds_the_place_free_however_soon(world: World) -> None:
    held, stop, stands = threading.Lock(), threading.Event(), threading.Event()

    def place() -> Place:
        return Place(Doorbell(world.settings.redis_url), lambda: held.acquire(blocking=False), held.release)

    second = world.drain(place=place(), stopping=stop.is_set, found_nothing=stands.set)
    with ExitStack() as stack:

        class Calling(Wake):
            def call(self) -> bool:
                stack.enter_context(running(second, stop))
                return stands.wait(5)

        world.drain(place=place(), wake=Calling(world.settings.redis_url)).run(turn_seconds=0.2)
        assert stands.is_set()
    assert not held.locked()


def test_when_nobody_can_be_called_whoever_has_the_place_goes_on(world: World, wake: Wake) -> None:
    class Deaf(Wake):
        calls = 0

        def call(self) -> bool:
            self.calls += 1
            return False

    stop, deaf = threading.Event(), Deaf(world.settings.redis_url)
    place = Place(Doorbell(world.settings.redis_url), lambda: True)
    drain = world.drain(place=place, stopping=stop.is_set, wake=deaf)
    with ScriptedServer(answering(OK)) as receiver, running(drain, stop, turn_seconds=0.2):
        eventually(lambda: deaf.calls > 2)
        world.endpoint(receiver.url)
        world.publish()
        wake.ring()
        eventually(lambda: receiver.seen, 5)


def test_the_place_is_not_taken_back_before_whoever_was_called_can_have_come(redis_url: str) -> None:
    now = 100.0
    place = Place(Doorbell(redis_url), lambda: True, clock=lambda: now)
    assert place.take_back()
    assert place.leave()
    now += BACK_SECONDS - 0.01
    assert not place.take_back()
    now += 0.02
    assert place.take_back()
    assert place.leave()
    assert not place.leave()


def test_the_place_is_taken_while_transfers_hang(world: World) -> None:
    free, stop = threading.Event(), threading.Event()
    place = Place(Doorbell(world.settings.redis_url), free.is_set)
    drain = world.drain(place=place, stopping=stop.is_set)
    with ScriptedServer(hang) as hanging:
        world.endpoint(hanging.url)
        world.publish()
        with running(drain, stop):
            eventually(lambda: drain.in_flight == 1)
            assert not place.is_taken
            free.set()
            eventually(lambda: place.is_taken)
            assert drain.in_flight == 1
            hanging.over.set()
    assert not place.is_taken


def test_at_the_end_of_a_turn_the_place_is_left_taken_back_when_nobody_comes_and_left_again(
    world: World, wake: Wake, client: redis.Redis
) -> None:
    ahead_seconds, rounds = 0.0, 0
    stop, left = threading.Event(), threading.Event()

    def stopping() -> bool:
        nonlocal rounds
        rounds += 1
        return stop.is_set()

    place = Place(Doorbell(world.settings.redis_url), lambda: True, left.set)
    drain = world.drain(place=place, stopping=stopping, clock=lambda: time.monotonic() + ahead_seconds)
    with ScriptedServer(hang) as hanging:
        world.endpoint(hanging.url)
        world.publish()
        with running(drain, stop):
            eventually(lambda: drain.in_flight == 1)
            ahead_seconds = TURN_SECONDS + 1
            assert left.wait(10)
            eventually(lambda: place.is_taken)
            left.clear()
            ahead_seconds += world.settings.send_total_seconds
            assert left.wait(10)
            rounds = 0
            wake.ring()
            time.sleep(0.5)
            assert not place.is_taken
            assert drain.in_flight == 1
            assert rounds < 100
            assert client.llen(BELL) == 1  # it is there for somebody else
            hanging.over.set()


def test_whoever_has_lost_the_database_leaves_the_place(
    world: World, postgres: EmbeddedPostgres, database_url: str
) -> None:
    stop, left = threading.Event(), threading.Event()
    place = Place(Doorbell(world.settings.redis_url), lambda: True, left.set)
    drain = world.drain(place=place, stopping=stop.is_set)
    with ScriptedServer(hang) as hanging:
        world.endpoint(hanging.url)
        world.publish()
        with running(drain, stop):
            eventually(lambda: drain.in_flight == 1)
            with no_connections(postgres, database_url):
                assert left.wait(10)
                assert drain.in_flight == 1
                hanging.over.set()
                eventually(lambda: drain.in_flight == 0)


@pytest.mark.parametrize(("lost", "seconds"), [(False, 0.6), (True, 2.5)], ids=["rung", "the bell is lost"])
def test_a_drain_that_waits_delivers_when_it_is_rung_and_looks_each_second_anyway(
    world: World, wake: Wake, client: redis.Redis, lost: bool, seconds: float
) -> None:
    waits = []
    with ScriptedServer(answering(OK)) as receiver, standing(world):
        world.endpoint(receiver.url)
        eventually(lambda: [each for each in client.client_list() if each["cmd"] == "blpop"])
        for count in range(1, 6):
            started = time.monotonic()
            world.publish()
            if lost:
                client.flushall()
            else:
                wake.ring()
            eventually(lambda count=count: len(receiver.seen) == count, 5, poll_seconds=0.002)
            waits.append(time.monotonic() - started)
    print([round(wait * 1000) for wait in waits])
    assert sorted(waits)[2] < seconds


def test_a_drain_that_waits_notes_each_look_that_finds_nothing_and_no_other(world: World, wake: Wake) -> None:
    found: list[int] = []
    with ScriptedServer(hang) as hanging, standing(world, found_nothing=lambda: found.append(1)) as drain:
        eventually(lambda: found)
        world.endpoint(hanging.url)
        world.publish()
        wake.ring()
        eventually(lambda: drain.in_flight == 1)
        count, looked_at = len(found), world.one("SELECT max(stamped_at) FROM drain_rounds")
        eventually(lambda: world.one("SELECT max(stamped_at) FROM drain_rounds") > looked_at)
        assert len(found) == count
        hanging.over.set()


def test_a_ring_is_heard_while_transfers_hang(world: World, wake: Wake) -> None:
    waits = []
    with ScriptedServer(hang) as hanging, ScriptedServer(answering(OK)) as receiver, standing(world) as drain:
        world.endpoint(hanging.url, event_types=["call.*"])
        world.endpoint(receiver.url, event_types=["only.this"])
        world.publish()
        wake.ring()
        eventually(lambda: drain.in_flight == 1)
        for count in range(1, 6):
            started = time.monotonic()
            world.publish(type="only.this")
            wake.ring()
            eventually(lambda count=count: len(receiver.seen) == count, 5, poll_seconds=0.002)
            waits.append(time.monotonic() - started)
        hanging.over.set()
    assert sorted(waits)[2] < 0.6  # and not the second after which it would look anyway
