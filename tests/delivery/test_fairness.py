"""An endpoint that hangs, or many, or one with a long queue, delays nobody else; a rate limit is kept."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from app.core.webhook.fairness import MAX_IN_FLIGHT, PLACES
from app.delivery import grants
from app.delivery.drain import Drain
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen, answering
from tests.delivery.world import World
from tests.processes import eventually

NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def hanging_url() -> Iterator[str]:
    """A port that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


@contextmanager
def running(drain: Drain) -> Iterator[None]:
    """The drain in a thread of its own, until the block ends (and then its transfers)."""
    thread = threading.Thread(target=drain.run)
    thread.start()
    try:
        yield
    finally:
        thread.join(30)
        assert not thread.is_alive()


def first_attempts_seconds(world: World, endpoint_id: str, rounds: int = 5) -> list[float]:
    """How long one event after the other waits for its delivery to this endpoint."""
    found = []
    for _ in range(rounds):
        started = time.monotonic()
        world.publish(type="only.this")
        eventually(lambda: "pending" not in world.statuses(endpoint_id), 20, about="delivered")
        found.append(time.monotonic() - started)
    return found


def test_one_endpoint_that_hangs_delays_no_other(world: World) -> None:
    stop = threading.Event()
    with hanging_url() as url, ScriptedServer(answering(OK)) as receiver:
        world.endpoint(url, event_types=["call.*"])
        healthy = world.endpoint(receiver.url, event_types=["only.this"])
        world.publish(200)
        with running(world.drain(stopping=stop.is_set, send_total_seconds=3)):
            waits = first_attempts_seconds(world, healthy)
            stop.set()
    assert max(waits) < 1


def test_a_hundred_endpoints_that_begin_to_hang_delay_others_for_a_second_at_most(world: World) -> None:
    stop = threading.Event()
    with hanging_url() as url, ScriptedServer(answering(OK)) as receiver:
        for _ in range(100):
            world.endpoint(url, event_types=["call.*"])
        healthy = world.endpoint(receiver.url, event_types=["only.this"])
        world.publish(40)
        drain = world.drain(stopping=stop.is_set, send_total_seconds=4)
        with running(drain):
            eventually(lambda: drain.in_flight >= PLACES * 0.7, 10)
            waits = first_attempts_seconds(world, healthy)
            stop.set()
        assert drain.in_flight == 0
    assert max(waits) < 2
    assert min(waits) < 0.5


def test_an_endpoint_that_somebody_works_on_delays_no_other(world: World) -> None:
    """Whoever recovers, changes or deletes an endpoint holds its row, perhaps for many seconds."""
    with ScriptedServer(answering(NO)) as failing, ScriptedServer(answering(OK)) as receiver:
        busy = world.endpoint(failing.url, event_types=["call.*"])
        healthy = world.endpoint(receiver.url, event_types=["only.this"])
        world.publish(3)
        with world.database.begin() as person:
            person.exec_driver_sql("SELECT FROM endpoints WHERE id = %(id)s FOR UPDATE", {"id": busy})
            started = time.monotonic()
            world.drain().run()
            world.publish(type="only.this")
            world.drain().run()
            assert time.monotonic() - started < 5
        assert world.statuses(healthy) == {"delivered": 1}
        assert len(world.attempts()) == 3 + 1


def test_endpoints_known_to_fail_leave_the_fast_lane_to_the_others(world: World) -> None:
    stop = threading.Event()
    with hanging_url() as url, ScriptedServer(answering(OK)) as receiver:
        for _ in range(150):
            world.endpoint(url, event_types=["call.*"])
        world.sql("UPDATE endpoints SET last_outcome = 'timeout', consecutive_failures = 9, failing_since = now()")
        healthy = world.endpoint(receiver.url, event_types=["only.this"])
        world.publish(5)
        with running(world.drain(stopping=stop.is_set, send_total_seconds=3)):
            waits = first_attempts_seconds(world, healthy)
            stop.set()
    assert max(waits) < 0.6


def test_a_long_queue_of_one_endpoint_delays_no_other(world: World) -> None:
    with ScriptedServer(answering(OK)) as slow, ScriptedServer(answering(OK)) as receiver:
        busy = world.endpoint(slow.url, event_types=["call.*"])
        healthy = world.endpoint(receiver.url, event_types=["only.this"])
        world.publish(5000)
        stop = threading.Event()
        with running(world.drain(stopping=stop.is_set)):
            waits = first_attempts_seconds(world, healthy, rounds=3)
            left = world.statuses(busy).get("pending", 0)
            stop.set()
    assert max(waits) < 1
    assert left > 0, "the queue was gone before anything could be measured"


def test_one_endpoint_never_has_more_than_its_share_in_flight(world: World) -> None:
    open_now, most, lock = 0, 0, threading.Lock()

    def script(_server: ScriptedServer, _connection: socket.socket, _seen: Seen) -> bytes:
        nonlocal open_now, most
        with lock:
            open_now += 1
            most = max(most, open_now)
        time.sleep(0.02)
        with lock:
            open_now -= 1
        return OK

    with ScriptedServer(script) as receiver:
        world.endpoint(receiver.url)
        world.publish(600)
        world.drain().run()
        assert len(receiver.seen) == 600
    assert MAX_IN_FLIGHT / 2 < most <= MAX_IN_FLIGHT


@pytest.mark.parametrize("drains", [1, 2])
def test_a_rate_limit_is_kept_however_many_drains_there_are(world: World, drains: int) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, rate_limit=20)
        world.publish(50)
        started = time.monotonic()
        threads = [threading.Thread(target=world.drain().run) for _ in range(drains)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        elapsed = time.monotonic() - started
        assert len(receiver.seen) == 50
    starts = sorted(attempt.started_at.timestamp() for attempt in world.attempts())
    busiest = max(sum(1 for start in starts if first <= start < first + 1) for first in starts)
    assert busiest <= 20 * 1.1 + 2
    assert 1.8 < elapsed < 6


def test_every_endpoint_has_its_turn_when_there_are_more_than_one_claim_looks_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants, "MOST_ENDPOINTS", 7)
    with ScriptedServer(answering(OK)) as receiver, hanging_url() as hanging:
        blocked = [world.endpoint(hanging) for _ in range(20)]
        world.sql(
            "UPDATE endpoints SET rate_limit = 1, rate_tat = extract(epoch FROM now()) + 1000"
        )  # never their turn
        served = [world.endpoint(receiver.url) for _ in range(20)]
        world.publish(2)
        stop = threading.Event()
        with running(world.drain(stopping=stop.is_set)):
            eventually(lambda: all(world.statuses(id) == {"delivered": 2} for id in served), 10)
            stop.set()
    assert all(world.statuses(id) == {"pending": 2} for id in blocked)


def test_a_turn_ends_and_rings_while_rows_are_still_due(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url)
        world.publish(500)
        drain = world.drain(send_total_seconds=1)
        ticks = iter(range(10_000))
        drain._clock = lambda: next(ticks) * 0.1  # each look at the clock takes a tenth of a second
        drain.run(turn_seconds=2)
        waiting = world.statuses().get("pending", 0)
        assert waiting > 0
        with redis.Redis.from_url(world.settings.redis_url) as client:
            assert client.llen("deliver") == 1
        world.drain().run()
    assert world.statuses() == {"delivered": 500}


def test_a_drain_that_is_told_to_stop_claims_no_more_and_finishes_what_is_in_flight(world: World) -> None:
    told = threading.Event()

    def script(server: ScriptedServer, _connection: socket.socket, _seen: Seen) -> bytes:
        told.set()
        server.over.wait(0.2)
        return OK

    with ScriptedServer(script) as receiver:
        world.endpoint(receiver.url)
        world.publish(100)
        world.drain(stopping=told.is_set).run()
        assert 0 < len(receiver.seen) < 100
        assert world.statuses() == {"delivered": len(receiver.seen), "pending": 100 - len(receiver.seen)}
        assert not [row for row in world.deliveries() if row.lease_token]
