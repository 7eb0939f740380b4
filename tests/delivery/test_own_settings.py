"""What an endpoint has of its own for its deliveries: a schedule, a time-out, and filters that a recovery asks, too."""

from __future__ import annotations

import socket
from datetime import timedelta

from app.core.webhook.retry import Outcome
from app.delivery.missed import missed
from tests.delivery.sending.scripted_server import ScriptedServer, answering
from tests.delivery.world import World

NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
OWN = [7, 40]


def test_an_endpoints_own_schedule_is_kept_and_the_last_attempt_is_at_the_deadline(world: World) -> None:
    with ScriptedServer(answering(NO)) as receiver:
        world.endpoint(receiver.url, retry_delays_seconds=OWN)
        world.publish()
        for _ in range(4):
            world.let_pass_until(world.delivery().due_at)
            world.drain().run()
    attempts = world.attempts()
    times = [attempt.started_at for attempt in attempts]
    for earlier, later, delay_seconds in zip(times, times[1:3], OWN, strict=False):
        assert delay_seconds <= (later - earlier).total_seconds() <= delay_seconds * 1.1 + 1
    row = world.delivery()
    assert (len(attempts), row.status) == (4, "failed")
    assert timedelta(0) <= times[3] - row.deadline_at < timedelta(seconds=1)


def test_a_schedule_that_is_taken_back_gives_way_to_the_settings(world: World) -> None:
    with ScriptedServer(answering(NO)) as receiver:
        endpoint_id = world.endpoint(receiver.url, retry_delays_seconds=[3000])
        world.publish()
        world.drain().run()
        assert world.delivery().due_at - world.now() > timedelta(seconds=2900)
        world.change(endpoint_id, retry_delays_seconds=None)
        world.make_due()
        world.drain(retry_delays_seconds=(1000, 2000)).run()
    assert timedelta(seconds=1900) < world.delivery().due_at - world.now() < timedelta(seconds=2201)


def test_an_endpoints_own_time_out_ends_its_attempts_and_no_others(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        quick = world.endpoint(url, timeout_seconds=1)
        patient = world.endpoint(url, timeout_seconds=60)  # more than the setting, which holds then
        world.publish()
        world.drain(send_total_seconds=3).run()
    seconds = {attempt.endpoint_id: attempt.duration_ms / 1000 for attempt in world.attempts()}
    assert {attempt.outcome for attempt in world.attempts()} == {Outcome.TIMEOUT}
    assert 1 <= seconds[quick] < 3 <= seconds[patient]


def test_a_recovery_asks_the_content_filter_about_a_bounded_part_and_says_where_to_go_on(world: World) -> None:
    since = world.divide()
    world.publish(60, data='{"amount":1}')
    middle = world.divide()
    world.publish(60, data='{"amount":2}')
    world.endpoint("http://127.0.0.1:1/", content_filter={"path": "/amount", "eq": 2})
    with world.database.begin() as connection:
        (endpoint,) = connection.exec_driver_sql("SELECT * FROM endpoints").all()
        first = missed(connection, endpoint, since=since, until=None, most=1000, most_looked_at=50)
        assert list(first.events) == []
        assert first.looked_until is not None
        rest = missed(connection, endpoint, since=first.looked_until, until=None, most=1000)
        assert (len(rest.events), rest.looked_until) == (60, None)
        assert len(missed(connection, endpoint, since=since, until=None, most=7).events) == 7
        assert len(missed(connection, endpoint, since=since, until=middle, most=1000).events) == 0
