"""The overview's figures: each counts what it says, over its span and across workspaces."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from app.core import ids
from app.delivery import overview, waiting
from app.delivery.overview import Slot, Span
from tests.delivery.world import World

INSERT = """
INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
  trigger) VALUES (%(id)s, %(at)s, 'w', 'e', 'd', 1, %(at)s, %(ms)s, %(outcome)s, 'schedule')
"""


def attempt(world: World, at: datetime, outcome: str, milliseconds: int, mark: int) -> None:
    at = ids.truncate(at)
    id = ids.make(ids.ATTEMPT, at, mark.to_bytes(10, "big"))
    world.sql(INSERT, id=id, at=at, ms=milliseconds, outcome=outcome)


def test_attempts_are_counted_in_their_slots(world: World) -> None:
    now = world.now()
    span = Span.until(now, 3, 60)
    starts = span.starts()
    assert starts[-1] <= now < starts[-1] + timedelta(minutes=1)
    attempt(world, starts[0] - timedelta(milliseconds=1), "success", 5, 0)
    for mark, (outcome, milliseconds) in enumerate(
        [("success", 10), ("success", 30), ("http_error", 20), ("timeout", 15_000), ("dns_error", 40)], 1
    ):
        attempt(world, starts[0], outcome, milliseconds, mark)
    attempt(world, starts[2], "success", 7, 9)
    with world.database.begin() as connection:
        first, second, third = overview.attempts_over_time(connection, span)
        assert overview.durations(connection, span) == (20, 15_000)
    assert first == Slot(success=2, http_error=1, timeout=1, other=1, p50=30, p95=15_000)
    assert second == Slot()
    assert (third.count, third.p50) == (1, 7)


def test_events_are_counted_in_their_slots_and_of_late(world: World) -> None:
    before = ids.truncate(world.now())
    world.publish(7)
    with world.database.begin() as connection:
        assert sum(overview.events_over_time(connection, Span.until(world.now(), 2, 3600))) == 7
        assert overview.accepted_since(connection, before) == 7
        assert overview.accepted_since(connection, before + timedelta(minutes=5)) == 0


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ("failing_since = now(), consecutive_failures = 3", 1),
        ("failing_since = now(), status = 'disabled', disabled_reason = 'endpoint_gone: x', disabled_at = now()", 1),
        ("failing_since = now(), status = 'disabled', disabled_reason = 'disabled_by_owner', disabled_at = now()", 0),
        ("failing_since = now(), status = 'disabled', disabled_reason = 'x', disabled_at = now() - interval '8 d'", 0),
        ("failing_since = NULL", 0),
    ],
)
def test_what_fails_is_what_is_in_use_or_was_disabled_for_it_of_late(world: World, change: str, shown: int) -> None:
    world.endpoint("http://127.0.0.1:9/")
    world.sql(f"UPDATE endpoints SET {change}")
    with world.database.begin() as connection:
        rows, count = overview.failing_endpoints(connection)
    assert len(rows) == shown
    assert count == (1 if "consecutive" in change else 0)


def test_what_waits_is_counted_in_all_and_for_each_endpoint(world: World) -> None:
    first, second = world.endpoint("http://127.0.0.1:9/a"), world.endpoint("http://127.0.0.1:9/b")
    world.publish(3)
    world.sql("UPDATE due SET due_at = now() + interval '1 h' WHERE endpoint_id = %(e)s", e=second)
    with world.database.begin() as connection:
        found = waiting.backlog(connection)
        assert (found.pending, found.due) == (6, 3)
        assert 0 <= (found.oldest_due_seconds or -1) < 60
        assert waiting.waiting_for(connection, [first, second]) == {first: 3, second: 3}
        ids_of_first = [row.id for row in world.deliveries(first)]
        assert set(waiting.next_attempts(connection, ids_of_first)) == set(ids_of_first)
        assert not any(one.sending for one in waiting.next_attempts(connection, ids_of_first).values())


def test_customers_are_named_by_what_was_not_delivered(world: World) -> None:
    world.endpoint("http://127.0.0.1:9/")
    world.publish(4)
    with world.database.begin() as connection:
        assert overview.ended_badly(connection, world.now() - timedelta(hours=1)) == []
    *some, last = world.deliveries()
    for row in some:
        world.end("failed", row.id)
    world.end("cancelled", last.id)
    with world.database.begin() as connection:
        (row,) = overview.ended_badly(connection, world.now() - timedelta(hours=1))
        assert overview.ended_badly(connection, world.now() + timedelta(minutes=1)) == []
    assert (row.workspace_id, row.failed, row.cancelled) == (world.workspace_id, 3, 1)
