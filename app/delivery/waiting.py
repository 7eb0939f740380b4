"""What waits to be delivered, for people's pages and metrics: the one place where those read due times and leases.

Counts stop at a bound, so that a long backlog does not make the page that shows it slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from app.database.tables import PARKED
from app.delivery.deliveries import IS_DUE

COUNTED = 100_000  # a longer backlog is shown as this many and more
COUNTED_EACH = 1_000  # for one endpoint

# How many deliveries are pending and how many of them due, and for how many seconds the oldest has been due. A delivery
# that is being sent is not due before its lease ends.
BACKLOG = f"""
SELECT
  (SELECT count(*) FROM (SELECT FROM due LIMIT %(counted)s) AS p) AS pending,
  (SELECT count(*) FROM (SELECT FROM due WHERE {IS_DUE} LIMIT %(counted)s) AS d) AS due,
  (SELECT extract(epoch FROM now() - greatest(due_at, leased_until))::float FROM due WHERE {IS_DUE}
   ORDER BY due_at LIMIT 1) AS oldest_due_seconds
"""

# How many deliveries wait for each of some endpoints.
BY_ENDPOINT = f"""
SELECT asked.id, (SELECT count(*) FROM (
    SELECT FROM due WHERE due.endpoint_id = asked.id LIMIT {COUNTED_EACH}
  ) AS counted) AS waiting
FROM unnest(%(ids)s::text[]) AS asked (id)
"""

# When some pending deliveries are due, and whether one is being sent at the moment.
NEXT = f"""
SELECT delivery_id AS id, CASE WHEN due_at < '{PARKED}' THEN greatest(due_at, leased_until) END AS due_at,
  coalesce(leased_until > now(), false) AS sending
FROM due WHERE delivery_id = ANY (%(ids)s::text[])
"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for all endpoints together. oldest_due_seconds: None when nothing is due."""

    pending: int
    due: int
    oldest_due_seconds: float | None


@dataclass(frozen=True, slots=True)
class NextAttempt:
    """When a pending delivery is attempted next. sending: an attempt is being made; due_at is then the lease's end.
    due_at None: it waits for its turn behind others of its stream."""

    due_at: datetime | None
    sending: bool


def backlog(connection: Connection, counted: int = COUNTED) -> Backlog:
    """What waits now. counted: as how many a longer backlog shows."""
    return Backlog(*connection.exec_driver_sql(BACKLOG, {"counted": counted}).one())


def waiting_for(connection: Connection, endpoint_ids: Sequence[str]) -> dict[str, int]:
    """How many deliveries wait for each endpoint, COUNTED_EACH at most."""
    if not endpoint_ids:
        return {}
    return {row.id: row.waiting for row in connection.exec_driver_sql(BY_ENDPOINT, {"ids": list(endpoint_ids)})}


def next_attempts(connection: Connection, delivery_ids: Sequence[str]) -> dict[str, NextAttempt]:
    """The next attempts of those of these deliveries that are pending."""
    if not delivery_ids:
        return {}
    rows = connection.exec_driver_sql(NEXT, {"ids": list(delivery_ids)})
    return {row.id: NextAttempt(row.due_at, row.sending) for row in rows}
