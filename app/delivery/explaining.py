"""Why an event has, or has not, reached each of some endpoints: the rows that decide it, given to core.event.explain.

The console's page of an event and GET /v1/events/{id}/explain show the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from app.core.event import explain
from app.core.event.explain import DeliveryFacts, EndpointFacts, EventFacts, Explanation
from app.core.event.filters.reading import stored_filter
from app.core.wire.envelope import data_of
from app.core.wire.json_text import value_of
from app.database.partitions import database_time
from app.delivery import browsing, search, waiting
from app.delivery.waiting import NextAttempt

# The endpoints of a page: those of the event's workspace, and those deleted ones that have a delivery of it. Newest
# first, as their ids are.
_ENDPOINTS = """
SELECT id FROM (
  (SELECT e.id FROM endpoints e
   WHERE e.workspace_id = %(workspace)s AND (%(before)s::text IS NULL OR e.id < %(before)s)
   ORDER BY e.id DESC LIMIT %(limit)s)
  UNION
  SELECT d.endpoint_id FROM deliveries d
  WHERE d.event_id = %(event)s AND d.created_at >= %(at)s AND (%(before)s::text IS NULL OR d.endpoint_id < %(before)s)
) AS both_of ORDER BY id DESC LIMIT %(limit)s
"""

# One endpoint, if it is the workspace's or has a delivery of the event.
_ENDPOINT = """
SELECT e.id FROM endpoints e WHERE e.id = %(endpoint)s AND e.workspace_id = %(workspace)s
UNION
SELECT d.endpoint_id FROM deliveries d
WHERE d.event_id = %(event)s AND d.created_at >= %(at)s AND d.endpoint_id = %(endpoint)s
"""

# The deliveries of an event to some endpoints, oldest first.
_DELIVERIES = """
SELECT d.id FROM deliveries d
WHERE d.event_id = %(event)s AND d.created_at >= %(at)s AND d.endpoint_id = ANY (%(endpoints)s::text[]) ORDER BY d.id
"""

# Whether an event was made to test one endpoint: then all others have not missed it.
_IS_TEST = """
SELECT EXISTS (SELECT FROM deliveries d WHERE d.event_id = %(event)s AND d.created_at >= %(at)s AND d.trigger = 'test')
"""


@dataclass(frozen=True, slots=True)
class Explained:
    """One endpoint's answer. endpoint: None when it is deleted; delivery: a row of search.ROWS, None when there is
    none; next_attempt: of a pending one."""

    endpoint_id: str
    explanation: Explanation
    endpoint: Row[Any] | None
    delivery: Row[Any] | None
    next_attempt: NextAttempt | None


def explain_all(
    connection: Connection, event: Row[Any], *, limit: int, before: str | None = None
) -> Sequence[Explained]:
    """What each endpoint got of an event, newest endpoints first, at most `limit`, older than the id `before`.

    event: of browsing.get_event.
    """
    asked = _asked(event) | {"limit": limit, "before": before}
    return _explain(connection, event, list(connection.exec_driver_sql(_ENDPOINTS, asked).scalars()))


def explain_one(connection: Connection, event: Row[Any], endpoint_id: str) -> Explained | None:
    """What one endpoint got of an event. None: it is neither the workspace's, nor has it a delivery of this event."""
    asked = _asked(event) | {"endpoint": endpoint_id}
    found = list(connection.exec_driver_sql(_ENDPOINT, asked).scalars())
    return _explain(connection, event, found)[0] if found else None


def _asked(event: Row[Any]) -> dict[str, Any]:
    return {"event": event.id, "at": event.created_at, "workspace": event.workspace_id}


def _explain(connection: Connection, event: Row[Any], endpoint_ids: list[str]) -> list[Explained]:
    asked = _asked(event)
    ids = list(connection.exec_driver_sql(_DELIVERIES, asked | {"endpoints": endpoint_ids}).scalars())
    # Of two deliveries to one endpoint, the later one counts.
    deliveries = {one.endpoint_id: one for one in search.rows_of(connection, [(id, None) for id in ids])}
    endpoints = {one.id: one for one in browsing.endpoints_of(connection, endpoint_ids)}
    due = waiting.next_attempts(connection, [one.id for one in deliveries.values() if one.status == "pending"])
    is_test = bool(connection.exec_driver_sql(_IS_TEST, asked).scalar())
    looking = any(one.content_filter is not None for one in endpoints.values())
    data = value_of(data_of(bytes(event.body))) if looking else None  # once, whatever the number of endpoints
    channels = event.channels or ()
    facts = EventFacts(event.type, event.stream_kind, event.created_at, is_test, channels, data)
    now = database_time(connection)
    made = []
    for id in endpoint_ids:
        endpoint, delivery = endpoints.get(id), deliveries.get(id)
        next_attempt = None if delivery is None else due.get(delivery.id)
        told = explain.explain(facts, _endpoint_facts(endpoint), _delivery_facts(delivery, next_attempt), now)
        made.append(Explained(id, told, endpoint, delivery, next_attempt))
    return made


def _endpoint_facts(row: Row[Any] | None) -> EndpointFacts | None:
    if row is None:
        return None
    return EndpointFacts(
        enabled=row.status == "enabled",
        event_types=row.event_types,
        stream_kinds=row.stream_kinds,
        created_at=row.created_at,
        updated_at=row.updated_at,
        disabled_at=row.disabled_at,
        disabled_reason=row.disabled_reason,
        rate_limited_until=row.rate_limited_until,
        channels=row.channels,
        content=None if row.content_filter is None else stored_filter(row.content_filter),
    )


def _delivery_facts(row: Row[Any] | None, next_attempt: NextAttempt | None) -> DeliveryFacts | None:
    if row is None:
        return None
    return DeliveryFacts(
        status=row.status,
        reason=row.reason,
        attempt_count=row.attempt_count,
        deadline_at=row.deadline_at,
        finished_at=row.finished_at,
        due_at=None if next_attempt is None else next_attempt.due_at,
        sending=next_attempt is not None and next_attempt.sending,
        last_outcome=row.outcome,
        last_status=row.status_code,
        last_error=row.error,
        waits_its_turn=next_attempt is not None and next_attempt.due_at is None,
    )
