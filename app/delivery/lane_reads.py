"""Lanes for people: those that stand still, over all endpoints, and a delivery's place in its lane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from app.core.webhook.lanes import PATIENCE_SECONDS, Place
from app.database.tables import PARKED
from app.delivery.lane_rows import MOST_COUNTED, WaitingLane

WINDOW = 2_000  # rows of lanes that one look passes: some 20 ms

# The lanes whose first delivery has failed and waits, or is tried again now: those that have stood still longest first.
STOPPED = f"""
SELECT s.kind, s.external_id, s.id, head.delivery_id, head.event_id, head.seq, head.created_at, head.attempt_count,
  NULL::text, coalesce(head.leased_until > now(), false),
  CASE WHEN head.due_at > now() AND head.due_at < '{PARKED}' THEN head.due_at END, coalesce(head.waited_seconds, 0), (
    SELECT count(*) - 1 FROM (
      SELECT FROM due b WHERE b.endpoint_id = head.endpoint_id AND b.stream_id = head.stream_id
      LIMIT {MOST_COUNTED} + 1
    ) AS b
  ), head.endpoint_id, coalesce(e.order_patience_seconds, {PATIENCE_SECONDS}), e.last_outcome = 'success'
FROM (
  SELECT q.* FROM (
    SELECT * FROM due WHERE stream_id IS NOT NULL AND attempt_count > 0
      AND (%(workspace)s::text IS NULL OR workspace_id = %(workspace)s) LIMIT {WINDOW}
  ) AS q
  WHERE NOT EXISTS (
    SELECT FROM due f WHERE f.endpoint_id = q.endpoint_id AND f.stream_id = q.stream_id AND f.seq < q.seq
  )
  ORDER BY q.created_at, q.delivery_id LIMIT %(limit)s
) AS head JOIN streams s ON s.id = head.stream_id JOIN endpoints e ON e.id = head.endpoint_id
ORDER BY head.created_at, head.delivery_id
"""

# How many those are, up to a bound.
COUNT = f"""
SELECT count(*) FROM (SELECT FROM due WHERE stream_id IS NOT NULL AND attempt_count > 0 LIMIT {WINDOW}) AS counted
"""

# A pending delivery's place in its lane, or what is left of it when it was set aside; what stands before it and behind.
STANDING = f"""
SELECT lane_place(q) AS told, q.seq, q.stream_id IS NULL AS is_aside, coalesce(q.waited_seconds, 0) AS waited_seconds,
  head.delivery_id AS head_id, head.seq AS head_seq,
  (SELECT count(*) FROM (
    SELECT FROM due b WHERE b.endpoint_id = q.endpoint_id AND b.stream_id = q.stream_id AND b.seq > q.seq
    LIMIT {MOST_COUNTED}
  ) AS b) AS behind
FROM due q LEFT JOIN LATERAL (
  SELECT f.delivery_id, f.seq FROM due f WHERE f.endpoint_id = q.endpoint_id AND f.stream_id = q.stream_id
  ORDER BY f.seq LIMIT 1
) AS head ON true
WHERE q.delivery_id = %(id)s AND q.seq IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class StoppedLane:
    """A lane that stands still behind a delivery that fails. patience_seconds: how long that may be while the endpoint
    answers others, which is_counting says of its last answer."""

    lane: WaitingLane
    endpoint_id: str
    patience_seconds: int
    is_counting: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a pending delivery stands. place: what its next request says. is_aside: its lane goes on without it. head:
    the first of its lane, and its seq. behind: how many wait behind it, MOST_COUNTED at most."""

    place: Place
    seq: int
    is_aside: bool
    is_head: bool
    head: str | None
    head_seq: int | None
    behind: int
    waited_seconds: float


def stopped_lanes(connection: Connection, *, workspace: str | None = None, limit: int) -> list[StoppedLane]:
    """The lanes that stand still, the longest first, at most `limit`, of a window of rows."""
    rows = connection.exec_driver_sql(STOPPED, {"workspace": workspace, "limit": limit})
    return [StoppedLane(WaitingLane(*row[:13]), row[13], row[14], bool(row[15])) for row in rows]


def count_stopped(connection: Connection) -> int:
    """How many lanes stand still, WINDOW at most."""
    return int(connection.exec_driver_sql(COUNT).scalar_one())


def standing_of(connection: Connection, delivery_id: str) -> Standing | None:
    """A delivery's place; None when it has ended, or its endpoint keeps no order for it."""
    row: Any = connection.exec_driver_sql(STANDING, {"id": delivery_id}).one_or_none()
    if row is None:
        return None
    place = Place(row.told["prev"], tuple(row.told["skipped"] or ()), row.told["late"])
    is_head = row.head_id == delivery_id
    return Standing(place, row.seq, row.is_aside, is_head, row.head_id, row.head_seq, row.behind, row.waited_seconds)
