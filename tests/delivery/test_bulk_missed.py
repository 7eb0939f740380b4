"""Bulk recovery of what an endpoint has missed: each event once, those that it takes, piece by piece."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.core.problem import Problem
from app.delivery import bulk, bulk_missed, deliveries
from app.delivery.bulk import Count
from tests.delivery.test_bulk import go_on, order, shown, work
from tests.delivery.world import World

URL = "http://127.0.0.1:1/"


def missing(world: World, **filters: Any) -> str:
    """An endpoint that was made after six events."""
    world.publish(4, type="call.a")
    world.publish(2, type="bot.joined")
    return world.endpoint(URL, **filters)


def count(world: World, endpoint: str, workspace: str | None = None, **filters: Any) -> Count:
    with world.database.begin() as connection:
        found = bulk.BulkFilters(workspace or world.workspace_id, endpoint=endpoint, status=bulk.MISSED, **filters)
        return bulk.count(connection, found)


def test_a_count_is_not_compiled(world: World) -> None:
    """It would take longer than the count: seconds, where PostgreSQL has a compiler."""
    endpoint = missing(world)
    with world.database.begin() as connection:
        connection.exec_driver_sql("SET LOCAL jit = on")
        bulk.count(connection, bulk.BulkFilters(world.workspace_id, endpoint=endpoint, status=bulk.MISSED))
        assert connection.exec_driver_sql("SHOW jit").scalar_one() == "off"


def taken(world: World, endpoint: str) -> list[str]:
    rows = world.sql("SELECT event_id FROM deliveries WHERE endpoint_id = %(e)s ORDER BY event_id", e=endpoint)
    return [row.event_id for row in rows]


def set_status(world: World, endpoint: str, status: str) -> None:
    with world.database.begin() as connection:
        values = {"id": endpoint, "status": status}
        connection.exec_driver_sql("UPDATE endpoints SET status = %(status)s WHERE id = %(id)s", values)


def test_what_was_missed_is_counted_and_delivered_once(world: World) -> None:
    endpoint = missing(world)
    assert count(world, endpoint) == Count(6, 0, 1, False)
    id = order(world, endpoint=endpoint, status=bulk.MISSED)
    (later,) = world.publish()  # has its delivery
    assert work(world) == bulk.Piece(id, 6)
    done = shown(world, id)
    assert (done.status, done.found, done.retried) == ("finished", 6, 6)
    events = taken(world, endpoint)
    assert len(events) == len(set(events)) == 7
    assert later.id in events
    assert {row.trigger for row in world.sql("SELECT * FROM due WHERE event_id <> %(e)s", e=later.id)} == {"recover"}
    assert count(world, endpoint).ready == 0
    again = order(world, endpoint=endpoint, status=bulk.MISSED)
    assert work(world) == bulk.Piece(again, 0)


@pytest.mark.parametrize(
    ("own", "filters", "expected"),
    [
        ({"event_types": ["call.*"]}, {}, 4),
        ({"stream_kinds": ["nothing"]}, {}, 0),
        ({"channels": ["eu"]}, {}, 0),
        ({"content_filter": {"path": "/absent", "exists": True}}, {"event_type": "call.*"}, 0),
        ({}, {"event_type": "bot.*"}, 2),
        ({"event_types": ["call.*"]}, {"event_type": "bot.*"}, 0),
        ({}, {"since": timedelta(hours=1)}, 6),
        ({}, {"until": timedelta(hours=1)}, 0),
    ],
)
def test_it_is_what_the_endpoint_takes_and_the_order_asks_for(
    world: World, own: dict[str, Any], filters: dict[str, Any], expected: int
) -> None:
    endpoint = missing(world, **own)
    now = world.now()
    given = {name: now - value if isinstance(value, timedelta) else value for name, value in filters.items()}
    assert count(world, endpoint, **given).ready == expected
    order(world, endpoint=endpoint, status=bulk.MISSED, **given)
    assert getattr(work(world), "retried", None) == expected


def test_large_bodies_are_read_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("PIECE_BYTES", 1), ("BODIES", 2)):
        monkeypatch.setattr(bulk_missed, name, value)
    endpoint = missing(world, content_filter={"path": "/absent", "exists": False})
    assert count(world, endpoint).ready == 6
    id = order(world, endpoint=endpoint, status=bulk.MISSED)
    assert [getattr(work(world), "retried", None) for _ in range(3)] == [2, 2, 2]
    assert (shown(world, id).status, len(set(taken(world, endpoint)))) == ("finished", 6)


def test_windows_follow_each_other_and_a_full_endpoint_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_missed, "WINDOW", 4)
    monkeypatch.setattr(bulk, "ENDPOINT_ROOM", 3)
    endpoint = missing(world)
    id = order(world, endpoint=endpoint, status=bulk.MISSED)
    assert work(world) == bulk.Piece(id, 3)
    assert work(world) == bulk.Piece(id, 0)  # no room: a pause
    assert work(world) is None
    monkeypatch.setattr(bulk, "ENDPOINT_ROOM", 100)
    go_on(world)
    assert [getattr(work(world), "retried", None) for _ in range(2)] == [3, None]
    assert (shown(world, id).status, len(set(taken(world, endpoint)))) == ("finished", 6)


def test_a_cancel_in_the_middle_leaves_the_rest(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "PIECE", 2)
    endpoint = missing(world)
    id = order(world, endpoint=endpoint, status=bulk.MISSED)
    assert work(world) == bulk.Piece(id, 2)
    with world.database.begin() as connection:
        bulk.cancel(connection, id, world.workspace_id)
    assert work(world) is None
    assert count(world, endpoint).ready == 4


def test_nobody_makes_deliveries_of_what_was_missed_beside_it(world: World) -> None:
    endpoint = missing(world)
    first, second = (order(world, endpoint=endpoint, status=bulk.MISSED) for _ in range(2))
    with world.database.begin() as one, world.database.begin() as other:
        assert bulk.work(one, window_seconds=60) == bulk.Piece(first, 6)
        assert bulk.work(other, window_seconds=60) == bulk.Piece(second, 0)
    go_on(world)
    assert work(world) == bulk.Piece(second, 0)
    with world.database.session() as session:
        since = world.now() - timedelta(hours=1)
        found = deliveries.recover(session, world.workspace_id, endpoint, since=since, window_seconds=60)
    assert (found.retried, found.missed) == (0, 0)
    assert len(taken(world, endpoint)) == 6


def test_an_endpoint_that_is_disabled_or_gone_ends_it(world: World) -> None:
    endpoint = missing(world)
    id = order(world, endpoint=endpoint, status=bulk.MISSED)
    set_status(world, endpoint, "disabled")
    assert count(world, endpoint) == Count(0, 6, 0, False)
    assert work(world) == bulk.Piece(id, 0)
    assert shown(world, id).status == "finished"


@pytest.mark.parametrize(
    ("workspace", "endpoint", "code"),
    [(None, "ep_" + "0" * 26, "not_found"), ("ws_other", None, "not_found"), (None, "", "invalid")],
)
def test_it_needs_an_endpoint_of_the_workspace(
    world: World, workspace: str | None, endpoint: str | None, code: str
) -> None:
    own = world.endpoint(URL)
    wanted = own if endpoint is None else endpoint or None
    with pytest.raises(Problem) as caught:
        count(world, wanted, workspace)  # type: ignore[arg-type]
    assert caught.value.code == code
