"""Lanes in the database: an endpoint begins to keep order, and ends it; a lane's head steps aside.

Which rows of `due` are first in their lanes is looked after by functions of the database: join_lanes when deliveries
are made, park_waiting when a claim comes across rows that are not first, leave_lane when a row has gone, set_aside.
None of them waits for a row that somebody has locked, so that a lane may be left with its first row put away:
open_stuck finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.core.problem import Problem
from app.core.webhook.lanes import steps_aside, waited_seconds
from app.database.connection import ROW_BY_ROW
from app.database.tables import PARKED, Endpoint

# Deliveries that may wait when an endpoint begins to keep order: some seconds, in which nothing is accepted there.
MOST_JOINING = 50_000
MOST_COUNTED = 1_000  # deliveries behind a head: more than that are not counted
MOST_HEADS = 2_000  # that one look counts the time of: some 20 ms
MOST_LOOKED_AT = 2_000  # lanes that one look for stuck ones passes: some 20 ms

Place = tuple[str, int]  # an endpoint and the number of a stream: a lane, among all
START: Place = ("", -1)


def begin(session: Session, endpoint: Endpoint) -> None:
    """A locked endpoint keeps order from now on, of what waits already, too, but for what was begun by hand. Its
    workspace is locked; what is being accepted there is waited for, and nothing is until the end of the transaction.

    Raises Problem conflict: too much is waiting.
    """
    session.flush()
    connection = session.connection()
    key = {"endpoint": endpoint.id, "workspace": endpoint.workspace_id}
    for statement in (ROW_BY_ROW, _STOP_ACCEPTING, _BEGIN, _FORGET_MARKS):
        connection.exec_driver_sql(statement, key)
    ids = connection.exec_driver_sql(_WAITING, key | {"most": MOST_JOINING + 1}).scalars().all()
    if len(ids) > MOST_JOINING:
        raise Problem(
            "conflict", f"More than {MOST_JOINING:,} deliveries wait for this endpoint; change its order when fewer do."
        )
    connection.exec_driver_sql(_JOIN, {"ids": list(ids)})


def begin_new(session: Session, endpoint: Endpoint) -> None:
    """An endpoint that nobody else sees yet keeps order; nothing waits there, and accepting goes on."""
    key = {"endpoint": endpoint.id, "workspace": endpoint.workspace_id}
    session.connection().exec_driver_sql(_BEGIN, key)


def end(session: Session, endpoint: Endpoint) -> None:
    """A locked endpoint keeps order no more: all that waited behind others is due. Accepting stops as in `begin`."""
    session.flush()
    key = {"endpoint": endpoint.id, "workspace": endpoint.workspace_id}
    for statement in (ROW_BY_ROW, _STOP_ACCEPTING, _END, _STILL_KEEPS, _LET_GO, _FORGET_SKIPS):
        session.connection().exec_driver_sql(statement, key)


def set_aside(connection: Connection, delivery_ids: Sequence[str]) -> list[str]:
    """Have lanes go on without their heads, as far as these are heads, not being sent and not locked; which were."""
    return list(connection.exec_driver_sql(_SET_ASIDE, {"ids": list(delivery_ids)}).scalar() or ())


def step_aside(connection: Connection) -> list[str]:
    """Count how long heads have stood in the way of their lanes while their endpoints answered others, and set aside
    those for which that was too long; which. One process at a time does so."""
    if not connection.exec_driver_sql(_ONE_AT_A_TIME).scalar_one():
        return []
    connection.exec_driver_sql(ROW_BY_ROW)
    rows = connection.exec_driver_sql(_HEADS, {"most": MOST_HEADS}).all()
    waited = [waited_seconds(row.waited_seconds, row.counted_at, row.now) for row in rows]
    late = [
        row.id for row, seconds in zip(rows, waited, strict=True) if steps_aside(seconds, row.order_patience_seconds)
    ]
    if rows:
        connection.exec_driver_sql(_COUNT, {"ids": [row.id for row in rows], "seconds": waited})
    return set_aside(connection, late) if late else []


def is_anything_waiting(connection: Connection) -> bool:
    """Whether any lane has a row, so that the two looks below may find something."""
    return bool(connection.exec_driver_sql(_ANY).scalar_one())


def open_stuck(connection: Connection, after: Place = START) -> Place:
    """Open lanes whose first row is put away, among the next ones after that place; where the next look begins. One
    process at a time does so. Nothing is lost by opening one too many: a claim takes the first row of a lane only."""
    if not connection.exec_driver_sql(_ONE_AT_A_TIME).scalar_one():
        return after
    connection.exec_driver_sql(ROW_BY_ROW)
    values = {"endpoint": after[0], "stream": after[1], "most": MOST_LOOKED_AT}
    passed = connection.exec_driver_sql(_OPEN_STUCK, values).all()
    return (passed[-1].endpoint_id, passed[-1].stream_id) if len(passed) == MOST_LOOKED_AT else START


@dataclass(frozen=True, slots=True)
class WaitingLane:
    """A lane in which something waits. sending: its head is being sent; due_at: when that is attempted next, None when
    it is now. behind: how many wait behind it, as far as they were counted; blocked_seconds: for how long the head has
    stood in the way while the endpoint answered others."""

    kind: str
    stream: str
    stream_no: int
    delivery_id: str
    event_id: str
    seq: int
    created_at: datetime
    attempt_count: int
    reason: str | None
    sending: bool
    due_at: datetime | None
    blocked_seconds: float
    behind: int


def waiting_lanes(
    connection: Connection, endpoint_id: str, *, limit: int, after: int | None = None
) -> list[WaitingLane]:
    """The lanes of an endpoint in which something waits, those of old streams first, at most `limit`, after the stream
    with the number `after`."""
    values = {"endpoint": endpoint_id, "limit": limit, "after": -1 if after is None else after, "counted": MOST_COUNTED}
    return [WaitingLane(*row) for row in connection.exec_driver_sql(_LANES, values)]


# Wait for whoever accepts events of this workspace, and keep others from it.
_STOP_ACCEPTING = "SELECT FROM workspaces WHERE id = %(workspace)s FOR UPDATE"

# Keep order from now on.
_BEGIN = """
WITH kept AS (
  UPDATE workspaces SET keeps_order = true WHERE id = %(workspace)s AND NOT keeps_order
)
UPDATE endpoints SET ordered_at = clock_timestamp() WHERE id = %(endpoint)s
"""

# What waits for an endpoint by the schedule that began with its event, and has not been set aside. Locked, so that what
# is being recorded is over.
_WAITING = """
SELECT delivery_id FROM due
WHERE (endpoint_id, due_at) >= (%(endpoint)s, '-infinity'::timestamptz)
  AND (endpoint_id, due_at) <= (%(endpoint)s, 'infinity'::timestamptz)
  AND trigger <> 'test' AND window_started_at <= event_created_at AND seq IS NULL
ORDER BY endpoint_id, due_at LIMIT %(most)s FOR UPDATE
"""

# Put them into their lanes.
_JOIN = "SELECT join_lanes(%(ids)s::text[])"

# Its lanes begin anew, perhaps with what came before they had last ended.
_FORGET_MARKS = "DELETE FROM lane_marks WHERE endpoint_id = %(endpoint)s"

# Keep order no more.
_END = "UPDATE endpoints SET ordered_at = NULL WHERE id = %(endpoint)s"
_STILL_KEEPS = """
UPDATE workspaces SET keeps_order = false WHERE id = %(workspace)s
  AND NOT EXISTS (SELECT FROM endpoints e WHERE e.workspace_id = %(workspace)s AND e.ordering IS NOT NULL)
"""
_LET_GO = f"""
UPDATE due SET stream_id = NULL, seq = NULL, prev_seq = NULL, waited_seconds = NULL, counted_at = NULL,
  due_at = CASE WHEN due_at < '{PARKED}' THEN due_at ELSE clock_timestamp() END
WHERE endpoint_id = %(endpoint)s AND stream_id IS NOT NULL
"""
_FORGET_SKIPS = "DELETE FROM lane_skips WHERE endpoint_id = %(endpoint)s"

# Take heads out of their lanes.
_SET_ASIDE = "SELECT set_aside(%(ids)s::text[])"

# Whether there is a lane at all; there is none where no endpoint keeps order. In the order of the index, which is then
# read whatever the statistics say.
_ANY = "SELECT (SELECT seq FROM due WHERE stream_id IS NOT NULL ORDER BY endpoint_id, stream_id LIMIT 1) IS NOT NULL"

# Let one process count at a time.
_ONE_AT_A_TIME = "SELECT pg_try_advisory_xact_lock(hashtext('twofold.lanes'))"

# Open lanes whose first row is put away; each lane is found by a step over all others of the one before it.
_OPEN_STUCK = f"""
WITH RECURSIVE lane AS (
  (SELECT endpoint_id, stream_id, 1 AS place FROM due
   WHERE stream_id IS NOT NULL AND (endpoint_id, stream_id) > (%(endpoint)s, %(stream)s)
   ORDER BY endpoint_id, stream_id LIMIT 1)
  UNION ALL
  SELECT next.endpoint_id, next.stream_id, lane.place + 1 FROM lane CROSS JOIN LATERAL (
    SELECT q.endpoint_id, q.stream_id FROM due q
    WHERE q.stream_id IS NOT NULL AND (q.endpoint_id, q.stream_id) > (lane.endpoint_id, lane.stream_id)
    ORDER BY q.endpoint_id, q.stream_id LIMIT 1
  ) AS next WHERE lane.place < %(most)s
)
SELECT lane.endpoint_id, lane.stream_id, CASE WHEN (
    SELECT q.due_at FROM due q WHERE q.endpoint_id = lane.endpoint_id AND q.stream_id = lane.stream_id
      AND q.seq >= lane_low(lane.endpoint_id, lane.stream_id)
    ORDER BY q.seq LIMIT 1
  ) >= '{PARKED}' THEN open_lane(lane.endpoint_id, lane.stream_id)::text END AS opened
FROM lane ORDER BY lane.place
"""

# The heads that have failed and wait, of endpoints whose last answer was a success: to another delivery, since this one
# fails. Those that were counted longest ago first.
_HEADS = """
SELECT q.delivery_id AS id, q.waited_seconds, q.counted_at, e.order_patience_seconds, clock_timestamp() AS now
FROM (SELECT DISTINCT endpoint_id FROM due WHERE stream_id IS NOT NULL AND attempt_count > 0) AS blocked
JOIN endpoints e ON e.id = blocked.endpoint_id AND e.status = 'enabled' AND e.last_outcome = 'success'
JOIN due q ON q.endpoint_id = e.id AND q.stream_id IS NOT NULL AND q.attempt_count > 0
WHERE (q.leased_until IS NULL OR q.leased_until <= now()) AND NOT is_behind(q.endpoint_id, q.stream_id, q.seq)
ORDER BY q.counted_at NULLS FIRST LIMIT %(most)s FOR UPDATE OF q SKIP LOCKED
"""

# Note for how long.
_COUNT = """
UPDATE due SET counted_at = clock_timestamp(),
  waited_seconds = (%(seconds)s::float8[])[array_position(%(ids)s::text[], delivery_id)]
WHERE delivery_id = ANY (%(ids)s::text[])
"""

# The lanes of an endpoint, each found by a step over all others of the one before it.
_LANES = f"""
WITH RECURSIVE found AS (
  (SELECT stream_id, 1 AS place FROM due WHERE endpoint_id = %(endpoint)s AND stream_id > %(after)s
   ORDER BY stream_id LIMIT 1)
  UNION ALL
  SELECT next.stream_id, found.place + 1 FROM found CROSS JOIN LATERAL (
    SELECT q.stream_id FROM due q WHERE q.endpoint_id = %(endpoint)s AND q.stream_id > found.stream_id
    ORDER BY q.stream_id LIMIT 1
  ) AS next WHERE found.place < %(limit)s
)
SELECT s.kind, s.external_id, s.id, head.delivery_id, head.event_id, head.seq, head.created_at, head.attempt_count,
  d.reason, coalesce(head.leased_until > now(), false),
  CASE WHEN head.due_at > now() AND head.due_at < '{PARKED}' THEN head.due_at END,
  coalesce(head.waited_seconds, 0), (
    SELECT count(*) - 1 FROM (
      SELECT FROM due b WHERE b.endpoint_id = %(endpoint)s AND b.stream_id = found.stream_id AND b.seq >= head.seq
      LIMIT %(counted)s + 1
    ) AS b
  )
FROM found CROSS JOIN LATERAL (
  SELECT * FROM due q WHERE q.endpoint_id = %(endpoint)s AND q.stream_id = found.stream_id
    AND q.seq >= lane_low(%(endpoint)s, found.stream_id)
  ORDER BY q.seq LIMIT 1
) AS head
JOIN streams s ON s.id = found.stream_id
LEFT JOIN deliveries d ON d.id = head.delivery_id AND d.created_at = head.created_at
ORDER BY found.stream_id LIMIT %(limit)s
"""
