"""A claim finds what is due by its indexes, however the table looks."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from tests.delivery.world import World

# Rows that this transaction has read from tables, from end to end and by index. (`due` is read once to see what is due
# and once to lease it.)
READ = """
SELECT relname, seq_scan, coalesce(idx_tup_fetch, 0) AS fetched FROM pg_stat_xact_user_tables
WHERE seq_scan > 0 OR idx_tup_fetch > 0
"""
PLACES = {
    "free": {"fast": 384, "new": 64, "slow": 64},
    "rooms": {"fast": 32, "new": 4, "slow": 1},
    "known": {},
    "answering": [],
    "crew": "pool",
    "most_rows": 600,
    "most_endpoints": 256,
}


def ask(connection: Connection, outcomes: list[dict[str, Any]] | None = None, **asked: Any) -> list[Any]:
    """Call the function that drains call; the rows that were claimed."""
    question = {"token": str(uuid.uuid4()), "lease_seconds": 60, **PLACES, **asked}
    values = (None if outcomes is None else json.dumps(outcomes), 1, json.dumps(question))
    return list(connection.exec_driver_sql("SELECT * FROM drain_round(%s::json, %s, %s::jsonb)", values))[1:]


@pytest.mark.parametrize("walking", [False, True])
@pytest.mark.parametrize("filled", [False, True])
def test_a_round_reads_no_table_from_end_to_end(world: World, filled: bool, walking: bool) -> None:
    world.endpoint("http://127.0.0.1:1/", rate_limit=100)
    world.publish(3000 if filled else 1)
    with world.database.begin() as connection:
        rows = ask(connection, walking=walking)
        assert len(rows) == (4 if filled else 1)
        ended = {
            **{"n": 0, "attempt_id": "att_x", "outcome": "success", "status": "delivered", "trigger": "schedule"},
            **{"resent": False, "by_us": False, "doubtful": True, "duration_ms": 1, "endpoint_id": rows[0].endpoint_id},
            **{
                "delivery_id": rows[0].delivery_id,
                "created_at": rows[0].created_at.isoformat(),
                "workspace_id": "ws_x",
            },
            **{"attempt_at": rows[0].created_at.isoformat(), "started_at": rows[0].created_at.isoformat()},
        }
        ask(connection, [ended], walking=walking)
        read = {row.relname: row for row in connection.exec_driver_sql(READ)}
    assert {name for name, row in read.items() if row.seq_scan} == set()
    assert sum(row.fetched for row in read.values()) < 2 * 600 + 100
    assert world.statuses()["delivered"] == 1


def test_a_claim_takes_the_oldest_due_rows_first_and_none_that_is_not_due(world: World) -> None:
    world.endpoint("http://127.0.0.1:1/")
    world.publish(6)
    ids = [row.id for row in world.deliveries()]
    for age, id in enumerate(ids):
        world.sql(f"UPDATE due SET due_at = now() - interval '{age} s' WHERE delivery_id = %(id)s", id=id)
    world.sql("UPDATE due SET due_at = now() + interval '1 minute' WHERE delivery_id = %(id)s", id=ids[3])
    with world.database.begin() as connection:
        assert [row.delivery_id for row in ask(connection)] == [ids[5], ids[4], ids[2], ids[1]]
    leased = world.one("SELECT max(leased_until) - now() FROM due")
    assert timedelta(seconds=58) < leased <= timedelta(seconds=60)


def test_a_row_that_another_transaction_holds_is_passed_over(world: World) -> None:
    world.endpoint("http://127.0.0.1:1/")
    world.publish(3)
    with world.database.begin() as one, world.database.begin() as two:
        assert len(ask(one)) == 3
        assert ask(two) == []


def test_an_event_body_is_fetched_whatever_week_it_is_from(world: World) -> None:
    for _ in range(2):  # so that a claim takes two rows
        world.endpoint("http://127.0.0.1:1/")
    world.publish()
    # One row refers to an event of a week whose partition is gone: retention has dropped it.
    victim = world.deliveries()[0].id
    for table, id in (("deliveries", "id"), ("due", "delivery_id")):
        world.sql(f"UPDATE {table} SET event_created_at = now() - interval '300 days' WHERE {id} = %(id)s", id=victim)
    assert len(world.drain().run_once().rows) == 1
    assert world.one("SELECT reason FROM deliveries WHERE id = %(id)s", id=victim).startswith("event_expired")
