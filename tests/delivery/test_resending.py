"""A request whose connection is to blame for its failure is sent once more at once, as an attempt of its own."""

from __future__ import annotations

import socket
from collections import Counter
from typing import Any

import pytest

from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen
from tests.delivery.world import World
from tests.processes import eventually

NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"


class Hanging:
    """A script: answers the first request on each connection, reads the next one and hangs up. On a connection of its
    own a request that was hung up on gets `then`."""

    def __init__(self, then: bytes = OK) -> None:
        self.then = then
        self.hung_up: set[str | None] = set()

    def __call__(self, server: ScriptedServer, _connection: socket.socket, seen: Seen) -> bytes | None:
        event_id = seen.header("webhook-id")
        if [one.connection for one in server.seen].count(seen.connection) > 1:
            self.hung_up.add(event_id)
            return None
        return self.then if event_id in self.hung_up else OK


def deliver_one_by_one(world: World, count: int, **changed: Any) -> None:
    """So that each request after the first finds a connection that was used before."""
    drain = world.drain(**changed)
    for _ in range(count):
        world.publish()
        drain.run_once()
        eventually(lambda: drain.run_once("closed") and not (drain.in_flight or drain.unrecorded))


def test_every_request_is_an_attempt_in_the_log_and_every_delivery_arrives(world: World) -> None:
    with ScriptedServer(Hanging()) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        deliver_one_by_one(world, 9)
        requests = Counter(seen.header("webhook-id") for seen in receiver.seen)
    rows = world.deliveries()
    assert {row.event_id: row.attempt_count for row in rows} == requests
    assert Counter(requests.values())[2] >= 3  # every third connection at least was hung up
    assert {(row.status, row.window_attempts) for row in rows} == {("delivered", 1)}
    first_ones = [row for row in world.attempts() if row.outcome != "success"]
    assert {(row.number, row.outcome, row.status_code) for row in first_ones} == {(1, "protocol_error", None)}
    for first in first_ones:
        [second] = [row for row in world.attempts() if row.delivery_id == first.delivery_id and row.number == 2]
        assert second.trigger == first.trigger
        assert (second.started_at - first.started_at).total_seconds() * 1000 > first.duration_ms - 1  # it is rounded
    health = world.endpoint_row(endpoint_id)
    assert (health.consecutive_failures, health.last_outcome) == (0, "success")


def test_what_comes_of_the_second_request_decides(world: World) -> None:
    with ScriptedServer(Hanging(then=NO)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        deliver_one_by_one(world, 2)
        assert len(receiver.seen) == 3
    first, second = sorted(world.deliveries(), key=lambda row: row.attempt_count)
    assert (first.status, first.attempt_count) == ("delivered", 1)
    assert (second.status, second.reason, second.attempt_count) == ("pending", "http_error 500", 2)
    assert (second.window_attempts, second.claims, second.lease_token) == (1, 2, None)
    assert world.endpoint_row(endpoint_id).consecutive_failures == 1


@pytest.mark.parametrize(
    "changed", [{"stopping": lambda: True}, {"lease_seconds": 16}], ids=["stopping", "too little left of the lease"]
)
def test_the_schedule_sends_again_when_this_drain_had_better_not(world: World, changed: dict[str, Any]) -> None:
    with ScriptedServer(Hanging()) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        deliver_one_by_one(world, 2, **changed)
        assert len(receiver.seen) == 2
    _, pending = sorted(world.deliveries(), key=lambda row: row.status)
    assert (pending.status, pending.reason, pending.attempt_count) == ("pending", "protocol_error", 1)
    assert (pending.window_attempts, pending.claims, pending.lease_token) == (1, 1, None)
    assert world.endpoint_row(endpoint_id).consecutive_failures == 1


def test_a_request_is_not_sent_again_beyond_the_rate_limit(world: World) -> None:
    with ScriptedServer(Hanging()) as receiver:
        endpoint_id = world.endpoint(receiver.url, rate_limit=1)
        world.publish(2)
        drain = world.drain()
        drain.run_once()
        eventually(lambda: drain.run_once("closed") and not (drain.in_flight or drain.unrecorded))
        world.sql("UPDATE endpoints SET rate_tat = NULL")
        drain.run_once()
        eventually(lambda: drain.run_once("closed") and not (drain.in_flight or drain.unrecorded))
        assert len(receiver.seen) == 2
    _, pending = sorted(world.deliveries(), key=lambda row: row.status)
    assert (pending.status, pending.reason, pending.attempt_count) == ("pending", "protocol_error", 1)
    assert world.endpoint_row(endpoint_id).rate_tat is not None
