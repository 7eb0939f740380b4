"""What a claim costs does not depend on how long the planner believes the queue to be.

When a queue that was long is empty, a vacuum writes down that its table has no rows in many pages. Until the next one,
up to a minute later, the planner expects one row in it, however many come.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Connection

from app.core.event.drafts import Draft
from app.core.webhook.lanes import STREAM
from app.delivery import cancelling, deliveries, endpoints, lane_rows
from tests.delivery.test_claiming import ask
from tests.delivery.test_lanes import TOKEN, outcome
from tests.delivery.world import World

NOWHERE = "http://127.0.0.1:1/"
BACKLOG = 3_000
STREAMS = 300
SOME = 50  # rows of the endpoint that is asked about, where others have the backlog
# Rows that this connection has read of the queue and of events.
READ = """
SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::int FROM pg_stat_xact_user_tables
WHERE relname = 'due' OR relname LIKE 'events%%'
"""
# A row that is claimed and recorded is read a dozen times: to be found, to be locked, to be changed.
READ_EACH = 40
PUT_AWAY = 3_000  # rows that one claim may put away


def endpoint_of(world: World, type: str, **options: Any) -> str:
    """An endpoint that gets the events of one type."""
    return world.endpoint(NOWHERE, event_types=[f"call.{type}"], **options)


def publish(world: World, count: int, type: str, streams: int = STREAMS) -> None:
    """Events of many streams for the endpoint of a type."""
    for start in range(0, count, 1000):
        names = [f"{type}{number % streams}" for number in range(start, min(count, start + 1000))]
        world.accept([Draft("call", name, f"call.{type}", "{}", {}, None, None) for name in names])


def with_backlog(world: World) -> str:
    """An endpoint that keeps order, with much before it."""
    endpoint = endpoint_of(world, "much", order=STREAM)
    publish(world, BACKLOG, "much")
    return endpoint


def believe_it_empty(world: World) -> None:
    """As a vacuum leaves it that has found nothing."""
    world.sql("ALTER TABLE due SET (autovacuum_enabled = false)")
    world.sql("UPDATE pg_class SET reltuples = 0, relpages = 3000 WHERE oid = 'due'::regclass")


def reads(connection: Connection) -> int:
    return int(connection.exec_driver_sql(READ).scalar_one())


@contextmanager
def reading_fewer_than(most: int, connection: Connection) -> Iterator[None]:
    """What happens inside reads fewer rows than that."""
    before = reads(connection)
    yield
    assert reads(connection) - before < most


class Found(NamedTuple):
    """What one round has claimed, and how many rows it has read for that."""

    rows: list[Any]
    read: int


def round_of(connection: Connection, done: list[dict[str, Any]] | None, *, walking: bool) -> Found:
    before = reads(connection)
    rows = ask(connection, done, token=TOKEN, walking=walking, most_rows=50)
    return Found(rows, reads(connection) - before)


@pytest.mark.parametrize("walking", [False, True])
@pytest.mark.parametrize("options", [{}, {"order": STREAM}, {"rate_limit": 100}])
def test_of_what_waits_a_claim_reads_what_it_takes(world: World, options: dict[str, Any], walking: bool) -> None:
    endpoint_of(world, "much", **options)
    publish(world, BACKLOG, "much")
    believe_it_empty(world)
    with world.database.begin() as connection:
        first = round_of(connection, None, walking=walking)  # puts away what is not the first of its lane, once
        assert first.read < READ_EACH * (len(first.rows) + PUT_AWAY)
        rows, claimed, read = first.rows, 0, 0
        for _ in range(4):
            done = [outcome(row, n, "delivered", TOKEN) for n, row in enumerate(rows)]
            found = round_of(connection, done or None, walking=walking)
            rows, claimed, read = found.rows, claimed + len(found.rows), read + found.read
    assert claimed > 0
    assert read < READ_EACH * claimed + 4 * 100


@pytest.mark.parametrize("order", [{}, {"order": STREAM}])
def test_a_claim_of_batches_reads_what_it_takes(world: World, order: dict[str, Any]) -> None:
    with_backlog(world)
    endpoint = endpoint_of(world, "some", batch={"max_events": 100, "max_wait_ms": 1000}, **order)
    publish(world, 4 * SOME, "some", streams=2)
    world.sql("UPDATE due SET due_at = now() + interval '1 hour' WHERE endpoint_id <> %(e)s", e=endpoint)
    believe_it_empty(world)
    with world.database.begin() as connection, reading_fewer_than(READ_EACH * 4 * SOME, connection):
        rows = ask(connection, walking=True, most_rows=50, batches=1_000_000, token=TOKEN)
    assert len(rows) >= SOME


def test_a_row_that_travels_alone_is_found_among_the_oldest(world: World) -> None:
    endpoint = with_backlog(world)
    world.sql(
        "UPDATE due SET claims = 2, due_at = due_at - interval '1 minute'"
        " WHERE delivery_id = (SELECT delivery_id FROM due WHERE seq = 1 LIMIT 1)"
    )
    believe_it_empty(world)
    with world.database.begin() as connection, reading_fewer_than(READ_EACH * 32, connection):
        (row,) = connection.exec_driver_sql(
            "SELECT t.claims FROM unnest(take_suspicious(%(ids)s::text[], %(token)s::uuid, '1 minute')) AS t",
            {"ids": [endpoint], "token": TOKEN},
        ).all()
    assert row.claims == 3


def test_setting_rows_aside_reads_them_alone(world: World) -> None:
    with_backlog(world)
    believe_it_empty(world)
    first = [row.delivery_id for row in world.sql("SELECT delivery_id FROM due WHERE seq = 1 LIMIT 20")]
    with world.database.begin() as connection, reading_fewer_than(READ_EACH * 20, connection):
        assert sorted(lane_rows.set_aside(connection, first)) == sorted(first)


def test_beginning_to_keep_order_reads_what_waits_for_the_endpoint(world: World) -> None:
    endpoint_of(world, "much")
    publish(world, BACKLOG, "much")
    endpoint = endpoint_of(world, "some")
    publish(world, SOME, "some")
    world.sql("ANALYZE")
    with world.database.session() as session, reading_fewer_than(READ_EACH * SOME, session.connection()):
        endpoints.change_endpoint(session, world.settings, world.workspace_id, endpoint, {"order": STREAM})
    assert world.one("SELECT count(*) FROM due WHERE stream_id IS NOT NULL") == SOME


def test_putting_rows_into_lanes_reads_them_alone(world: World) -> None:
    with_backlog(world)
    ordered = endpoint_of(world, "some")
    publish(world, SOME, "some")
    ids = [row.id for row in world.deliveries(ordered)]
    believe_it_empty(world)
    with world.database.begin() as connection, reading_fewer_than(READ_EACH * SOME, connection):
        connection.exec_driver_sql("SELECT join_lanes(%(ids)s::text[])", {"ids": ids})
    assert world.one("SELECT count(*) FROM due WHERE endpoint_id = %(e)s AND stream_id IS NOT NULL", e=ordered) == SOME


def test_cancelling_reads_what_it_cancels_alone(world: World) -> None:
    with_backlog(world)
    ended = endpoint_of(world, "some")
    publish(world, SOME, "some")
    believe_it_empty(world)
    with world.database.begin() as connection, reading_fewer_than(READ_EACH * SOME, connection):
        assert cancelling.cancel_pending(connection, ended, deliveries.ENDPOINT_DELETED) == SOME
    assert world.statuses(ended) == {"cancelled": SOME}
