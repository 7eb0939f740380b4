"""What the database's functions decide is what the pure core decides, case by case."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import pytest

from app.core.webhook import fairness, rate_limit
from app.core.webhook.fairness import Slots
from app.core.webhook.retry import Outcome
from app.core.webhook.shares import LANES
from app.delivery import grants
from tests.delivery.world import World

NUMBERS = [None, math.nan, math.inf, -math.inf, -1e300, 0.0, 3.0, 49.95, 50.0, 50.09, 50.3, 109.9, 110.1, 1000.0, 1e308]


def test_rate_limits_are_those_of_the_core(world: World) -> None:
    cases = list(itertools.product(NUMBERS, [1, 2, 3, 7, 10, 20, 33, 100, 2**31 - 1, 0, -1], [0, 1, 4, 32, 10_000]))
    rows = world.sql(
        "SELECT g.* FROM unnest(%(tats)s::float8[], %(rates)s::int[], %(wants)s::int[]) WITH ORDINALITY"
        " AS c (tat, rate, want, place) CROSS JOIN LATERAL gcra(c.tat, 50.0, c.rate, c.want) AS g ORDER BY c.place",
        tats=[tat for tat, _, _ in cases],
        rates=[rate for _, rate, _ in cases],
        wants=[want for _, _, want in cases],
    )
    for (tat, rate, want), row in zip(cases, rows, strict=True):
        granted, after = rate_limit.gcra(tat, 50.0, rate, want)
        assert (row.granted, row.next_tat) == (granted, pytest.approx(after)), (tat, rate, want)
        assert row.wait == pytest.approx(rate_limit.wait_seconds(after, 50.0, rate), abs=1e-6), (tat, rate, want)


def test_lanes_are_those_of_the_core(world: World) -> None:
    for failures, outcome, seen in itertools.product(
        [0, 1, 2, 3, 9], [None, *map(str, Outcome)], [None, "slow", "fast"]
    ):
        slots = Slots()
        if seen == "slow":
            slots.start("x", "ep", "fast", 0.0)
            slots.advance(5.0)
        if seen == "fast":
            slots.start("x", "ep", "fast", 0.0)
            slots.finish("x", 0.0, succeeded=True)
        lane = world.one("SELECT endpoint_lane(%(f)s, %(o)s, %(s)s)", f=failures, o=outcome, s=seen)
        assert lane == slots.lane("ep", failures, outcome), (failures, outcome, seen)


# Endpoints that ask, as (failures, last outcome, transfers in flight, rows that are due).
ASKING: list[list[tuple[int, str | None, int, int]]] = [
    [],
    [(0, "success", 0, 1)],
    [(9, "timeout", 0, 9)],
    [(0, None, 4, 9)],
    [(0, None, 0, 9)],
    [(0, None, 0, 9), (0, "success", 2, 9), (9, "timeout", 0, 9)],
    [(0, None, 4, 9), (9, "timeout", 1, 9)],
    [(0, "success", 0, 3)] * 40,
    [(0, None, 0, 4)] * 20,
    [(5, "timeout", 0, 4)] * 70,
    [*[(0, "success", 0, 9)] * 3, *[(5, "timeout", 0, 4)] * 70],
]


@pytest.mark.parametrize("asking", ASKING, ids=range(len(ASKING)))
@pytest.mark.parametrize("fast_only", [False, True])
def test_what_the_function_grants_is_what_the_core_would(
    world: World, asking: list[tuple[int, str | None, int, int]], fast_only: bool
) -> None:
    """When it leaves the decision to the core, the places are short."""
    slots, rows = Slots(), []
    for number, (failures, outcome, in_flight, due) in enumerate(asking):
        id = world.endpoint("http://127.0.0.1:1/")
        values = {"id": id, "f": failures, "o": outcome}
        world.sql("UPDATE endpoints SET consecutive_failures = %(f)s, last_outcome = %(o)s WHERE id = %(id)s", **values)
        for transfer in range(in_flight):
            slots.start((number, transfer), id, fairness.lane(failures, outcome), 0.0)
        rows.append(
            {
                "endpoint_id": id,
                "consecutive_failures": failures,
                "last_outcome": outcome,
                "rows": due,
                "rate_limit": None,
            }
        )
    places = grants.places(slots, fast_only=fast_only)
    answer = world.sql(
        "SELECT * FROM share_places(%(ids)s::text[], %(counts)s::int[], %(rooms)s, %(known)s, %(free)s)",
        ids=[row["endpoint_id"] for row in rows],
        counts=[row["rows"] for row in rows],
        **{name: json.dumps(value) for name, value in places.items() if name != "answering"},
    )[0]
    expected = dict(grants.grant(rows, slots, lanes=places["free"]).rows)
    if answer.granted is None:
        lanes: dict[str, int] = dict.fromkeys(LANES, 0)
        for row in rows:
            lane = slots.lane(row["endpoint_id"], row["consecutive_failures"], row["last_outcome"])
            lanes[lane] += min(slots.room(row["endpoint_id"], lane), row["rows"])
        assert any(lanes[lane] > slots.ample(lane) for lane in places["free"])
        assert {row["endpoint_id"] for row in answer.asking} == {row["endpoint_id"] for row in rows}
    else:
        assert answer.granted == expected


def test_a_look_reads_nothing_below_the_low_water(world: World) -> None:
    world.endpoint("http://127.0.0.1:1/")
    world.publish(2)
    first = world.deliveries()[0].id
    world.sql("UPDATE due SET due_at = now() - interval '1 hour' WHERE delivery_id = %(id)s", id=first)
    looks: dict[str, Any] = {}
    for walking, low_water in itertools.product(["false", "true"], ["-infinity", "now() - interval '1 minute'"]):
        moment = low_water if "now" in low_water else f"'{low_water}'"
        statement = f"SELECT * FROM look_for_due({moment}, {walking}, '', 600, 256, ARRAY[]::text[])"
        looks[walking + low_water] = world.sql(statement)[0]
    assert [look.counts for look in looks.values()] == [[2], [1], [None], [None]]
    assert {len(look.asking) for look in looks.values()} == {1}
