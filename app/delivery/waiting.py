"""What waits to be delivered, for people's pages: the one place where those read due times and leases.

Counts stop at a bound, so that a long backlog does not make the page that shows it slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from app.core import ids

COUNTED = 100_000  # a longer backlog is shown as this many and more
COUNTED_EACH = 1_000  # for one endpoint

# How many deliveries are pending and how many of them due, and for how many seconds the oldest has been due.
BACKLOG = f"""
SELECT
  (SELECT count(*) FROM (SELECT FROM deliveries WHERE status = 'pending' LIMIT {COUNTED}) AS p) AS pending,
  (SELECT count(*) FROM (SELECT FROM deliveries WHERE status = 'pending' AND due_at <= now() LIMIT {COUNTED}) AS d)
    AS due,
  (SELECT extract(epoch FROM now() - min(due_at))::float FROM deliveries WHERE status = 'pending' AND due_at <= now())
    AS oldest_due_seconds
"""

# How many deliveries wait for each of some endpoints.
BY_ENDPOINT = f"""
SELECT asked.id, (SELECT count(*) FROM (
    SELECT FROM deliveries d WHERE d.status = 'pending' AND d.endpoint_id = asked.id LIMIT {COUNTED_EACH}
  ) AS counted) AS waiting
FROM unnest(%(ids)s::text[]) AS asked (id)
"""

# When some pending deliveries are due, and whether one is being sent at the moment. Their times name the partitions.
NEXT = """
SELECT id, due_at, lease_token IS NOT NULL AND due_at > now() AS sending FROM deliveries
WHERE id = ANY (%(ids)s::text[]) AND created_at = ANY (%(times)s::timestamptz[]) AND status = 'pending'
"""

# The newest pending deliveries, as ids with their times.
PENDING_IDS = "SELECT id, created_at FROM deliveries WHERE status = 'pending' ORDER BY id DESC LIMIT %(window)s"


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits for all endpoints together. oldest_due_seconds: None when nothing is due."""

    pending: int
    due: int
    oldest_due_seconds: float | None


@dataclass(frozen=True, slots=True)
class NextAttempt:
    """When a pending delivery is attempted next. sending: an attempt is being made; due_at is then the lease's end."""

    due_at: datetime
    sending: bool


def backlog(connection: Connection) -> Backlog:
    """What waits now."""
    return Backlog(*connection.exec_driver_sql(BACKLOG).one())


def waiting_for(connection: Connection, endpoint_ids: Sequence[str]) -> dict[str, int]:
    """How many deliveries wait for each endpoint, COUNTED_EACH at most."""
    if not endpoint_ids:
        return {}
    return {row.id: row.waiting for row in connection.exec_driver_sql(BY_ENDPOINT, {"ids": list(endpoint_ids)})}


def next_attempts(connection: Connection, delivery_ids: Sequence[str]) -> dict[str, NextAttempt]:
    """The next attempts of those of these deliveries that are pending."""
    if not delivery_ids:
        return {}
    values = {"ids": list(delivery_ids), "times": sorted({ids.created_at_of(id) for id in delivery_ids})}
    return {row.id: NextAttempt(row.due_at, row.sending) for row in connection.exec_driver_sql(NEXT, values)}
