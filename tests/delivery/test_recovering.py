"""A person's retry and recovery: what they bring back, and what they leave alone."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest

from app.core import ids
from app.core.problem import Problem
from app.delivery import cancelling, deliveries
from tests.delivery.world import World
from tests.processes import eventually

URL = "http://127.0.0.1:1/"
ABSENT = "dlv_" + "0" * ids.LENGTH


def recover(world: World, endpoint_id: str, since: datetime, **more: object) -> deliveries.Recovered:
    with world.database.session() as session:
        return deliveries.recover(
            session,
            world.workspace_id,
            endpoint_id,
            since=since,
            window_seconds=3600,
            **more,  # type: ignore[arg-type]
        )


def retry(world: World, delivery_id: str, workspace_id: str | None = None) -> None:
    with world.database.session() as session:
        deliveries.retry_delivery(session, workspace_id or world.workspace_id, delivery_id, window_seconds=3600)


@pytest.mark.parametrize("status", ["delivered", "failed", "cancelled"])
def test_a_retry_leads_out_of_every_terminal_state(world: World, status: str) -> None:
    world.endpoint(URL)
    world.publish()
    world.end(status, attempts=4)
    retry(world, world.delivery().id)
    row = world.delivery()
    assert (row.status, row.reason, row.finished_at, row.trigger) == ("pending", None, None, "manual")
    assert (row.attempt_count, row.window_attempts, row.claims) == (4, 0, 4)
    assert row.deadline_at - row.window_started_at == timedelta(hours=1)
    assert row.due_at <= world.now()


def test_a_retry_of_one_that_is_being_sent_changes_nothing(world: World) -> None:
    world.endpoint(URL)
    world.publish()
    world.drain().run_once()
    before = world.delivery()
    retry(world, before.id)
    assert world.delivery() == before


@pytest.mark.parametrize("id", [ABSENT, "dlv_x", "", "evt_" + "0" * ids.LENGTH])
def test_a_retry_of_what_is_not_there_is_not_found(world: World, id: str) -> None:
    with pytest.raises(Problem) as caught:
        retry(world, id)
    assert caught.value.code == "not_found"


def test_another_workspaces_delivery_and_endpoint_are_not_there(world: World) -> None:
    endpoint_id = world.endpoint(URL)
    world.publish()
    with pytest.raises(Problem) as caught:
        retry(world, world.delivery().id, "ws_of_somebody_else")
    assert caught.value.code == "not_found"
    with pytest.raises(Problem) as caught, world.database.session() as session:
        deliveries.recover(session, "ws_of_somebody_else", endpoint_id, since=world.now(), window_seconds=1)
    assert caught.value.code == "not_found"


def test_a_retry_says_when_the_endpoint_cannot_take_it(world: World) -> None:
    endpoint_id = world.endpoint(URL)
    world.publish()
    world.end("failed", attempts=4)
    world.sql("UPDATE endpoints SET status = 'disabled'")
    with pytest.raises(Problem, match="disabled; enable it first"):
        retry(world, world.delivery().id)
    world.sql("DELETE FROM endpoints WHERE id = %(id)s", id=endpoint_id)
    with pytest.raises(Problem, match="deleted"):
        retry(world, world.delivery().id)


def test_recovery_takes_what_failed_and_leaves_what_was_delivered_or_waits(world: World) -> None:
    endpoint_id = world.endpoint(URL)
    since = world.divide()
    world.publish(4)
    for row, status in zip(world.deliveries(), ["failed", "cancelled", "delivered", "pending"], strict=True):
        if status != "pending":
            world.end(status, row.id)
    recovered = recover(world, endpoint_id, since)
    assert (recovered.retried, recovered.missed, recovered.complete) == (2, 0, True)
    assert [row.trigger for row in world.deliveries()] == ["recover", "recover", "schedule", "schedule"]
    assert recover(world, endpoint_id, since).count == 0


def test_recovery_finds_events_that_the_filters_match_and_that_were_never_meant_for_it(world: World) -> None:
    since = world.divide()
    world.publish(3, type="call.turn")
    world.publish(2, type="call_turn")
    world.publish(2, type="call.turn", kind="bot")
    endpoint_id = world.endpoint(URL, event_types=["call.*"], stream_kinds=["call"])
    recovered = recover(world, endpoint_id, since)
    assert (recovered.retried, recovered.missed) == (0, 3)
    rows = world.deliveries(endpoint_id)
    assert {row.event_type for row in rows} == {"call.turn"}
    assert {row.trigger for row in rows} == {"recover"}
    for row in rows:
        assert ids.created_at_of(row.id) == row.created_at
        assert ids.created_at_of(row.event_id) == row.event_created_at


def test_recovery_keeps_to_its_span(world: World) -> None:
    times = []
    for _ in range(3):
        times.append(world.divide())
        world.publish()
    endpoint_id = world.endpoint(URL)
    assert recover(world, endpoint_id, times[1], until=times[2]).missed == 1
    assert recover(world, endpoint_id, times[0]).missed == 2


def test_a_large_recovery_comes_in_parts_oldest_first(world: World) -> None:
    since = world.divide()
    world.publish(10)
    endpoint_id = world.endpoint(URL)
    world.publish(5)
    world.end("failed", attempts=4)
    calls = [recover(world, endpoint_id, since, most=6) for _ in range(3)]
    assert [(call.retried, call.missed, call.complete) for call in calls] == [
        (5, 1, False),
        (0, 6, False),
        (0, 3, True),
    ]
    assert len({row.event_id for row in world.deliveries()}) == 15


def test_tests_are_neither_recovered_nor_missed(world: World) -> None:
    tested, other = world.endpoint(URL), world.endpoint(URL)
    since = world.divide()
    world.publish(only=tested)
    world.end("failed", attempts=4)
    assert recover(world, tested, since).count == 0
    assert recover(world, other, since).count == 0
    retry(world, world.delivery().id)
    assert world.delivery().trigger == "test"
    assert recover(world, other, since).count == 0


def test_cancelling_in_batches_takes_all(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelling, "CANCEL_BATCH", 7)
    endpoint_id, other = world.endpoint(URL), world.endpoint(URL)
    world.publish(20)
    with world.database.session() as session:
        assert cancelling.cancel_pending(session.connection(), endpoint_id, "why") == 20
    assert {(row.status, row.reason) for row in world.deliveries(endpoint_id)} == {("cancelled", "why")}
    assert world.statuses(other) == {"pending": 20}


@pytest.mark.parametrize("status", ["pending", "failed"])
def test_a_retry_that_waited_for_a_lock_is_due_when_it_got_it(world: World, status: str) -> None:
    """Drains look for what became due long ago seldom."""
    world.endpoint(URL)
    world.publish()
    id = world.delivery().id
    if status != "pending":
        world.end(status)
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with world.database.begin() as other:
        other.exec_driver_sql("SELECT FROM deliveries FOR UPDATE")
        person = threading.Thread(target=retry, args=(world, id))
        person.start()
        eventually(lambda: world.one(waits) == 1)
        released_at = world.one("SELECT clock_timestamp()")
    person.join(10)
    row = world.delivery()
    assert row.status == "pending"
    assert row.due_at >= released_at
    if status != "pending":
        assert row.window_started_at == row.due_at
