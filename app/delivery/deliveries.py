"""Deliveries: what a person does to them, and why they end. What an attempt does to one is in outcomes.

A delivery is pending, or in one of the terminal states delivered, failed and cancelled. Only `retry_delivery` and
`recover` lead out of those. A pending one has a row in `due`, made and deleted in the same transactions; while the
lease that is written there lasts, the delivery is being sent.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.orm import Session

from app.core import ids
from app.core.problem import Problem, not_found
from app.delivery import lane_rows, notices
from app.delivery.missed import missed

# Why a delivery ended without success: a code, then what it means. Callers may rely on the code.
ENDPOINT_DISABLED = "endpoint_disabled"
ENDPOINT_DELETED = "endpoint_deleted"
ENDPOINT_GONE = "endpoint_gone: the endpoint answered 410 Gone to another delivery"
DISABLED_BY_RECEIVER = "disabled_by_receiver: the endpoint answered webhook-delivery: disable to another delivery"
ENDPOINT_FAILING = "endpoint_disabled: every attempt has failed for too long"
EVENT_EXPIRED = "event_expired: the event is older than the retention period"
WORKER_CRASH = "worker_crash: it was claimed again and again without an outcome"
TEST_FAILED = "test_failed"

# Of a row of `due`: its time has come, and nobody is sending it.
IS_DUE = "due_at <= now() AND (leased_until IS NULL OR leased_until <= now())"

RECOVER_MOST = 10_000  # deliveries of one call: a person waits for the answer, and can ask again


@dataclass(frozen=True, slots=True)
class Recovered:
    """What `recover` did. retried: deliveries that had failed or were cancelled; missed: events that had none.

    complete: whether nothing is left; else the same call goes on where this one stopped. looked_until: when the
    endpoint's content filter has been asked as often as one call may, the time from which the next one is to go on.
    """

    retried: int
    missed: int
    complete: bool
    looked_until: datetime | None = None

    @property
    def count(self) -> int:
        """Deliveries that are pending because of this call."""
        return self.retried + self.missed


def retry_delivery(session: Session, workspace_id: str, delivery_id: str, *, window_seconds: int) -> None:
    """Have a delivery attempted now. One that had ended starts a new window of `window_seconds`.

    A pending one keeps its window and becomes due; one that is being sent at the moment stays as it is.
    Raises Problem: not_found, or conflict when its endpoint is disabled or deleted.
    """
    try:
        created_at = ids.created_at_of(delivery_id)
    except ValueError:
        raise not_found("delivery") from None
    connection = session.connection()
    key = {"id": delivery_id, "created_at": created_at}
    row = connection.exec_driver_sql(_LOCK_DELIVERY, {**key, "workspace": workspace_id}).one_or_none()
    if row is None:
        raise not_found("delivery")
    if row.endpoint_status != "enabled":
        state = "deleted" if row.endpoint_status is None else "disabled; enable it first"
        raise Problem("conflict", f"The delivery's endpoint is {state}.")
    if row.status != "pending":
        reopen(connection, [(delivery_id, created_at)], trigger="manual", window_seconds=window_seconds)
    elif connection.exec_driver_sql(_IS_BEHIND, key).scalar():
        raise Problem(
            "conflict", "The delivery waits for its turn behind others of its stream; retry or skip the first."
        )
    else:
        connection.exec_driver_sql(_MAKE_DUE, key)


def skip_delivery(session: Session, workspace_id: str, delivery_id: str) -> None:
    """Have the lane of a delivery go on without it: it is attempted by its own schedule, and arrives late.

    Raises Problem: not_found, or conflict when it is not the first that waits in a lane, or being sent.
    """
    try:
        created_at = ids.created_at_of(delivery_id)
    except ValueError:
        raise not_found("delivery") from None
    connection = session.connection()
    key = {"id": delivery_id, "created_at": created_at, "workspace": workspace_id}
    if connection.exec_driver_sql(_LOCK_DELIVERY, key).one_or_none() is None:
        raise not_found("delivery")
    if not lane_rows.set_aside(connection, [delivery_id]):
        raise Problem(
            "conflict", "The delivery is being sent, or it is not the first that waits in its stream's order."
        )
    notices.note_skipped(connection, [delivery_id])


def recover(
    session: Session,
    workspace_id: str,
    endpoint_id: str,
    *,
    since: datetime,
    until: datetime | None = None,
    window_seconds: int,
    most: int = RECOVER_MOST,
) -> Recovered:
    """Deliver again what failed or was cancelled, and what the endpoint missed, of events since a time.

    Missed are events that its filters match but that have no delivery to it: it was disabled or had other filters.
    Oldest first, at most `most`. Tests are left out. Raises Problem: not_found, or conflict when it is disabled.
    """
    connection = session.connection()
    endpoint_key = {"endpoint": endpoint_id, "workspace": workspace_id}
    endpoint = connection.exec_driver_sql(_LOCK_ENDPOINT, endpoint_key).one_or_none()
    if endpoint is None:
        raise not_found("endpoint")
    if endpoint.status != "enabled":
        raise Problem("conflict", "The endpoint is disabled; enable it first.")
    span = {**endpoint_key, "since": since, "until": until}
    # One more than wanted of both together, which tells whether anything is left.
    ended = connection.exec_driver_sql(_ENDED, {**span, "most": most + 1}).all()
    found = missed(connection, endpoint, since=since, until=until, most=most + 1 - len(ended))
    retried, created = ended[:most], found.events[: max(most - len(ended), 0)]
    keys = [(row.id, row.created_at) for row in retried]
    reopen(connection, keys, trigger="recover", window_seconds=window_seconds)
    add_missed(connection, workspace_id, endpoint_id, created, window_seconds)
    complete = len(ended) + len(found.events) <= most and found.looked_until is None
    looked_until = found.looked_until if len(ended) + len(found.events) <= most else None
    return Recovered(len(retried), len(created), complete, looked_until)


def reopen(connection: Connection, keys: Sequence[tuple[str, datetime]], *, trigger: str, window_seconds: int) -> None:
    """Make ended deliveries, given as (id, created_at), pending again, with a schedule that starts now.

    The caller has locked them, and seen under the lock that they have ended.
    """
    if keys:
        values = {
            "ids": [id for id, _ in keys],
            "created": [created_at for _, created_at in keys],
            "trigger": trigger,
            "window": window_seconds,
        }
        connection.exec_driver_sql(_REOPEN, values)


def add_missed(
    connection: Connection, workspace_id: str, endpoint_id: str, events: Sequence[Row[Any]], window_seconds: int
) -> None:
    """Give an endpoint deliveries of these events, which are due now. The caller keeps everybody else from doing so."""
    if not events:
        return
    now = connection.exec_driver_sql(_NOW).scalar_one()
    values = {
        "now": now,
        "workspace": workspace_id,
        "endpoint": endpoint_id,
        "window": window_seconds,
        "ids": [ids.make(ids.DELIVERY, now, os.urandom(ids.RANDOM_BYTES)) for _ in events],
        "events": [row.id for row in events],
        "events_at": [row.created_at for row in events],
        "types": [row.type for row in events],
    }
    connection.exec_driver_sql(_INSERT_MISSED, values)


# Lock a delivery that is to be retried, and read what decides whether it can be.
_LOCK_DELIVERY = """
SELECT d.status, e.status AS endpoint_status FROM deliveries d LEFT JOIN endpoints e ON e.id = d.endpoint_id
WHERE d.id = %(id)s AND d.created_at = %(created_at)s AND d.workspace_id = %(workspace)s FOR UPDATE OF d
"""

# Times below are the clock's and not the transaction's, which may have begun long before and have waited for a lock.
# What became due seconds ago is looked for seldom (low_water.py).

# Have a pending delivery attempted now, unless it is being sent. A drain whose lease has ended takes nothing from that.
# A test stays one: a single attempt, and no endpoint has missed it.
_MAKE_DUE = """
WITH made AS (
  UPDATE due SET due_at = clock_timestamp(), trigger = CASE WHEN trigger = 'test' THEN trigger ELSE 'manual' END,
    leased_until = NULL, lease_token = NULL
  WHERE delivery_id = %(id)s AND (leased_until IS NULL OR leased_until <= clock_timestamp())
  RETURNING trigger
)
UPDATE deliveries SET trigger = made.trigger FROM made WHERE id = %(id)s AND created_at = %(created_at)s
"""

# Whether a pending delivery waits in a lane and is not its first: only then it is put away, but for moments.
_IS_BEHIND = """
SELECT coalesce((SELECT is_behind(q.endpoint_id, q.stream_id, q.seq) FROM due q WHERE q.delivery_id = %(id)s), false)
"""

# Make ended deliveries, which are locked, pending again, in a new window. A test stays one.
_REOPEN = """
WITH present AS MATERIALIZED (
  SELECT clock_timestamp() AS moment
), reopened AS (
  UPDATE deliveries SET status = 'pending', reason = NULL, window_started_at = present.moment,
    deadline_at = present.moment + make_interval(secs => %(window)s), window_attempts = 0, finished_at = NULL,
    trigger = CASE WHEN trigger = 'test' THEN trigger ELSE %(trigger)s END
  FROM present, unnest(%(ids)s::text[], %(created)s::timestamptz[]) AS key (id, created_at)
  WHERE deliveries.id = key.id AND deliveries.created_at = key.created_at
  RETURNING deliveries.*
)
INSERT INTO due (delivery_id, created_at, workspace_id, endpoint_id, event_id, event_created_at, trigger, due_at,
  claims, attempt_count, window_started_at, deadline_at)
SELECT id, created_at, workspace_id, endpoint_id, event_id, event_created_at, trigger, window_started_at,
  attempt_count, attempt_count, window_started_at, deadline_at FROM reopened
"""

# Read an endpoint that is to be recovered. The lock lets one recovery at a time create rows.
_LOCK_ENDPOINT = "SELECT * FROM endpoints WHERE id = %(endpoint)s AND workspace_id = %(workspace)s FOR UPDATE"

# Find, and lock, what failed or was cancelled of events in a span, oldest first. The span's beginning is said for the
# event, which decides, and for the delivery, which was created no earlier: by that PostgreSQL leaves partitions out.
_ENDED = """
SELECT id, created_at FROM deliveries
WHERE endpoint_id = %(endpoint)s AND workspace_id = %(workspace)s AND status IN ('failed', 'cancelled')
  AND event_created_at >= %(since)s AND created_at >= %(since)s
  AND (%(until)s::timestamptz IS NULL OR event_created_at < %(until)s) AND trigger <> 'test'
ORDER BY id LIMIT %(most)s FOR UPDATE
"""

# The database's time as rows and ids have it.
_NOW = "SELECT date_trunc('milliseconds', clock_timestamp())"

# Give an endpoint deliveries of events that it missed.
_INSERT_MISSED = """
WITH made AS (
  INSERT INTO deliveries (id, created_at, workspace_id, endpoint_id, event_id, event_created_at, event_type, trigger,
    window_started_at, deadline_at)
  SELECT id, %(now)s, %(workspace)s, %(endpoint)s, event, event_at, type, 'recover',
    %(now)s, %(now)s::timestamptz + make_interval(secs => %(window)s)
  FROM unnest(%(ids)s::text[], %(events)s::text[], %(events_at)s::timestamptz[], %(types)s::text[])
    AS missed (id, event, event_at, type)
  RETURNING *
)
INSERT INTO due (delivery_id, created_at, workspace_id, endpoint_id, event_id, event_created_at, trigger, due_at,
  window_started_at, deadline_at)
SELECT id, created_at, workspace_id, endpoint_id, event_id, event_created_at, trigger, window_started_at,
  window_started_at, deadline_at FROM made
"""
