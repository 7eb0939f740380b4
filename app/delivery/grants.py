"""Grants: how many rows each endpoint may have in one claim.

Which endpoints have something due is asked of the database, in steps that jump over all further rows of an endpoint:
the answer costs the same however much one of them has waiting. How the free places are shared among them is decided in
core.webhook.fairness. An endpoint with a rate limit gets what its limit allows now; its row stays locked until the
claim is over, so that two drains never spend the same allowance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from app.core.webhook import fairness
from app.core.webhook.fairness import LANES, Lane, Slots
from app.delivery.deliveries import IS_DUE

# Endpoints that one claim looks at; the next goes on where it stopped. About 10 ms when all of them have rows due.
MOST_ENDPOINTS = 256


class DueEndpoints:
    """Goes round the endpoints that have something due, in id order; a drain keeps one, so that each has its turn."""

    def __init__(self) -> None:
        self._last_id = ""

    def next(self, connection: Connection) -> tuple[list[Row[Any]], bool]:
        """The endpoints that follow those of the last call, and whether these are all that have something due.

        A row has endpoint_id, status (None: deleted), consecutive_failures, last_outcome and rate_limit.
        """
        endpoints = self._walk(connection, self._last_id, MOST_ENDPOINTS)
        complete = len(endpoints) < MOST_ENDPOINTS
        if complete and self._last_id:  # the end is reached: on from the start, up to the first one of this call
            from_start = self._walk(connection, "", MOST_ENDPOINTS - len(endpoints))
            known = {row.endpoint_id for row in endpoints}
            earlier = [row for row in from_start if row.endpoint_id not in known]
            complete = len(earlier) < len(from_start) or len(endpoints) + len(from_start) < MOST_ENDPOINTS
            endpoints += earlier
        self._last_id = "" if complete else endpoints[-1].endpoint_id
        return endpoints, complete

    def _walk(self, connection: Connection, after_id: str, most: int) -> list[Row[Any]]:
        return list(connection.exec_driver_sql(_DUE_ENDPOINTS, {"after": after_id, "most": most}))


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate-limited endpoint's numbers: the database's time, the theoretical arrival time, transfers a second."""

    now: float
    tat: float | None
    per_second: int

    def allow(self, want: int) -> tuple[int, float]:
        """How many of `want` transfers may start now, and the theoretical arrival time after them."""
        return fairness.gcra(self.tat, self.now, self.per_second, want)

    def wait_seconds(self, allowed: int) -> float:
        """How long until one more may start, when `allowed` start now."""
        return fairness.wait_seconds(self.allow(allowed)[1], self.now, self.per_second)


@dataclass(frozen=True, slots=True)
class Grants:
    """What one claim may take.

    rows: the most rows of each endpoint, by its id; endpoints that may have none are left out.
    rates: of the rate-limited endpoints that were asked about, whose rows are locked now.
    wait_seconds: when a rate limit allows the next row that it held back, None if it held none back.
    """

    rows: dict[str, int]
    lanes: dict[str, Lane]
    rates: dict[str, Rate]
    wait_seconds: float | None


def grant(
    connection: Connection, endpoints: Sequence[Row[Any]], slots: Slots, *, complete: bool, fast_only: bool
) -> Grants:
    """Share the free places among enabled endpoints that have something due.

    complete: whether these are all. fast_only: nothing for endpoints of the slow lane.
    """
    lanes = {row.endpoint_id: lane_of(row, slots) for row in endpoints}
    shares = _shares(lanes, slots, complete=complete, fast_only=fast_only)
    limited = [row.endpoint_id for row in endpoints if row.rate_limit is not None and row.endpoint_id in shares]
    rates = _lock_rates(connection, limited)
    waits: list[float] = []
    for endpoint_id in limited:
        rate = rates.get(endpoint_id)
        allowed = rate.allow(shares[endpoint_id])[0] if rate else 0
        if allowed < shares[endpoint_id]:
            # A rate that is not in the answer is locked by another drain, which is claiming for it now.
            waits.append(rate.wait_seconds(allowed) if rate else fairness.BURST_SECONDS)
        shares[endpoint_id] = allowed
    rows = {endpoint_id: share for endpoint_id, share in shares.items() if share}
    return Grants(rows, lanes, rates, min(waits, default=None))


def spend(connection: Connection, rates: dict[str, Rate], claimed: Counter[str]) -> None:
    """Write down what a claim has used of the rate limits. claimed: rows by endpoint id."""
    tats = {endpoint_id: rate.allow(claimed[endpoint_id])[1] for endpoint_id, rate in rates.items()}
    if tats:
        connection.exec_driver_sql(_SPEND_RATES, {"ids": list(tats), "tats": list(tats.values())})


def lane_of(endpoint: Row[Any], slots: Slots) -> Lane:
    """By what its row says, and by what this drain has seen since."""
    if slots.hangs(endpoint.endpoint_id):
        return "slow"
    lane = fairness.lane(endpoint.consecutive_failures, endpoint.last_outcome)
    return "fast" if lane == "new" and slots.answers(endpoint.endpoint_id) else lane


def _shares(lanes: dict[str, Lane], slots: Slots, *, complete: bool, fast_only: bool) -> dict[str, int]:
    """How many of the free places each endpoint gets, without those that get none."""
    shares: dict[str, int] = {}
    for lane in LANES:
        if lane == "slow" and fast_only:
            continue
        asking = [endpoint_id for endpoint_id, its_lane in lanes.items() if its_lane == lane]
        rooms = [slots.room(endpoint_id, lane, crowded=not complete) for endpoint_id in asking]
        divided = fairness.divide(rooms, slots.free(lane))
        shares.update({endpoint_id: share for endpoint_id, share in zip(asking, divided, strict=True) if share})
    return shares


def _lock_rates(connection: Connection, endpoint_ids: Sequence[str]) -> dict[str, Rate]:
    if not endpoint_ids:
        return {}
    return {
        row.id: Rate(float(row.now), row.rate_tat, row.rate_limit)
        for row in connection.exec_driver_sql(_LOCK_RATES, {"ids": list(endpoint_ids)})
    }


# The next endpoints in id order that have a row due, with what decides their lanes. One step of the recursion jumps to
# the next endpoint, over all other rows of the last one.
_DUE_ENDPOINTS = f"""
WITH RECURSIVE walk (endpoint_id, step) AS (
  (SELECT endpoint_id, 1 FROM due WHERE {IS_DUE} AND endpoint_id > %(after)s::text
   ORDER BY endpoint_id, due_at LIMIT 1)
  UNION ALL
  SELECT later.endpoint_id, walk.step + 1 FROM walk CROSS JOIN LATERAL (
    SELECT endpoint_id FROM due WHERE {IS_DUE} AND endpoint_id > walk.endpoint_id
    ORDER BY endpoint_id, due_at LIMIT 1
  ) AS later WHERE walk.step < %(most)s::int
)
SELECT walk.endpoint_id, e.status, e.consecutive_failures, e.last_outcome, e.rate_limit
FROM walk LEFT JOIN endpoints e ON e.id = walk.endpoint_id
"""

# Keep other drains from spending these endpoints' rate limits until this transaction ends. Those that another drain
# holds are left out: it is claiming for them.
_LOCK_RATES = """
SELECT id, rate_limit, rate_tat, extract(epoch FROM now()) AS now FROM endpoints
WHERE id = ANY (%(ids)s::text[]) AND rate_limit IS NOT NULL FOR UPDATE SKIP LOCKED
"""

# Write back how far ahead of an even spacing the limited endpoints are after this claim.
_SPEND_RATES = """
UPDATE endpoints SET rate_tat = spent.tat
FROM unnest(%(ids)s::text[], %(tats)s::float8[]) AS spent (id, tat) WHERE endpoints.id = spent.id
"""
