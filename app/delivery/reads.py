"""The delivery log: reads of deliveries and their attempts, in the shapes of the API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, text
from sqlalchemy.orm import Session

from app.core import ids
from app.core.event.filters import like_patterns
from app.core.problem import invalid, not_found
from app.core.wire.envelope import rfc3339

STATUSES = ("pending", "delivered", "failed", "cancelled")
MOST_ATTEMPTS = 200  # of one delivery in one answer, the latest; a schedule has eleven
KEPT_BODY_BYTES = 16 * 1024  # what the sender keeps of a response
STATS_HOURS = 24

Work = Connection | Session


def list_deliveries(
    work: Work,
    workspace_id: str,
    *,
    status: str | None = None,
    endpoint_id: str | None = None,
    event_id: str | None = None,
    event_type: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int,
    before: str | None = None,
) -> list[dict[str, Any]]:
    """Deliveries, newest first, at most `limit`, older than the id `before`.

    event_type: a type, or a prefix such as `call.*`. since, until: of the delivery's creation, the latter excluded.
    Raises Problem invalid for an unknown status or a malformed cursor or event id.
    """
    where, values = ["d.workspace_id = :workspace"], dict[str, Any](workspace=workspace_id, limit=limit)
    if status is not None:
        if status not in STATUSES:
            raise invalid("status", f"give one of {', '.join(STATUSES)}")
        where.append(f"d.status = '{status}'")  # as a literal, by which PostgreSQL finds the partial indexes
    given = {
        "d.endpoint_id = :endpoint": ("endpoint", endpoint_id),
        "d.event_id = :event": ("event", event_id),
        "d.event_type LIKE ANY (:types)": ("types", None if event_type is None else like_patterns([event_type])),
        "d.created_at >= :since": ("since", since),
        "d.created_at < :until": ("until", until),
        "d.id < :before": ("before", before),
        # By these PostgreSQL leaves partitions out: a later id is not older, and no delivery is older than its event.
        "d.created_at <= :newest": ("newest", None if before is None else _moment("cursor", before)),
        "d.created_at >= :event_at": ("event_at", None if event_id is None else _moment("event_id", event_id)),
    }
    for condition, (name, value) in given.items():
        if value is not None:
            where.append(condition)
            values[name] = value
    query = f"SELECT {_COLUMNS} FROM deliveries d WHERE {' AND '.join(where)} ORDER BY d.id DESC LIMIT :limit"
    return [_shown(row) for row in work.execute(text(query), values)]


def get_delivery(work: Work, workspace_id: str, delivery_id: str) -> dict[str, Any]:
    """One delivery with its attempts, first to last. Raises Problem not_found."""
    try:
        created_at = ids.created_at_of(delivery_id)
    except ValueError:
        raise not_found("delivery") from None
    values = {"id": delivery_id, "at": created_at, "workspace": workspace_id, "most": MOST_ATTEMPTS}
    row = work.execute(
        text(f"SELECT {_COLUMNS} FROM deliveries d WHERE id = :id AND created_at = :at AND workspace_id = :workspace"),
        values,
    ).one_or_none()
    if row is None:
        raise not_found("delivery")
    attempts = work.execute(
        text(
            "SELECT * FROM attempts WHERE delivery_id = :id AND created_at >= CAST(:at AS timestamptz)"
            " - interval '1 minute' ORDER BY number DESC, id DESC LIMIT :most"  # an attempt's clock may differ a little
        ),
        values,
    ).all()
    return {**_shown(row), "attempts": [_shown_attempt(attempt) for attempt in reversed(attempts)]}


def find_attempts(work: Work, workspace_id: str, wanted: Sequence[tuple[str, str]]) -> dict[str, dict[str, Any]]:
    """By attempt id: the delivery as it is now, with that `attempt` of it (but for what the receiver answered).

    wanted: (delivery id, attempt id). What is not there, or not this workspace's, is left out.
    """
    known = [
        (delivery, attempt)
        for delivery, attempt in wanted
        if ids.is_id(ids.DELIVERY, delivery) and ids.is_id(ids.ATTEMPT, attempt)
    ]
    values = {
        "workspace": workspace_id,
        "deliveries": sorted({delivery for delivery, _ in known}),
        "delivery_times": sorted({ids.created_at_of(delivery) for delivery, _ in known}),
        "attempts": sorted({attempt for _, attempt in known}),
        "attempt_times": sorted({ids.created_at_of(attempt) for _, attempt in known}),
    }
    rows = work.execute(text(_FOUND), values) if known else ()
    return {row.attempt_id: {**_shown(row), "attempt": _tried(row, row.attempt_id)} for row in rows}


def endpoint_stats(work: Work, workspace_id: str, endpoint_id: str) -> dict[str, Any]:
    """How an endpoint has been doing in the last 24 hours, and what waits for it now. Raises Problem not_found.

    success_rate: delivered of all that ended, 0 to 1, None when none ended. Durations are those of the attempts.
    """
    values = {"endpoint": endpoint_id, "workspace": workspace_id, "hours": STATS_HOURS}
    known = text("SELECT 1 FROM endpoints WHERE id = :endpoint AND workspace_id = :workspace")
    if work.execute(known, values).scalar() is None:
        raise not_found("endpoint")
    counts = dict.fromkeys(STATUSES, 0)
    counts.update({row.status: row.count for row in work.execute(text(_COUNTS), values)})
    waiting = work.execute(text(_WAITING), values).one()
    attempts = work.execute(text(_DURATIONS), values).one()
    ended = counts["delivered"] + counts["failed"]
    return {
        "hours": STATS_HOURS,
        "deliveries": counts,
        "success_rate": round(counts["delivered"] / ended, 4) if ended else None,
        "attempts": attempts.count,
        "duration_ms": {"p50": attempts.p50, "p95": attempts.p95},
        "pending": waiting.count,
        "oldest_pending_at": _time(waiting.oldest),
    }


_COLUMNS = (
    "d.id, d.event_id, d.endpoint_id, d.event_type, d.status, d.reason, d.attempt_count, d.created_at, d.due_at,"
    " d.deadline_at, d.finished_at, d.lease_token IS NOT NULL AND d.due_at > now() AS sending"
)

# The times let PostgreSQL leave partitions out.
_FOUND = f"""
SELECT {_COLUMNS}, a.id AS attempt_id, a.number, a.started_at, a.duration_ms, a.outcome, a.error, a.status_code,
  a.remote_address, a.trigger
FROM attempts a JOIN deliveries d ON d.id = a.delivery_id
WHERE a.id = ANY (:attempts) AND a.created_at = ANY (:attempt_times) AND a.workspace_id = :workspace
  AND d.id = ANY (:deliveries) AND d.created_at = ANY (:delivery_times) AND d.workspace_id = :workspace
"""

_COUNTS = """
SELECT status, count(*) AS count FROM deliveries
WHERE endpoint_id = :endpoint AND created_at >= now() - make_interval(hours => :hours) GROUP BY status
"""

_WAITING = """
SELECT count(*) AS count, min(created_at) AS oldest FROM deliveries WHERE endpoint_id = :endpoint AND status = 'pending'
"""

_DURATIONS = """
SELECT count(*) AS count,
  percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms) AS p50,
  percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms) AS p95
FROM attempts WHERE endpoint_id = :endpoint AND created_at >= now() - make_interval(hours => :hours)
"""


def _moment(field: str, id: str) -> datetime:
    try:
        return ids.created_at_of(id)
    except ValueError:
        raise invalid(field, "this is not an id") from None


def _shown(row: Row[Any]) -> dict[str, Any]:
    """next_attempt_at: None when it has ended, and while an attempt is being made."""
    waits = row.status == "pending" and not row.sending
    return {
        "id": row.id,
        "event_id": row.event_id,
        "endpoint_id": row.endpoint_id,
        "event_type": row.event_type,
        "status": row.status,
        "reason": row.reason,
        "attempt_count": row.attempt_count,
        "created_at": rfc3339(row.created_at),
        "next_attempt_at": rfc3339(row.due_at) if waits else None,
        "deadline_at": rfc3339(row.deadline_at),
        "finished_at": _time(row.finished_at),
    }


def _shown_attempt(row: Row[Any]) -> dict[str, Any]:
    body = row.response_body
    return {
        **_tried(row, row.id),
        "response_headers": row.response_headers,
        "response_body": None if body is None else bytes(body).decode("utf-8", "replace"),
        "response_body_truncated": body is not None and len(body) >= KEPT_BODY_BYTES,
    }


def _tried(row: Row[Any], id: str) -> dict[str, Any]:
    """An attempt but for what the receiver answered."""
    return {
        "id": id,
        "number": row.number,
        "started_at": rfc3339(row.started_at),
        "duration_ms": row.duration_ms,
        "outcome": row.outcome,
        "error": row.error,
        "status_code": row.status_code,
        "remote_address": row.remote_address,
        "trigger": row.trigger,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
