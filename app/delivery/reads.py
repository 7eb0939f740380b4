"""The delivery log: reads of deliveries and their attempts, in the shapes of the API."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.orm import Session

from app.accounts.callers import Presented, refusal_of
from app.core import ids
from app.core.problem import invalid, not_found
from app.core.wire.envelope import rfc3339
from app.database.calls import BOOL, BYTEA, INT4, MOMENT, TEXT, Prepared
from app.database.connection import Database
from app.database.tables import PARKED
from app.delivery import search, waiting
from app.delivery.search import Filters
from app.delivery.waiting import NextAttempt

STATUSES = ("pending", "delivered", "failed", "cancelled")
MOST_ATTEMPTS = 200  # of one delivery in one answer, the latest; a schedule has eleven
KEPT_BODY_BYTES = 16 * 1024  # what the sender keeps of a response
STATS_HOURS = 24


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Some of the log, newest first. cursor: the id to go on before, None at the end; of an attempt where the filters
    make each row one. searched_to: how far the page has looked, where it ended before it was full."""

    rows: list[dict[str, Any]]
    cursor: str | None
    searched_to: datetime | None


def list_deliveries(connection: Connection, filters: Filters, *, limit: int, before: str | None = None) -> DeliveryPage:
    """Deliveries with an attempt each: the one that the filters ask for, else the last; at most `limit`.

    Where the filters make each row an attempt, a delivery comes once for each that fits. before: a cursor. Raises
    Problem invalid for an unknown status or a malformed cursor or event id.
    """
    if filters.status is not None and not set(filters.statuses) <= set(STATUSES):
        raise invalid("status", f"give some of {', '.join(STATUSES)}")
    for field, id in (("event_id", filters.event), ("cursor", before)):
        if id is not None:
            _moment(field, id)
    page = search.log_page(connection, filters, limit=limit, before=before)
    due = waiting.next_attempts(connection, [row.id for row in page.rows if row.status == "pending"])
    rows = [shown_with_attempt(row, due.get(row.id)) for row in page.rows]
    return DeliveryPage(rows, page.cursor, page.searched_to)


def shown_with_attempt(row: Row[Any], next_attempt: NextAttempt | None) -> dict[str, Any]:
    """A row of search.ROWS as the API shows it: the delivery, and the attempt that came with it or None."""
    waits = next_attempt is not None and not next_attempt.sending
    attempt = None
    if row.attempt_id is not None:
        attempt = _without_response(row, row.attempt_id) | {"trigger": row.attempt_trigger}
    return {
        **_delivery(row),
        "next_attempt_at": _time(next_attempt.due_at) if waits and next_attempt is not None else None,
        "attempt": attempt,
    }


def get_delivery(session: Session, workspace_id: str, delivery_id: str) -> dict[str, Any]:
    """One delivery with its attempts, first to last. Raises Problem not_found."""
    try:
        created_at = ids.created_at_of(delivery_id)
    except ValueError:
        raise not_found("delivery") from None
    connection = session.connection()
    key = {"id": delivery_id, "created_at": created_at}
    row = connection.exec_driver_sql(_ONE, {**key, "workspace": workspace_id}).one_or_none()
    if row is None:
        raise not_found("delivery")
    attempts = connection.exec_driver_sql(_ATTEMPTS, {**key, "most": MOST_ATTEMPTS}).all()
    return {**_shown(row), "attempts": [_shown_attempt(attempt) for attempt in reversed(attempts)]}


def read_delivery(database: Database, presented: Presented, workspace_id: str, delivery_id: str) -> dict[str, Any]:
    """The same, in one round trip with the judgement of the caller. Raises Problem."""
    created_at = ids.created_at_of(delivery_id)
    key = (presented.digest, workspace_id, presented.reference, delivery_id, created_at)
    rows = database.read(_READ_ONE, *key, MOST_ATTEMPTS)
    if rows[0].verdict:
        raise refusal_of(rows[0].verdict, "operate")
    if rows[0].id is None:
        raise not_found("delivery")
    attempts = [
        _shown_attempt(row._replace(id=row.attempt_id, response_headers=_parsed(row.response_headers)))
        for row in reversed(rows)
        if row.attempt_id is not None
    ]
    return {**_shown(rows[0]), "attempts": attempts}


def find_attempts(
    connection: Connection, workspace_id: str, wanted: Sequence[tuple[str, str]]
) -> dict[str, dict[str, Any]]:
    """By attempt id: the delivery as it is now, with that `attempt` of it, without the response.

    wanted: (delivery id, attempt id). What does not exist, or is another workspace's, is left out.
    """
    valid = [
        (delivery, attempt)
        for delivery, attempt in wanted
        if ids.is_id(ids.DELIVERY, delivery) and ids.is_id(ids.ATTEMPT, attempt)
    ]
    if not valid:
        return {}
    values = {
        "workspace": workspace_id,
        "deliveries": sorted({delivery for delivery, _ in valid}),
        "delivery_times": sorted({ids.created_at_of(delivery) for delivery, _ in valid}),
        "attempts": sorted({attempt for _, attempt in valid}),
        "attempt_times": sorted({ids.created_at_of(attempt) for _, attempt in valid}),
    }
    rows = connection.exec_driver_sql(_SOME_ATTEMPTS, values)
    return {row.attempt_id: {**_shown(row), "attempt": _without_response(row, row.attempt_id)} for row in rows}


def endpoint_stats(session: Session, workspace_id: str, endpoint_id: str) -> dict[str, Any]:
    """How an endpoint has been doing in the last 24 hours, and what waits for it now. Raises Problem not_found.

    success_rate: delivered of all that ended, 0 to 1, None when none ended. Durations are those of the attempts.
    """
    connection = session.connection()
    key = {"endpoint": endpoint_id}
    if connection.exec_driver_sql(_ENDPOINT_EXISTS, {**key, "workspace": workspace_id}).scalar() is None:
        raise not_found("endpoint")
    recent = {**key, "hours": STATS_HOURS}
    counts = dict.fromkeys(STATUSES, 0)
    counts.update({row.status: row.count for row in connection.exec_driver_sql(_COUNTS, recent)})
    waiting = connection.exec_driver_sql(_WAITING, key).one()
    attempts = connection.exec_driver_sql(_DURATIONS, recent).one()
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


def _moment(field: str, id: str) -> datetime:
    try:
        return ids.created_at_of(id)
    except ValueError:
        raise invalid(field, "this is not an id") from None


def _shown(row: Any) -> dict[str, Any]:
    """A delivery. next_attempt_at: None when it has ended, and while an attempt is being made."""
    waits = row.status == "pending" and not row.sending and row.due_at is not None
    return _delivery(row) | {"next_attempt_at": rfc3339(row.due_at) if waits else None}


def _delivery(row: Any) -> dict[str, Any]:
    return {
        "id": row.id,
        "workspace_id": row.workspace_id,
        "event_id": row.event_id,
        "endpoint_id": row.endpoint_id,
        "event_type": row.event_type,
        "status": row.status,
        "reason": row.reason,
        "attempt_count": row.attempt_count,
        "created_at": rfc3339(row.created_at),
        "deadline_at": rfc3339(row.deadline_at),
        "finished_at": _time(row.finished_at),
    }


def _shown_attempt(row: Any) -> dict[str, Any]:
    body = row.response_body
    return {
        **_without_response(row, row.id),
        "timing_ms": timing_ms(row),
        "connection_reused": row.connection_reused,
        "batch_id": row.batch_id,
        "batch_size": row.batch_size,
        "batch_position": row.batch_position,
        "response_headers": row.response_headers,
        "response_body": None if body is None else bytes(body).decode("utf-8", "replace"),
        "response_body_truncated": body is not None and len(body) >= KEPT_BODY_BYTES,
    }


def _without_response(row: Any, id: str) -> dict[str, Any]:
    """An attempt without the response."""
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


def timing_ms(row: Any) -> dict[str, int | None] | None:
    """Where an attempt's time went, milliseconds; None where that is not known. row: of the table."""
    parts = {"dns": row.dns_ms, "connect": row.connect_ms, "tls": row.tls_ms, "first_byte": row.first_byte_ms}
    if row.connection_reused is None and all(part is None for part in parts.values()):
        return None
    return parts | {"total": row.duration_ms}


def _parsed(text: str | None) -> Any:
    return None if text is None else json.loads(text)


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)


# What the log shows of a delivery d.
_COLUMNS = f"""
  d.id, d.workspace_id, d.event_id, d.endpoint_id, d.event_type, d.status, d.reason, d.attempt_count, d.created_at,
  d.deadline_at, d.finished_at,
  CASE WHEN due.due_at < '{PARKED}' THEN greatest(due.due_at, due.leased_until) END AS due_at,
  coalesce(due.leased_until > now(), false) AS sending
"""

# Of a pending delivery, when it is due.
_DUE = "JOIN due ON due.delivery_id = d.id AND due.created_at = d.created_at"

# One delivery. Its time, which its id holds, names the partition.
_ONE = f"""
SELECT {_COLUMNS}
FROM deliveries d LEFT {_DUE}
WHERE d.id = %(id)s AND d.created_at = %(created_at)s AND d.workspace_id = %(workspace)s
"""

# The latest attempts of a delivery. None was made before the delivery, but clocks may differ a little.
_ATTEMPTS = """
SELECT * FROM attempts WHERE delivery_id = %(id)s AND created_at >= %(created_at)s::timestamptz - interval '1 minute'
ORDER BY number DESC, id DESC LIMIT %(most)s
"""

# One delivery with its latest attempts, each in a row, if the caller may see it.
_READ_ONE = Prepared(
    b"read_delivery_5",
    "SELECT * FROM read_delivery($1, $2, $3, $4, $5, $6)",
    takes=(BYTEA, TEXT, TEXT, TEXT, MOMENT, INT4),
    gives={
        "verdict": TEXT,
        "id": TEXT,
        "workspace_id": TEXT,
        "event_id": TEXT,
        "endpoint_id": TEXT,
        "event_type": TEXT,
        "status": TEXT,
        "reason": TEXT,
        "attempt_count": INT4,
        "created_at": MOMENT,
        "deadline_at": MOMENT,
        "finished_at": MOMENT,
        "due_at": MOMENT,
        "sending": BOOL,
        "attempt_id": TEXT,
        "number": INT4,
        "started_at": MOMENT,
        "duration_ms": INT4,
        "outcome": TEXT,
        "error": TEXT,
        "status_code": INT4,
        "remote_address": TEXT,
        "trigger": TEXT,
        "response_headers": TEXT,
        "response_body": BYTEA,
        "dns_ms": INT4,
        "connect_ms": INT4,
        "tls_ms": INT4,
        "first_byte_ms": INT4,
        "connection_reused": BOOL,
        "batch_id": TEXT,
        "batch_size": INT4,
        "batch_position": INT4,
    },
)

# Some attempts, each with its delivery. The times let PostgreSQL leave partitions out.
_SOME_ATTEMPTS = f"""
SELECT {_COLUMNS}, a.id AS attempt_id, a.number, a.started_at, a.duration_ms, a.outcome, a.error, a.status_code,
  a.remote_address, a.trigger
FROM attempts a JOIN deliveries d ON d.id = a.delivery_id LEFT {_DUE}
WHERE a.id = ANY (%(attempts)s) AND a.created_at = ANY (%(attempt_times)s) AND a.workspace_id = %(workspace)s
  AND d.id = ANY (%(deliveries)s) AND d.created_at = ANY (%(delivery_times)s) AND d.workspace_id = %(workspace)s
"""

# Whether a workspace has this endpoint.
_ENDPOINT_EXISTS = "SELECT 1 FROM endpoints WHERE id = %(endpoint)s AND workspace_id = %(workspace)s"

# How many deliveries of the last hours an endpoint has in each state.
_COUNTS = """
SELECT status, count(*) AS count FROM deliveries
WHERE endpoint_id = %(endpoint)s AND created_at >= now() - make_interval(hours => %(hours)s) GROUP BY status
"""

# What waits for an endpoint, however old it is.
_WAITING = """
SELECT count(*) AS count, min(created_at) AS oldest FROM due WHERE endpoint_id = %(endpoint)s
"""

# How many attempts an endpoint has had in the last hours, and how long they took.
_DURATIONS = """
SELECT count(*) AS count,
  percentile_disc(0.5) WITHIN GROUP (ORDER BY duration_ms) AS p50,
  percentile_disc(0.95) WITHIN GROUP (ORDER BY duration_ms) AS p95
FROM attempts WHERE endpoint_id = %(endpoint)s AND created_at >= now() - make_interval(hours => %(hours)s)
"""
