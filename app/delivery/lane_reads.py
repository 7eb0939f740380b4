"""Lanes for people: those that stand still, over all endpoints, and a delivery's place in its lane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from app.core.webhook.lanes import PATIENCE_SECONDS, Place
from app.database.tables import PARKED
from app.delivery.lane_rows import MOST_COUNTED, WaitingLane

MOST_ROWS = 20_000  # attempted rows that one look passes: a batch that was refused leaves as many as it had events
MOST_LANES = 2_000  # that one look tells apart: at the most 0.15 s on a busy machine

# A part of the lanes whose first delivery has failed and waits, or is tried again now, while others wait behind it.
# Others of a lane may have been attempted, too, with the first in a batch; only the first says whether it stands still.
_STANDING_STILL = f"""
  SELECT head.* FROM (
    SELECT DISTINCT endpoint_id, stream_id FROM (%s LIMIT {MOST_ROWS}) AS attempted LIMIT {MOST_LANES}
  ) AS lane CROSS JOIN LATERAL (
    SELECT * FROM due f WHERE f.endpoint_id = lane.endpoint_id AND f.stream_id = lane.stream_id
      AND f.seq >= lane_low(lane.endpoint_id, lane.stream_id)
    ORDER BY f.seq LIMIT 1
  ) AS head CROSS JOIN LATERAL (
    SELECT FROM due b WHERE b.endpoint_id = head.endpoint_id AND b.stream_id = head.stream_id AND b.seq > head.seq
    ORDER BY b.seq LIMIT 1
  ) AS behind
  WHERE head.window_attempts > 0
"""
# Sorted as ix_due_blocked is, so that this is read, however many rows the planner expects, and never the whole queue.
_EVERYWHERE = _STANDING_STILL % (
    "SELECT endpoint_id, stream_id FROM due WHERE stream_id IS NOT NULL AND attempt_count > 0"
    " ORDER BY endpoint_id, counted_at"
)
_OF_WORKSPACE = (
    _STANDING_STILL
    % f"""
  SELECT found.endpoint_id, found.stream_id FROM endpoints own CROSS JOIN LATERAL (
    SELECT endpoint_id, stream_id FROM due WHERE endpoint_id = own.id AND stream_id IS NOT NULL AND attempt_count > 0
    ORDER BY counted_at LIMIT {MOST_ROWS}
  ) AS found WHERE own.workspace_id = %(workspace)s
"""
)

# Those, with what a page says of them: the oldest first.
_STOPPED = f"""
SELECT s.kind, s.external_id, s.id, head.delivery_id, head.event_id, head.seq, head.created_at, head.attempt_count,
  NULL::text, coalesce(head.leased_until > now(), false),
  CASE WHEN head.due_at > now() AND head.due_at < '{PARKED}' THEN head.due_at END, coalesce(head.waited_seconds, 0), (
    SELECT count(*) FROM (
      SELECT FROM due b WHERE b.endpoint_id = head.endpoint_id AND b.stream_id = head.stream_id AND b.seq > head.seq
      LIMIT {MOST_COUNTED}
    ) AS b
  ), head.endpoint_id, coalesce(e.order_patience_seconds, {PATIENCE_SECONDS}), e.last_outcome = 'success'
FROM (SELECT * FROM (%s) AS head ORDER BY head.created_at, head.delivery_id LIMIT %%(limit)s) AS head
JOIN streams s ON s.id = head.stream_id JOIN endpoints e ON e.id = head.endpoint_id
ORDER BY head.created_at, head.delivery_id
"""
STOPPED, STOPPED_OF_WORKSPACE = _STOPPED % _EVERYWHERE, _STOPPED % _OF_WORKSPACE

# How many those are, up to a bound.
COUNT = f"SELECT count(*) FROM ({_EVERYWHERE}) AS counted"

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
    """Lanes that stand still, of one workspace or of all: at most `limit`, the oldest first of MOST_LANES at most."""
    statement = STOPPED if workspace is None else STOPPED_OF_WORKSPACE
    rows = connection.exec_driver_sql(statement, {"workspace": workspace, "limit": limit})
    return [StoppedLane(WaitingLane(*row[:13]), row[13], row[14], bool(row[15])) for row in rows]


def count_stopped(connection: Connection) -> int:
    """How many lanes stand still, MOST_LANES at most, as far as MOST_ROWS reach."""
    return int(connection.exec_driver_sql(COUNT).scalar_one())


def standing_of(connection: Connection, delivery_id: str) -> Standing | None:
    """A delivery's place; None when it has ended, or its endpoint keeps no order for it."""
    row: Any = connection.exec_driver_sql(STANDING, {"id": delivery_id}).one_or_none()
    if row is None:
        return None
    place = Place(row.told["prev"], tuple(row.told["skipped"] or ()), row.told["late"])
    is_head = row.head_id == delivery_id
    return Standing(place, row.seq, row.is_aside, is_head, row.head_id, row.head_seq, row.behind, row.waited_seconds)
