"""An endpoint that hangs, or many, or one with a long queue, delays nobody else; a rate limit is kept."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count as counting

import pytest
import redis
from sqlalchemy import text

from app.core.webhook.fairness import MAX_IN_FLIGHT, NEW_PLACES, SLOW_PLACES, Slots
from app.delivery import claims
from app.delivery.drain import Drain
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen, answering
from tests.delivery.world import World
from tests.processes import eventually

# Rows that this connection has read from tables, not only in this transaction.
FETCHED = "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::int FROM pg_stat_xact_user_tables"
NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"


class Hanging:
    """A port that takes connections and never answers. Closing it ends them all."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    port = Hanging()
    yield port
    port.close()


@contextmanager
def running(drain: Drain, hanging: Hanging | None = None) -> Iterator[None]:
    """The drain in a thread of its own, until the block ends (and then its transfers, of which none hangs longer)."""
    thread = threading.Thread(target=drain.run)
    thread.start()
    try:
        yield
    finally:
        if hanging:
            hanging.close()
        thread.join(30)
        assert not thread.is_alive()


def deliver_one_by_one(world: World, endpoint_id: str, rounds: int = 5) -> None:
    """Publish one event after the other, each when the last one has been delivered to this endpoint."""
    for count in range(1, rounds + 1):
        world.publish(type="only.this")
        eventually(lambda count=count: world.statuses(endpoint_id) == {"delivered": count}, 20, about="delivered")


def step_until_delivered(world: World, drain: Drain, endpoint_id: str, count: int) -> None:
    """Have the drain go on, round by round, until an endpoint has so many deliveries, and none that waits."""
    eventually(lambda: drain.run_once(poll_seconds=0.01) and world.statuses(endpoint_id) == {"delivered": count})


def answered_last(world: World) -> None:
    """All endpoints have been delivering until now."""
    world.sql("UPDATE endpoints SET last_outcome = 'success'")


def attempts_of(world: World, endpoint_id: str) -> int:
    """How many attempts an endpoint has had."""
    return sum(attempt.endpoint_id == endpoint_id for attempt in world.attempts())


def test_one_endpoint_that_hangs_delays_no_other(world: World, hanging: Hanging) -> None:
    stop = threading.Event()
    with ScriptedServer(answering(OK)) as receiver:
        hangs = world.endpoint(hanging.url, event_types=["call.*"])
        healthy = world.endpoint(receiver.url, event_types=["only.this"])
        world.publish(200)
        with running(world.drain(stopping=stop.is_set), hanging):
            deliver_one_by_one(world, healthy)
            assert attempts_of(world, hangs) == 0  # they are all in flight still
            stop.set()


def claim_all(drain: Drain) -> list[str]:
    """What is claimed before any time passes, by endpoint: one claim sees and takes a part."""
    claimed: list[str] = []
    while rows := drain.run_once().rows or drain.run_once().rows:
        claimed += [row.endpoint_id for row in rows]
    return claimed


@pytest.mark.parametrize("hangers", [100, pytest.param(500, marks=pytest.mark.long)])
def test_endpoints_that_begin_to_hang_leave_places_to_others_from_the_first_moment_on(
    world: World, hanging: Hanging, hangers: int
) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        for _ in range(hangers):
            world.endpoint(hanging.url, event_types=["call.*"])
        healthy = world.endpoint(receiver.url, event_types=["only.this"])
        answered_last(world)
        world.publish(3)
        drain = world.drain(clock=lambda: 0.0)  # not even the second in which transfers grow old passes
        world.publish(type="only.this")
        drain.run_once()
        step_until_delivered(world, drain, healthy, 1)
        for count in range(2, 6):
            world.publish(type="only.this")
            step_until_delivered(world, drain, healthy, count)
        claimed = claim_all(drain)
        assert drain.in_flight == hangers  # one for each
        assert len(set(claimed)) == len(claimed) < hangers
        assert len(world.attempts()) == 5  # none of those that hang has ended
        hanging.close()
        eventually(lambda: drain.run_once("closed", 0.05) and not drain.in_flight, 20)


def test_an_endpoint_that_answers_is_looked_at_in_each_claim(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "MOST_ENDPOINTS", 7)
    monkeypatch.setattr(claims, "MOST_ROWS", 20)
    with ScriptedServer(answering(OK)) as receiver:
        for _ in range(40):
            world.endpoint("http://127.0.0.1:1/", event_types=["call.*"])
        healthy = world.endpoint(receiver.url, event_types=["only.this"])
        drain = world.drain(clock=lambda: 0.0)
        world.publish(type="only.this")
        drain.run_once()
        step_until_delivered(world, drain, healthy, 1)
        world.sql(
            "UPDATE endpoints SET rate_limit = 1, rate_tat = extract(epoch FROM now()) + 50 WHERE id <> %(id)s",
            id=healthy,
        )
        world.publish(2)
        for count in range(2, 6):
            world.publish(type="only.this")
            assert [claimed.endpoint_id for claimed in drain.run_once().rows] == [healthy]
            step_until_delivered(world, drain, healthy, count)


def test_an_endpoint_with_a_new_row_is_looked_at_in_the_next_claim(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "MOST_ENDPOINTS", 7)
    monkeypatch.setattr(claims, "MOST_ROWS", 20)
    for _ in range(40):
        world.endpoint("http://127.0.0.1:1/", event_types=["call.*"])
    world.sql("UPDATE endpoints SET rate_limit = 1, rate_tat = extract(epoch FROM now()) + 50")
    healthy = world.endpoint("http://127.0.0.1:1/", event_types=["only.this"])
    world.publish(2)
    world.sql("UPDATE due SET due_at = due_at - interval '10 seconds'")
    world.publish(type="only.this")
    drain = world.drain(clock=lambda: 0.0)
    assert [claimed.endpoint_id for claimed in drain.run_once().rows] == [healthy]
    eventually(lambda: drain.run_once("closed", 0.05) and not drain.in_flight)


def test_what_a_claim_reads_does_not_grow_with_the_endpoints_that_hang(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plans of its queries are made while next to nothing is due, and kept."""
    monkeypatch.setattr(claims, "MOST_ROWS", 2)  # else so few rows are read in the order of their time
    slots = Slots()
    answers = world.endpoint("http://127.0.0.1:1/", event_types=["only.this"])
    slots.start("answered", answers, "fast", 999.9)
    slots.finish("answered", 1000.0, succeeded=True)
    with world.database.engine.connect() as connection:
        for hanging in (0, 20, 80):
            while slots.in_flight < hanging:
                endpoint = world.endpoint("http://127.0.0.1:1/", event_types=["call.*"])
                slots.start(slots.in_flight, endpoint, "fast", 1000.0)
            answered_last(world)
            world.publish(2)
            world.sql("UPDATE due SET due_at = now() - interval '10 seconds'")
            claimer = claims.Claimer(lease_seconds=60)
            for now in (1000.0, 1000.001):  # the first walk after a pause looks at more
                asked = claimer.ask(slots, now)
                values = {"asked": json.dumps(asked)}
                before = connection.exec_driver_sql(FETCHED).scalar_one()
                (row,) = connection.exec_driver_sql("SELECT * FROM drain_round(NULL, 60, %(asked)s::jsonb)", values)
                assert claimer.read(asked, row.note, [], slots, now)[1] is None  # none of them has room
                read = connection.exec_driver_sql(FETCHED).scalar_one() - before
                connection.rollback()
            if hanging:
                assert len(row.note["asking"]) == claims.FEWEST_ENDPOINTS
                assert read <= 3 * claims.FEWEST_ENDPOINTS


def test_a_walk_finds_what_is_due_behind_all_who_wait_for_later(world: World) -> None:
    for _ in range(30):
        world.endpoint("http://127.0.0.1:1/")
    world.publish(2)
    walk = text("SELECT walk_due(now() - interval '1 minute', :after, 3)")
    with world.database.begin() as connection:
        ids = connection.exec_driver_sql("SELECT DISTINCT endpoint_id FROM due ORDER BY 1").scalars().all()
        later = {"later": ids[2:27] + ids[28:], "held": [ids[1]]}
        connection.execute(
            text("UPDATE due SET due_at = now() + interval '1 hour' WHERE endpoint_id = ANY (:later)"), later
        )
        lease = "leased_until = now() + interval '1 hour', lease_token = gen_random_uuid()"
        connection.execute(text(f"UPDATE due SET {lease} WHERE endpoint_id = ANY (:held)"), later)
        assert connection.execute(walk, {"after": ""}).scalar_one() == [ids[0], ids[27]]
        assert connection.execute(walk, {"after": ids[0]}).scalar_one() == [ids[27]]
        assert connection.execute(walk, {"after": ids[27]}).scalar_one() == []


@pytest.mark.parametrize(("seconds", "endpoints"), [(0.0, 16), (0.005, 16), (0.02, 51), (0.05, 128), (3600.0, 256)])
def test_walks_look_at_so_many_endpoints_a_second(seconds: float, endpoints: int) -> None:
    assert claims.walk_size(seconds) == endpoints


def test_unknown_endpoints_that_hang_delay_none_that_answers(world: World, hanging: Hanging) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        for _ in range(150):
            world.endpoint(hanging.url, event_types=["call.*"])
        healthy = world.endpoint(receiver.url, event_types=["only.this"])
        world.sql("UPDATE endpoints SET last_outcome = 'success' WHERE id = %(id)s", id=healthy)
        world.publish(5)
        drain = world.drain(clock=lambda: 0.0)  # not even the second in which transfers grow old passes
        claim_all(drain)
        assert drain.in_flight == NEW_PLACES
        for count in range(1, 6):
            world.publish(type="only.this")
            step_until_delivered(world, drain, healthy, count)
        assert drain.in_flight == NEW_PLACES
        hanging.close()
        eventually(lambda: drain.run_once("closed", 0.05) and not drain.in_flight)


def test_an_endpoint_that_somebody_works_on_delays_no_other(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever recovers, changes or deletes an endpoint holds its row, perhaps for many seconds."""
    with ScriptedServer(answering(NO)) as failing, ScriptedServer(answering(OK)) as receiver:
        busy = world.endpoint(failing.url, event_types=["call.*"])
        healthy = world.endpoint(receiver.url, event_types=["only.this"])
        world.publish(3)
        with world.database.begin() as person:
            person.exec_driver_sql("SELECT FROM endpoints WHERE id = %(id)s FOR UPDATE", {"id": busy})
            world.drain().run()
            world.publish(type="only.this")
            world.drain().run()
            assert world.statuses(healthy) == {"delivered": 1}
        # A wait for that row would have ended in a lock time-out, for it was held all the time.
        assert "the database cannot be used" not in caplog.text
        assert len(world.attempts()) == 3 + 1


def test_endpoints_known_to_fail_leave_the_fast_lane_to_the_others(world: World, hanging: Hanging) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        for _ in range(150):
            world.endpoint(hanging.url, event_types=["call.*"])
        world.sql("UPDATE endpoints SET last_outcome = 'timeout', consecutive_failures = 9, failing_since = now()")
        healthy = world.endpoint(receiver.url, event_types=["only.this"])
        world.publish(5)
        drain = world.drain(clock=lambda: 0.0)  # not even the second in which transfers grow old passes
        assert drain.run_once().more
        claim_all(drain)
        assert drain.in_flight == SLOW_PLACES
        for count in range(1, 6):
            world.publish(type="only.this")
            step_until_delivered(world, drain, healthy, count)
        assert drain.in_flight == SLOW_PLACES
        assert len(world.attempts()) == 5  # none of those that hang has ended
        hanging.close()
        eventually(lambda: drain.run_once("closed", 0.05) and not drain.in_flight)


def test_a_long_queue_of_one_endpoint_delays_no_other(world: World) -> None:
    with ScriptedServer(answering(OK)) as slow, ScriptedServer(answering(OK)) as receiver:
        busy = world.endpoint(slow.url, event_types=["call.*"])
        healthy = world.endpoint(receiver.url, event_types=["only.this"])
        world.publish(5000)
        stop = threading.Event()
        with running(world.drain(stopping=stop.is_set)):
            deliver_one_by_one(world, healthy, rounds=3)
            left = world.statuses(busy).get("pending", 0)
            stop.set()
    assert left > 0, "the queue was gone before anything could be measured"
    for row in world.deliveries(healthy):
        made_meanwhile = world.one(
            "SELECT count(*) FROM attempts WHERE endpoint_id = %(busy)s AND started_at > %(accepted)s"
            " AND started_at < (SELECT started_at FROM attempts WHERE delivery_id = %(id)s)",
            busy=busy,
            accepted=row.created_at,
            id=row.id,
        )
        assert made_meanwhile < 500


def test_one_endpoint_never_has_more_than_its_share_in_flight(world: World) -> None:
    open_now, most, lock = 0, 0, threading.Lock()

    def script(server: ScriptedServer, _connection: socket.socket, _seen: Seen) -> bytes:
        nonlocal open_now, most
        with lock:
            open_now += 1
            most = max(most, open_now)
        server.over.wait(0.1)
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
        threads = [threading.Thread(target=world.drain().run) for _ in range(drains)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(receiver.seen) == 50
    starts = sorted(attempt.started_at.timestamp() for attempt in world.attempts())
    busiest = max(sum(1 for start in starts if first <= start < first + 1) for first in starts)
    assert busiest <= 20 * 1.1 + 2
    assert 1.8 < starts[-1] - starts[0] < 6


def test_every_endpoint_has_its_turn_when_there_are_more_than_one_claim_looks_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "MOST_ENDPOINTS", 7)
    monkeypatch.setattr(claims, "MOST_ROWS", 20)
    with ScriptedServer(answering(OK)) as receiver:
        blocked = [world.endpoint("http://127.0.0.1:1/") for _ in range(20)]
        # Never their turn:
        world.sql("UPDATE endpoints SET rate_limit = 1, rate_tat = extract(epoch FROM now()) + 1000")
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
        ticks = counting()
        # Each look at the clock takes a tenth of a second.
        drain = world.drain(send_total_seconds=1, clock=lambda: next(ticks) * 0.1)
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
