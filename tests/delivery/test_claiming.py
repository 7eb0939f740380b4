"""A claim finds what is due by its indexes, however the table looks."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from app.core.webhook.fairness import Slots
from app.database.connection import Database
from app.delivery import claims
from tests.delivery.world import World

BY_INDEX = {"Index Scan", "Index Only Scan", "WorkTable Scan", "CTE Scan", "Function Scan", "Subquery Scan"}


def scanned(plan: dict[str, Any]) -> set[str]:
    """Every kind of scan in a plan."""
    kinds = {str(plan["Node Type"])} if "Scan" in str(plan["Node Type"]) else set()
    return kinds.union(*(scanned(part) for part in plan.get("Plans", [])))


@pytest.mark.parametrize("filled", [False, True])
def test_a_claim_reads_no_table_from_end_to_end(world: World, filled: bool) -> None:
    world.endpoint("http://127.0.0.1:1/", rate_limit=100)
    world.publish(3000 if filled else 1)
    database = Database(world.settings.database_url, options=claims.DATABASE_OPTIONS)
    asked: list[tuple[str, Any]] = []
    event.listen(database.engine, "before_cursor_execute", lambda *seen: asked.append((seen[2], seen[3])))
    with database.begin() as connection:
        assert claims.Claimer(lease_seconds=60).claim(connection, Slots()).rows
    if not filled:
        world.sql("DELETE FROM deliveries")
        world.sql("DELETE FROM due")
    plans = []
    with database.begin() as connection:
        for statement, values in list(asked):
            explained = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).scalar_one()
            plans.append((json.loads(explained) if isinstance(explained, str) else explained)[0]["Plan"])
    database.close()
    assert sum("FROM due" in statement for statement, _ in asked) >= 2  # which endpoints, and which rows
    assert set.union(*map(scanned, plans)) <= BY_INDEX


def test_a_claim_takes_the_oldest_due_rows_first_and_none_that_is_not_due(world: World) -> None:
    world.endpoint("http://127.0.0.1:1/")
    world.publish(6)
    ids = [row.id for row in world.deliveries()]
    for age, id in enumerate(ids):
        world.sql(f"UPDATE due SET due_at = now() - interval '{age} s' WHERE delivery_id = %(id)s", id=id)
    world.sql("UPDATE due SET due_at = now() + interval '1 minute' WHERE delivery_id = %(id)s", id=ids[3])
    with world.database.begin() as connection:
        claim = claims.Claimer(lease_seconds=60).claim(connection, Slots())
    assert {row.id for row in claim.rows} == {ids[5], ids[4], ids[2], ids[1]}
    assert claim.more
    leased = world.one("SELECT max(leased_until) - now() FROM due")
    assert timedelta(seconds=58) < leased <= timedelta(seconds=60)


def test_a_row_that_another_transaction_holds_is_passed_over(world: World) -> None:
    world.endpoint("http://127.0.0.1:1/")
    world.publish(3)
    with world.database.begin() as one, world.database.begin() as two:
        first = claims.Claimer(lease_seconds=60).claim(one, Slots())
        assert len(first.rows) == 3
        assert claims.Claimer(lease_seconds=60).claim(two, Slots()).rows == []


def test_an_event_body_is_fetched_whatever_week_it_is_from(world: World) -> None:
    world.endpoint("http://127.0.0.1:1/")
    world.publish(2)
    # One row refers to an event of a week whose partition is gone: retention has dropped it.
    victim = world.deliveries()[0].id
    for table, id in (("deliveries", "id"), ("due", "delivery_id")):
        world.sql(f"UPDATE {table} SET event_created_at = now() - interval '300 days' WHERE {id} = %(id)s", id=victim)
    with world.database.begin() as connection:
        claim = claims.Claimer(lease_seconds=60).claim(connection, Slots())
    assert len(claim.rows) == 1
    assert world.one("SELECT reason FROM deliveries WHERE id = %(id)s", id=victim).startswith("event_expired")
