"""Bulk retries: each delivery once, piece by piece, behind new events, through kills and cancels."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Row
from sqlalchemy.exc import OperationalError

from app.core import ids
from app.core.problem import Problem
from app.delivery import bulk, deliveries
from app.delivery.bulk import ENDPOINT_ROOM, PIECE, WINDOW, BulkFilters, Piece, choose
from app.settings import Settings
from tests.delivery.world import World
from workers import errands
from workers.bulk import BulkRetrying

URL = "http://127.0.0.1:1/"
# Deliveries that have ended, of an event that nobody needs to read.
ENDED = """
INSERT INTO deliveries (id, created_at, workspace_id, endpoint_id, event_id, event_created_at, event_type, status,
  reason, window_started_at, deadline_at, attempt_count, finished_at)
SELECT id, %(at)s, %(workspace)s, %(endpoint)s, %(event)s, %(at)s, %(type)s, %(status)s, 'x', %(at)s, %(at)s, 11, now()
FROM unnest(%(ids)s::text[]) AS id
"""


@dataclass(frozen=True)
class Candidate:
    id: str
    endpoint_id: str
    fits: bool = True
    created_at: int = 0


def candidates(*endpoints: str) -> list[Candidate]:
    return [Candidate(f"{number:03}", endpoint) for number, endpoint in enumerate(endpoints)]


def test_rows_are_taken_while_their_endpoints_have_room() -> None:
    chosen = choose(candidates("a", "b", "a", "a", "gone", "b"), {"a": ENDPOINT_ROOM - 2}, ["a", "b"])
    assert [id for id, _ in chosen.keys] == ["000", "001", "002", "005"]
    assert (chosen.last, chosen.passed_over) == ("005", True)


def test_a_piece_ends_where_it_is_full_and_looks_no_further() -> None:
    many = [Candidate(f"{number:04}", f"ep{number % 7}") for number in range(PIECE + 100)]
    chosen = choose(many, {}, [f"ep{number}" for number in range(7)])
    assert len(chosen.keys) == PIECE
    assert (chosen.last, chosen.passed_over) == (many[PIECE - 1].id, False)


def test_what_the_filters_do_not_let_in_is_looked_at_and_left() -> None:
    chosen = choose([Candidate("1", "a", fits=False), Candidate("2", "b")], {"b": ENDPOINT_ROOM}, ["a", "b"])
    assert (chosen.keys, chosen.last, chosen.passed_over) == ([], "2", True)
    assert choose([], {}, []) == bulk.Choice([], None, False)


def fail(
    world: World, endpoint: str, count: int, *, type: str = "call.a", status: str = "failed", ago: int = 0
) -> list[str]:
    """Deliveries that ended so, made so many seconds ago; their ids."""
    at = ids.truncate(world.now() - timedelta(seconds=ago))
    made = sorted(ids.make(ids.DELIVERY, at, os.urandom(ids.RANDOM_BYTES)) for _ in range(count))
    values = {"ids": made, "at": at, "workspace": world.workspace_id, "endpoint": endpoint, "type": type}
    with world.database.begin() as connection:
        event = ids.make(ids.EVENT, at, os.urandom(ids.RANDOM_BYTES))
        connection.exec_driver_sql(ENDED, {**values, "status": status, "event": event})
    return made


def order(world: World, **filters: Any) -> str:
    with world.database.begin() as connection:
        return bulk.order(connection, BulkFilters(world.workspace_id, **filters), "ana")


def work(world: World) -> Piece | None:
    with world.database.begin() as connection:
        return bulk.work(connection, window_seconds=3600)


def shown(world: World, id: str) -> Row[Any]:
    with world.database.begin() as connection:
        return bulk.find(connection, id, world.workspace_id)


def pending(world: World) -> set[str]:
    return {row.delivery_id for row in world.sql("SELECT delivery_id FROM due")}


def go_on(world: World) -> None:
    """As if a pause were over."""
    with world.database.begin() as connection:
        connection.exec_driver_sql("UPDATE bulk_retries SET resume_at = now()")


def test_everything_that_had_ended_is_pending_again_once(world: World) -> None:
    one, other = world.endpoint(URL), world.endpoint(URL)
    wanted = {*fail(world, one, 3), *fail(world, other, 2, status="cancelled")}
    fail(world, one, 2, status="delivered")
    id = order(world)
    assert shown(world, id).found == 5
    later = fail(world, one, 1)
    assert work(world) == Piece(id, 5)
    assert pending(world) == wanted
    assert not pending(world) & set(later)
    done = shown(world, id)
    assert (done.status, done.retried) == ("finished", 5)
    assert done.finished_at is not None
    assert work(world) is None
    row = world.sql("SELECT * FROM deliveries WHERE id = ANY (%(ids)s)", ids=sorted(wanted))[0]
    assert (row.status, row.trigger, row.attempt_count, row.window_attempts) == ("pending", "recover", 11, 0)


def test_what_is_pending_already_is_not_reset_and_what_fails_again_is_not_taken_twice(world: World) -> None:
    first, second = fail(world, world.endpoint(URL), 2)
    id = order(world)
    with world.database.session() as session:
        deliveries.retry_delivery(session, world.workspace_id, first, window_seconds=7)
    before = world.sql("SELECT * FROM due")
    assert work(world) == Piece(id, 1)
    assert world.sql("SELECT * FROM due WHERE delivery_id = %(id)s", id=first) == before
    for one in (first, second):
        world.end("failed", one)
    with world.database.begin() as connection:
        connection.exec_driver_sql("UPDATE bulk_retries SET status = 'running', cursor = NULL, finished_at = NULL")
    assert work(world) == Piece(id, 0)
    assert pending(world) == set()


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, 10),
        ({"status": "failed"}, 8),
        ({"status": "cancelled"}, 2),
        ({"event_type": "call.*"}, 6),
        ({"event_type": "bot.joined"}, 4),
        ({"endpoint": "one"}, 8),
        ({"endpoint": "other"}, 2),
        ({"since": 30}, 7),
        ({"until": 30}, 3),
        ({"status": "failed", "endpoint": "one", "event_type": "call.a", "since": 30}, 1),
    ],
)
def test_filters_let_in_what_the_dry_run_counts(world: World, filters: dict[str, Any], expected: int) -> None:
    endpoints = {"one": world.endpoint(URL), "other": world.endpoint(URL)}
    fail(world, endpoints["one"], 1)
    fail(world, endpoints["one"], 4, type="bot.joined")
    fail(world, endpoints["one"], 3, ago=60)
    fail(world, endpoints["other"], 2, status="cancelled")
    now = world.now()
    given = {
        name: endpoints[value]
        if name == "endpoint"
        else now - timedelta(seconds=value)
        if type(value) is int
        else value
        for name, value in filters.items()
    }
    asked = BulkFilters(world.workspace_id, **given)
    with world.database.begin() as connection:
        found = bulk.count(connection, asked)
    assert (found.ready, found.skipped, found.more) == (expected, 0, False)
    assert pending(world) == set()
    order(world, **given)
    piece = work(world)
    assert piece is not None
    assert piece.retried == expected == len(pending(world))
    assert BulkFilters.read(asked.workspace, json.loads(asked.stored())) == asked


def test_endpoints_that_are_disabled_or_deleted_and_other_workspaces_are_left_out(world: World) -> None:
    enabled, disabled = world.endpoint(URL), world.endpoint(URL)
    fail(world, enabled, 2)
    fail(world, disabled, 3)
    fail(world, "ep_" + "0" * ids.LENGTH, 4)
    world.change(disabled, status="disabled")
    with world.database.begin() as connection:
        assert bulk.count(connection, BulkFilters(world.workspace_id)) == bulk.Count(2, 7, 1, False)
        assert bulk.count(connection, BulkFilters("ws_" + "0" * ids.LENGTH)).ready == 0
    id = order(world)
    assert work(world) == Piece(id, 2)
    assert shown(world, id).status == "finished"


def test_no_endpoint_is_given_more_than_it_has_room_for_and_the_rest_has_its_turn_later(world: World) -> None:
    crowded, free = world.endpoint(URL), world.endpoint(URL)
    fail(world, crowded, ENDPOINT_ROOM + 20, ago=5)
    fail(world, free, 10)
    id = order(world)
    assert work(world) == Piece(id, PIECE)
    assert work(world) == Piece(id, 10)
    assert len(pending(world)) == ENDPOINT_ROOM + 10
    assert work(world) == Piece(id, 0)
    assert work(world) is None, "it rests before it looks again"
    with world.database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM due")
        connection.exec_driver_sql("UPDATE deliveries SET status = 'delivered' WHERE status = 'pending'")
    go_on(world)
    assert work(world) == Piece(id, 20)
    done = shown(world, id)
    assert (done.status, done.retried) == ("finished", ENDPOINT_ROOM + 30)


def test_a_piece_that_is_killed_has_done_nothing_and_is_done_by_the_next(world: World) -> None:
    fail(world, world.endpoint(URL), 3)
    id = order(world)
    with world.database.begin() as connection:
        assert bulk.work(connection, window_seconds=3600) == Piece(id, 3)
        connection.rollback()
    assert pending(world) == set()
    assert work(world) == Piece(id, 3)


def test_two_workers_never_do_the_same_order_at_once_and_orders_take_turns(world: World) -> None:
    fail(world, world.endpoint(URL), 1)
    first, second = order(world, status="failed"), order(world)
    with world.database.begin() as connection, world.database.begin() as other:
        assert bulk.work(connection, window_seconds=3600) == Piece(first, 1)
        assert other.exec_driver_sql(bulk.TAKE).one().id == second
    assert work(world) == Piece(second, 0)


def test_nothing_is_done_for_a_workspace_that_is_being_deleted(world: World) -> None:
    fail(world, world.endpoint(URL), 1)
    id = order(world)
    with world.database.begin() as connection:
        connection.exec_driver_sql("SELECT FROM workspaces FOR UPDATE")
        assert work(world) is None
    assert pending(world) == set()
    assert work(world) == Piece(id, 1)
    id = order(world)
    with world.database.begin() as connection, world.database.begin() as other:
        assert bulk.work(connection, window_seconds=3600) == Piece(id, 0)
        with pytest.raises(OperationalError, match="workspaces"):
            other.exec_driver_sql("SELECT FROM workspaces FOR UPDATE NOWAIT")
        other.rollback()


def test_a_cancelled_order_goes_no_further(world: World) -> None:
    endpoint = world.endpoint(URL)
    fail(world, endpoint, WINDOW + 10)
    id = order(world)
    assert work(world) == Piece(id, PIECE)
    with world.database.begin() as connection:
        bulk.cancel(connection, id, world.workspace_id)
    assert work(world) is None
    assert shown(world, id).status == "cancelled"
    assert len(pending(world)) == PIECE
    with world.database.begin() as connection:
        bulk.cancel(connection, id)
    assert shown(world, id).status == "cancelled"


def test_only_so_many_orders_run_at_once(world: World) -> None:
    for _ in range(bulk.MOST_RUNNING):
        order(world)
    with pytest.raises(Problem) as caught:
        order(world)
    assert caught.value.code == "too_many"


def test_the_worker_begins_when_there_is_an_order_and_ends_when_all_is_done(world: World, settings: Settings) -> None:
    worker = BulkRetrying(settings)
    with world.database.alone() as connection:
        assert not errands.run(connection)
    assert "bulk-retries" not in {thread.name for thread in threading.enumerate()}
    fail(world, world.endpoint(URL), PIECE + 1)
    id = order(world)
    with world.database.alone() as connection:
        assert errands.run(connection)
    for _ in range(2):
        worker.begin()
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "bulk-retries")
    thread.join(30)
    worker.stop()
    assert len(pending(world)) == ENDPOINT_ROOM
    assert shown(world, id).retried == ENDPOINT_ROOM
