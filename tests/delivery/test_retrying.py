"""What fails is tried again for 24 hours and not longer; what the receiver asks for is honoured."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta
from email.utils import format_datetime

import pytest

from app.core.webhook import retry
from app.delivery import deliveries
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen, answering
from tests.delivery.world import World
from tests.processes import eventually, free_port

NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
DAY = timedelta(hours=24)


def answer(status: str, *lines: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Length: 0", *lines, "", ""]).encode()


def attempt_when_due(world: World, **changed: object) -> None:
    """Let time pass until the only delivery is due, and have it attempted."""
    world.let_pass_until(world.delivery().due_at)
    world.drain(**changed).run()


def stamps(receiver: ScriptedServer) -> list[int]:
    """The webhook-timestamp of each request."""
    return [int(value) for seen in receiver.seen if (value := seen.header("webhook-timestamp"))]


def exhaust(world: World) -> None:
    """Attempt until the only delivery is not pending any more."""
    for _ in range(20):
        if world.delivery().status != "pending":
            return
        attempt_when_due(world)
    raise AssertionError("it never ends")


def test_eleven_attempts_at_the_schedules_times_the_last_at_24_hours_then_failed(world: World) -> None:
    with ScriptedServer(answering(NO)) as receiver:
        world.endpoint(receiver.url)
        world.publish()
        row = world.delivery()
        assert row.deadline_at - row.window_started_at == row.deadline_at - row.created_at == DAY
        exhaust(world)
        world.let_pass(2 * DAY)
        world.drain().run()
    row, attempts = world.delivery(), world.attempts()
    assert len(receiver.seen) == len(attempts) == row.attempt_count == 11
    assert [attempt.number for attempt in attempts] == list(range(1, 12))
    assert row.status == "failed"
    assert row.reason == "window_exhausted: no success within 24 h; last: http_error 500"
    assert row.deadline_at - row.window_started_at == DAY
    times = [attempt.started_at for attempt in attempts]
    for earlier, later, delay_seconds in zip(times, times[1:-1], retry.DELAYS_SECONDS, strict=False):
        assert delay_seconds <= (later - earlier).total_seconds() <= delay_seconds * 1.1 + 1
    assert timedelta(0) <= times[-1] - row.deadline_at < timedelta(seconds=1)
    # The time of the claim, in whole seconds; the attempt begins some milliseconds later.
    made = [attempt.created_at.timestamp() for attempt in attempts]  # by the clock on the wall
    assert all(-0.1 < at - stamp < 1.5 for at, stamp in zip(made, stamps(receiver), strict=True))
    assert len({seen.header("webhook-id") for seen in receiver.seen}) == 1


def test_each_attempt_is_signed_with_the_time_of_its_own_claim(world: World) -> None:
    with ScriptedServer(answering(NO)) as receiver:
        world.endpoint(receiver.url)
        world.publish()
        world.drain().run()
        eventually(lambda: int(world.now().timestamp()) > stamps(receiver)[0])
        attempt_when_due(world)
    first, second = stamps(receiver)
    assert first < second


def test_what_was_given_up_is_delivered_by_recover(world: World) -> None:
    with ScriptedServer(answering(*[NO] * 11, OK)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        world.publish()
        exhaust(world)
        since = world.delivery().created_at
        with world.database.session() as session:
            recovered = deliveries.recover(session, world.workspace_id, endpoint_id, since=since, window_seconds=86400)
        assert (recovered.count, recovered.complete) == (1, True)
        world.drain().run()
    row = world.delivery()
    assert (row.status, row.attempt_count, row.window_attempts) == ("delivered", 12, 1)
    assert world.attempts()[-1].trigger == "recover"


def test_a_window_that_ended_while_no_worker_ran_still_gets_its_attempt(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url)
        world.publish()
        world.let_pass(3 * DAY)
        world.drain().run()
    assert world.delivery().status == "delivered"


@pytest.mark.parametrize("status", ["429 Slow", "503 Later"])
def test_retry_after_in_seconds_is_waited_for(world: World, status: str) -> None:
    with ScriptedServer(answering(answer(status, "Retry-After: 3000"))) as receiver:
        world.endpoint(receiver.url)
        world.publish()
        world.drain().run()
    assert 2995 < (world.delivery().due_at - world.now()).total_seconds() <= 3000


def test_retry_after_as_a_date_is_waited_for(world: World) -> None:
    asked = (world.now() + timedelta(hours=5)).replace(microsecond=0)
    line = f"Retry-After: {format_datetime(asked, usegmt=True)}"
    with ScriptedServer(answering(answer("503 Later", line))) as receiver:
        world.endpoint(receiver.url)
        world.publish()
        world.drain().run()
    assert world.delivery().due_at == asked


def test_retry_after_past_the_deadline_leaves_the_attempt_at_the_deadline(world: World) -> None:
    with ScriptedServer(answering(answer("429 Slow", "Retry-After: 999999999"), OK)) as receiver:
        world.endpoint(receiver.url)
        world.publish()
        world.drain().run()
        row = world.delivery()
        assert row.due_at == row.deadline_at
        attempt_when_due(world)
    assert world.delivery().status == "delivered"


@pytest.mark.parametrize("value", ["soon", "-5", "", "3.5", "9" * 400, "Fri, 32 Foo 2026 25:61:61 GMT", "1"])
def test_a_retry_after_that_makes_no_sense_leaves_the_schedule(world: World, value: str) -> None:
    with ScriptedServer(answering(answer("503 Later", f"Retry-After: {value}"))) as receiver:
        world.endpoint(receiver.url)
        world.publish()
        world.drain().run()
    row = world.delivery()
    wait_seconds = (row.due_at - world.attempts()[0].started_at).total_seconds()
    if value == "9" * 400:  # a number, if one too large to mean anything: as far as the window goes
        assert row.due_at == row.deadline_at
    else:
        assert 5 <= wait_seconds <= 5.5 + 1


def test_retry_after_on_other_answers_is_ignored(world: World) -> None:
    with ScriptedServer(answering(answer("500 No", "Retry-After: 3000"))) as receiver:
        world.endpoint(receiver.url)
        world.publish()
        world.drain().run()
    assert (world.delivery().due_at - world.now()).total_seconds() < 6


@pytest.mark.parametrize("status", ["301 Moved", "304 Same", "400 Bad", "404 None", "500 No", "599 Odd"])
def test_everything_else_is_tried_again(world: World, status: str) -> None:
    with ScriptedServer(answering(answer(status, "Location: /elsewhere"), OK)) as receiver:
        world.endpoint(receiver.url)
        world.publish()
        world.drain().run()
        assert world.delivery().status == "pending"
        assert world.delivery().reason.startswith(f"http_error {status[:3]}")
        attempt_when_due(world)
        assert len(receiver.seen) == 2
    assert world.delivery().status == "delivered"


def test_schedule_and_window_are_settings(world: World) -> None:
    with ScriptedServer(answering(NO)) as receiver:
        world.endpoint(receiver.url)
        world.publish()
        world.set_deadline("created_at + interval '60 seconds'")
        for _ in range(4):
            attempt_when_due(world, retry_delays_seconds=(10, 20))
    row = world.delivery()
    assert (row.status, row.attempt_count) == ("failed", 4)
    assert row.reason.startswith("window_exhausted: no success within 1 min")


def closes(_server: ScriptedServer, _connection: socket.socket, _seen: Seen) -> None:
    """Reads the request, and closes without a word."""


def hangs(server: ScriptedServer, _connection: socket.socket, _seen: Seen) -> None:
    """Reads the request, and says nothing while the test goes on."""
    server.over.wait(30)


def breaks_off(_server: ScriptedServer, connection: socket.socket, _seen: Seen) -> None:
    """Begins an answer, and closes."""
    connection.sendall(b"HTTP/1.1 500 No\r\nContent-")


@pytest.mark.parametrize(
    ("script", "reason"),
    [(closes, "unknown_outcome: "), (hangs, "unknown_outcome: "), (breaks_off, "window_exhausted: ")],
)
def test_a_last_attempt_that_was_read_and_not_answered_has_an_unknown_outcome(
    world: World, script: Callable[[ScriptedServer, socket.socket, Seen], None], reason: str
) -> None:
    with ScriptedServer(script) as receiver:
        world.endpoint(receiver.url)
        world.publish()
        world.set_deadline("now()")
        world.drain(send_total_seconds=1).run()
        assert len(receiver.seen) == 1
        row = world.delivery()
    assert row.status == "failed"
    assert row.reason.startswith(reason)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_last_attempt_that_never_reached_the_receiver_has_none(world: World, scheme: str) -> None:
    """http: the connection is refused; https: it is taken, and the handshake never ends."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = free_port() if scheme == "http" else silent.getsockname()[1]
        world.endpoint(f"{scheme}://127.0.0.1:{port}/")
        world.publish()
        world.set_deadline("now()")
        world.drain(send_total_seconds=1, send_connect_seconds=1).run()
    assert world.delivery().reason.startswith("window_exhausted: ")


def test_a_persons_retry_of_a_pending_delivery_is_made_at_once_and_uses_up_no_attempt(world: World) -> None:
    with ScriptedServer(answering(NO)) as receiver:
        world.endpoint(receiver.url)
        world.publish()
        world.drain().run()
        before = world.delivery()
        with world.database.session() as session:
            deliveries.retry_delivery(session, world.workspace_id, before.id, window_seconds=86400)
        world.drain().run()
    row = world.delivery()
    assert [attempt.trigger for attempt in world.attempts()] == ["schedule", "manual"]
    assert (row.attempt_count, row.window_attempts, row.trigger) == (2, 1, "schedule")
    assert (row.window_started_at, row.deadline_at) == (before.window_started_at, before.deadline_at)


def test_a_persons_retry_of_a_failed_delivery_starts_a_whole_window(world: World) -> None:
    with ScriptedServer(answering(NO)) as receiver:
        world.endpoint(receiver.url)
        world.publish()
        exhaust(world)
        with world.database.session() as session:
            deliveries.retry_delivery(session, world.workspace_id, world.delivery().id, window_seconds=86400)
        assert world.delivery().status == "pending"
        exhaust(world)
    row, attempts = world.delivery(), world.attempts()
    assert (row.status, row.attempt_count, row.window_attempts) == ("failed", 22, 11)
    assert [attempt.trigger for attempt in attempts[10:13]] == ["schedule", "manual", "schedule"]
