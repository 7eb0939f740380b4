"""Deliveries: what a person or an endpoint's end does to them. What becomes of an attempt is the drain's affair.

A delivery is pending, or in one of the terminal states delivered, failed and cancelled. Only `retry_delivery` and
`recover` lead out of those. A pending row with a lease in the future is being sent at the moment.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, CursorResult, Row, text
from sqlalchemy.orm import Session

from app.core import ids
from app.core.event.filters import like_patterns
from app.core.problem import Problem, not_found

# Why a delivery ended without success: a code, then what it means. Callers may rely on the code.
ENDPOINT_DISABLED = "endpoint_disabled"
ENDPOINT_DELETED = "endpoint_deleted"
ENDPOINT_GONE = "endpoint_gone: the endpoint answered 410 Gone to another delivery"
ENDPOINT_FAILING = "endpoint_disabled: every attempt has failed for too long"
EVENT_EXPIRED = "event_expired: the event is older than the retention period"
WORKER_CRASH = "worker_crash: it was claimed again and again without an outcome"
TEST_FAILED = "test_failed"

CANCEL_BATCH = 10_000  # rows in one statement: some tenths of a second
# Codes of an endpoint's disabled_reason with a sentence of their own for its deliveries.
_ENDED_WITH = {"endpoint_gone": ENDPOINT_GONE, "endpoint_failing": ENDPOINT_FAILING}
RECOVER_MOST = 10_000  # deliveries of one call: a person waits for the answer, and can ask again

Work = Connection | Session


@dataclass(frozen=True, slots=True)
class Recovered:
    """What `recover` did. retried: deliveries that had failed or were cancelled; missed: events that had none.

    complete: whether nothing is left; else the same call goes on where this one stopped.
    """

    retried: int
    missed: int
    complete: bool

    @property
    def count(self) -> int:
        """Deliveries that are pending because of this call."""
        return self.retried + self.missed


def retry_delivery(work: Work, workspace_id: str, delivery_id: str, *, window_seconds: int) -> None:
    """Have a delivery attempted now. One that had ended starts a new window of `window_seconds`.

    A pending one keeps its window and becomes due; one that is being sent at the moment stays as it is.
    Raises Problem: not_found, or conflict when its endpoint is disabled or deleted.
    """
    try:
        created_at = ids.created_at_of(delivery_id)
    except ValueError:
        raise not_found("delivery") from None
    row = work.execute(
        text(
            "SELECT d.status, e.status AS endpoint_status, d.lease_token IS NOT NULL AND d.due_at > now() AS sending"
            " FROM deliveries d LEFT JOIN endpoints e ON e.id = d.endpoint_id"
            " WHERE d.id = :id AND d.created_at = :created_at AND d.workspace_id = :workspace FOR UPDATE OF d"
        ),
        {"id": delivery_id, "created_at": created_at, "workspace": workspace_id},
    ).one_or_none()
    if row is None:
        raise not_found("delivery")
    if row.endpoint_status != "enabled":
        state = "deleted" if row.endpoint_status is None else "disabled; enable it first"
        raise Problem("conflict", f"The delivery's endpoint is {state}.")
    key: dict[str, list[Any]] = {"ids": [delivery_id], "created": [created_at]}
    if row.status != "pending":
        _open_windows(work, key, trigger="manual", window_seconds=window_seconds)
    elif not row.sending:
        work.execute(text(f"UPDATE deliveries SET due_at = now(), {_TRIGGER} {_BY_KEY}"), {**key, "trigger": "manual"})


def recover(
    work: Work,
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
    endpoint = work.execute(  # the lock lets one recovery at a time create rows
        text("SELECT * FROM endpoints WHERE id = :id AND workspace_id = :workspace FOR UPDATE"),
        {"id": endpoint_id, "workspace": workspace_id},
    ).one_or_none()
    if endpoint is None:
        raise not_found("endpoint")
    if endpoint.status != "enabled":
        raise Problem("conflict", "The endpoint is disabled; enable it first.")
    span = {"since": since, "until": until, "endpoint": endpoint_id, "workspace": workspace_id}
    # The earlier bound is said three times: for the event, and for the partitions of both tables.
    ended = work.execute(text(_ENDED), {**span, "most": most + 1}).all()
    missed = work.execute(
        text(_MISSED),
        {
            **span,
            "types": like_patterns(endpoint.event_types),
            "kinds": endpoint.stream_kinds,
            "most": max(most + 1 - len(ended), 0),
        },
    ).all()
    retried, created = ended[:most], missed[: max(most - len(ended), 0)]
    key = {"ids": [row.id for row in retried], "created": [row.created_at for row in retried]}
    _open_windows(work, key, trigger="recover", window_seconds=window_seconds)
    _insert_missed(work, workspace_id, endpoint_id, created, window_seconds)
    return Recovered(len(retried), len(created), len(ended) + len(missed) <= most)


def why_cancelled(endpoint_status: str | None, disabled_reason: str | None) -> str:
    """Why a delivery ends with its endpoint, from the endpoint's columns (status None: it has been deleted)."""
    if endpoint_status is None:
        return ENDPOINT_DELETED
    return _ENDED_WITH.get((disabled_reason or "").partition(":")[0], ENDPOINT_DISABLED)


def cancel_pending(work: Work, endpoint_id: str, reason: str, *, most: int | None = None) -> int:
    """Cancel what an endpoint has pending (at most the first `most`), and return how many.

    Rows that are being sent at the moment are left to their drain: a success counts, a failure is cancelled there.
    """
    total = 0
    while True:
        batch = CANCEL_BATCH if most is None else min(CANCEL_BATCH, most - total)
        values = {"endpoint": endpoint_id, "reason": reason, "most": batch}
        cancelled = cast("CursorResult[Any]", work.execute(text(_CANCEL), values)).rowcount
        total += cancelled
        if cancelled < batch or total == most:
            return total


_BY_KEY = (
    "FROM unnest(CAST(:ids AS text[]), CAST(:created AS timestamptz[])) AS key (id, created_at)"
    " WHERE deliveries.id = key.id AND deliveries.created_at = key.created_at"
)

# A test stays one: a single attempt, and no endpoint has missed it.
_TRIGGER = "trigger = CASE WHEN trigger = 'test' THEN trigger ELSE :trigger END"

_ENDED = """
SELECT id, created_at FROM deliveries
WHERE endpoint_id = :endpoint AND workspace_id = :workspace AND status IN ('failed', 'cancelled')
  AND event_created_at >= :since AND created_at >= :since
  AND (CAST(:until AS timestamptz) IS NULL OR event_created_at < :until) AND trigger <> 'test'
ORDER BY id LIMIT :most FOR UPDATE
"""

_MISSED = """
SELECT e.id, e.created_at, e.type FROM events e JOIN streams s ON s.id = e.stream_id
WHERE e.workspace_id = :workspace AND e.created_at >= :since
  AND (CAST(:until AS timestamptz) IS NULL OR e.created_at < :until)
  AND (CAST(:types AS text[]) IS NULL OR e.type LIKE ANY (CAST(:types AS text[])))
  AND (CAST(:kinds AS text[]) IS NULL OR s.kind = ANY (CAST(:kinds AS text[])))
  AND NOT EXISTS (
    SELECT FROM deliveries d
    WHERE d.event_id = e.id AND d.created_at >= :since AND (d.endpoint_id = :endpoint OR d.trigger = 'test')
  )
ORDER BY e.id LIMIT :most
"""

# SKIP LOCKED: a row that is locked now is being claimed, recorded or retried; whoever does it looks at the endpoint.
_CANCEL = """
UPDATE deliveries SET status = 'cancelled', reason = :reason, finished_at = now(), lease_token = NULL
FROM (
  SELECT id, created_at FROM deliveries
  WHERE endpoint_id = :endpoint AND status = 'pending' AND (lease_token IS NULL OR due_at <= now())
  LIMIT :most FOR UPDATE SKIP LOCKED
) AS found
WHERE deliveries.id = found.id AND deliveries.created_at = found.created_at
"""


def _open_windows(work: Work, key: dict[str, list[Any]], *, trigger: str, window_seconds: int) -> None:
    """Make ended deliveries pending again, with a schedule that starts now."""
    if key["ids"]:
        work.execute(
            text(
                "UPDATE deliveries SET status = 'pending', reason = NULL, due_at = now(),"
                " window_started_at = now(), deadline_at = now() + make_interval(secs => :window), window_attempts = 0,"
                f" claims = attempt_count, lease_token = NULL, finished_at = NULL, {_TRIGGER} {_BY_KEY}"
            ),
            {**key, "trigger": trigger, "window": window_seconds},
        )


def _insert_missed(
    work: Work, workspace_id: str, endpoint_id: str, events: Sequence[Row[Any]], window_seconds: int
) -> None:
    if not events:
        return
    now = work.execute(text("SELECT date_trunc('milliseconds', now())")).scalar_one()
    work.execute(
        text(
            "INSERT INTO deliveries (id, created_at, workspace_id, endpoint_id, event_id, event_created_at, event_type,"
            " trigger, due_at, window_started_at, deadline_at)"
            " SELECT id, :now, :workspace, :endpoint, event, event_at, type, 'recover', :now, :now,"
            " CAST(:now AS timestamptz) + make_interval(secs => :window)"
            " FROM unnest(CAST(:ids AS text[]), CAST(:events AS text[]), CAST(:events_at AS timestamptz[]),"
            " CAST(:types AS text[])) AS missed (id, event, event_at, type)"
        ),
        {
            "now": now,
            "workspace": workspace_id,
            "endpoint": endpoint_id,
            "window": window_seconds,
            "ids": [ids.make(ids.DELIVERY, now, os.urandom(ids.RANDOM_BYTES)) for _ in events],
            "events": [row.id for row in events],
            "events_at": [row.created_at for row in events],
            "types": [row.type for row in events],
        },
    )
