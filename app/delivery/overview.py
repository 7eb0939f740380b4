"""How deliveries are doing across all workspaces, for the console's overview. Reads alone, each over a bounded span.

Ids begin with their rows' times, so a span is a range of a primary key; the time itself names the partitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row

from app.core import ids

MOST_FAILING = 50  # endpoints of one list; the worst are shown, and how many there are
MOST_CUSTOMERS = 20
COUNTED_ENDED = 50_000  # deliveries that ended badly, the newest, that a count by workspace looks at
_LOWEST = bytes(ids.RANDOM_BYTES)

# The attempts of a span in slots of equal length: how they came out and how long they took.
ATTEMPTS = """
SELECT floor(extract(epoch FROM created_at - %(since)s::timestamptz) / %(slot)s)::int AS slot,
  count(*) FILTER (WHERE outcome = 'success') AS success,
  count(*) FILTER (WHERE outcome = 'http_error') AS http_error,
  count(*) FILTER (WHERE outcome = 'timeout') AS timeout,
  count(*) FILTER (WHERE outcome NOT IN ('success', 'http_error', 'timeout')) AS other,
  percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms) AS p50,
  percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms) AS p95
FROM attempts WHERE id >= %(first)s AND created_at >= %(since)s GROUP BY 1
"""

# All attempts of a span together.
DURATIONS = """
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms),
  percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms)
FROM attempts WHERE id >= %(first)s AND created_at >= %(since)s
"""

# The events of a span in slots of equal length.
EVENTS = """
SELECT floor(extract(epoch FROM created_at - %(since)s::timestamptz) / %(slot)s)::int AS slot, count(*) AS events
FROM events WHERE id >= %(first)s AND created_at >= %(since)s GROUP BY 1
"""

# How many events came in since a time.
ACCEPTED = "SELECT count(*) FROM events WHERE id >= %(first)s AND created_at >= %(since)s"

# The endpoints whose last attempt failed, those in use first, then those that were disabled for it in the last days;
# each with its customer and its last attempt.
FAILING = f"""
SELECT e.id, e.url, e.status, e.disabled_reason, e.disabled_at, e.failing_since, e.consecutive_failures, e.last_outcome,
  e.workspace_id, w.name AS workspace_name, last.status_code, last.error, last.delivery_id
FROM endpoints e JOIN workspaces w ON w.id = e.workspace_id
LEFT JOIN LATERAL (
  SELECT a.status_code, a.error, a.delivery_id FROM attempts a
  WHERE a.endpoint_id = e.id AND a.created_at >= e.failing_since - interval '1 hour' ORDER BY a.id DESC LIMIT 1
) AS last ON true
WHERE e.failing_since IS NOT NULL
  AND (e.status = 'enabled' OR e.disabled_reason <> 'disabled_by_owner' AND e.disabled_at > now() - interval '7 days')
ORDER BY e.status DESC, e.consecutive_failures DESC, e.id LIMIT {MOST_FAILING}
"""

# How many endpoints fail, of those that are in use.
COUNT_FAILING = "SELECT count(*) FROM endpoints WHERE failing_since IS NOT NULL AND status = 'enabled'"

# The customers with most deliveries that ended without success in a span.
ENDED_BADLY = f"""
SELECT bad.workspace_id, w.name AS workspace_name, bad.failed, bad.cancelled, bad.newest
FROM (
  SELECT workspace_id, count(*) FILTER (WHERE status = 'failed') AS failed,
    count(*) FILTER (WHERE status = 'cancelled') AS cancelled, max(created_at) AS newest
  FROM (
    SELECT workspace_id, status, created_at FROM deliveries
    WHERE status IN ('failed', 'cancelled') AND id >= %(first)s AND created_at >= %(since)s
    ORDER BY id DESC LIMIT {COUNTED_ENDED}
  ) AS ended GROUP BY workspace_id ORDER BY count(*) DESC LIMIT {MOST_CUSTOMERS}
) AS bad JOIN workspaces w ON w.id = bad.workspace_id ORDER BY bad.failed + bad.cancelled DESC, bad.workspace_id
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """The attempts of one part of a span. p50, p95: milliseconds, None without attempts."""

    success: int = 0
    http_error: int = 0
    timeout: int = 0
    other: int = 0
    p50: int | None = None
    p95: int | None = None

    @property
    def count(self) -> int:
        """All of them."""
        return self.success + self.http_error + self.timeout + self.other


@dataclass(frozen=True, slots=True)
class Span:
    """A time and what follows it, in slots of equal length."""

    since: datetime
    slots: int
    slot_seconds: int

    @classmethod
    def until(cls, now: datetime, slots: int, slot_seconds: int) -> Span:
        """The span whose last slot holds `now`; slots begin at whole multiples of their length."""
        last = int(now.timestamp()) // slot_seconds * slot_seconds
        begin = now - timedelta(seconds=now.timestamp() - last + (slots - 1) * slot_seconds)
        return cls(ids.truncate(begin), slots, slot_seconds)

    def starts(self) -> list[datetime]:
        """When each slot begins."""
        return [self.since + timedelta(seconds=number * self.slot_seconds) for number in range(self.slots)]


def attempts_over_time(connection: Connection, span: Span) -> list[Slot]:
    """What became of the attempts in each slot."""
    found = {row.slot: Slot(*row[1:]) for row in connection.exec_driver_sql(ATTEMPTS, _values(span))}
    return [found.get(number, Slot()) for number in range(span.slots)]


def durations(connection: Connection, span: Span) -> tuple[int | None, int | None]:
    """Median and 95th percentile of how long the attempts took, in milliseconds."""
    p50, p95 = connection.exec_driver_sql(DURATIONS, _values(span)).one()
    return p50, p95


def events_over_time(connection: Connection, span: Span) -> list[int]:
    """How many events were accepted in each slot."""
    found = {row.slot: int(row.events) for row in connection.exec_driver_sql(EVENTS, _values(span, ids.EVENT))}
    return [found.get(number, 0) for number in range(span.slots)]


def accepted_since(connection: Connection, moment: datetime) -> int:
    """How many events were accepted since a time."""
    count: int = connection.exec_driver_sql(ACCEPTED, _since(moment, ids.EVENT)).scalar_one()
    return count


def failing_endpoints(connection: Connection) -> tuple[Sequence[Row[Any]], int]:
    """The endpoints that fail, the worst first, at most MOST_FAILING; and how many in use there are."""
    rows = connection.exec_driver_sql(FAILING).all()
    return rows, connection.exec_driver_sql(COUNT_FAILING).scalar_one()


def ended_badly(connection: Connection, moment: datetime) -> Sequence[Row[Any]]:
    """The customers with most deliveries, made since a time, that failed or were cancelled; MOST_CUSTOMERS at most."""
    return connection.exec_driver_sql(ENDED_BADLY, _since(moment, ids.DELIVERY)).all()


def _values(span: Span, prefix: str = ids.ATTEMPT) -> dict[str, Any]:
    return {**_since(span.since, prefix), "slot": span.slot_seconds}


def _since(moment: datetime, prefix: str) -> dict[str, Any]:
    """A time, and the first id that a row of that time can have."""
    return {"since": moment, "first": ids.make(prefix, moment, _LOWEST)}
