"""A claim finds what is due by its indexes, however the table looks."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from app.core.webhook.fairness import Slots
from app.database.connection import Database
from app.delivery import claims
from tests.delivery.world import World


def scanned(plan: dict[str, object]) -> list[str]:
    """Every kind of scan in a plan."""
    kinds = [str(plan["Node Type"])] if "Scan" in str(plan["Node Type"]) else []
    for part in plan.get("Plans", []):  # type: ignore[attr-defined]
        kinds += scanned(part)
    return kinds


@pytest.mark.parametrize("filled", [False, True])
def test_the_walk_and_the_pick_read_no_table_from_end_to_end(world: World, filled: bool) -> None:
    endpoint_id = world.endpoint("http://127.0.0.1:1/")
    if filled:
        world.publish(3000)
    database = Database(world.settings.database_url, options=claims.DATABASE_OPTIONS)
    shift = timedelta(0)
    statements = [
        (claims._WALK, {"after": "", "most": 256, "ahead": shift}),
        (claims._PICK, {"ids": [endpoint_id], "most": [5], "ahead": shift}),
    ]
    with database.begin() as connection:
        for statement, values in statements:
            found = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", values).scalar_one()
            plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
            allowed = {"Index Scan", "Index Only Scan", "WorkTable Scan", "CTE Scan", "Function Scan", "Subquery Scan"}
            assert set(scanned(plan)) <= allowed
    database.close()


def test_a_claim_takes_the_oldest_due_rows_first_and_none_that_is_not_due(world: World) -> None:
    world.endpoint("http://127.0.0.1:1/")
    world.publish(6)
    ids = [row.id for row in world.deliveries()]
    for age, id in enumerate(ids):
        world.sql(f"UPDATE deliveries SET due_at = now() - interval '{age} s' WHERE id = %(id)s", id=id)
    world.sql("UPDATE deliveries SET due_at = now() + interval '1 minute' WHERE id = %(id)s", id=ids[3])
    with world.database.begin() as connection:
        claim = claims.Claimer(lease_seconds=60).claim(connection, Slots())
    assert {row.id for row in claim.rows} == {ids[5], ids[4], ids[2], ids[1]}
    assert claim.more
    leased = world.one("SELECT max(due_at) - now() FROM deliveries")
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
    world.sql("UPDATE deliveries SET event_created_at = now() - interval '300 days' WHERE id = %(id)s", id=victim)
    with world.database.begin() as connection:
        claim = claims.Claimer(lease_seconds=60).claim(connection, Slots())
    assert len(claim.rows) == 1
    assert world.one("SELECT reason FROM deliveries WHERE id = %(id)s", id=victim).startswith("event_expired")
