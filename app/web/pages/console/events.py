"""Events, and of one event: its deliveries, and for each endpoint why it has, or has not, got it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flask import Blueprint, Response
from sqlalchemy import Connection, Row

from app.core import ids
from app.core.event import explain
from app.core.problem import Problem
from app.core.wire.envelope import data_of, metadata_of
from app.database.partitions import database_time
from app.delivery import browsing, search, waiting
from app.delivery.browsing import EventFilters
from app.delivery.search import Filters
from app.web.api.endpoints import TEST_KIND
from app.web.pages.console import queries
from app.web.pages.console.visit import VIEWER, Visit, page

api = Blueprint("console_events", __name__)

_NAMES = ("workspace", "type", "since", "until")
_MOST_DELIVERIES = 250  # of one event that its page shows
_MOST_ENDPOINTS = 250  # of one customer that are explained


@page(api, "GET", "/console/events", role=VIEWER)
def event_list(visit: Visit) -> Response:
    asked = queries.log_filters({name: value for name, value in visit.args.items() if name in _NAMES})
    filters = EventFilters(asked.filters.workspace, asked.filters.event_type, asked.filters.since, asked.filters.until)
    before = queries.id_or_none(visit.args.get("before"), ids.EVENT)
    with visit.read() as connection:
        now = database_time(connection)
        rows = browsing.events_page(connection, filters, limit=queries.PAGE_ROWS + 1, before=before)
        fates = browsing.fates(connection, rows[: queries.PAGE_ROWS])
        customers = browsing.workspaces_page(connection, limit=200)
    cursor = rows[queries.PAGE_ROWS - 1].id if len(rows) > queries.PAGE_ROWS else None
    shown = rows[: queries.PAGE_ROWS]
    return visit.show(
        "events.html", asked=asked, rows=shown, fates=fates, cursor=cursor, now=now, customers=customers, before=before
    )


@page(api, "GET", "/console/events/{event_id}", role=VIEWER)
def event(visit: Visit, event_id: str) -> Response:
    if queries.id_or_none(event_id, ids.EVENT) is None:
        raise Problem("not_found", "There is no such event.")
    with visit.read() as connection:
        row = browsing.get_event(connection, event_id)
        if row is None:
            raise Problem("not_found", "There is no such event. It may be older than events are kept.")
        now = database_time(connection)
        deliveries = search.log_page(connection, Filters(event=event_id), limit=_MOST_DELIVERIES).rows
        endpoints = browsing.endpoints_page(connection, workspace=row.workspace_id, limit=_MOST_ENDPOINTS)
        reasons = _reasons(connection, row, endpoints, deliveries, now)
    return visit.show(
        "event.html",
        row=row,
        now=now,
        reasons=reasons,
        payload=data_of(bytes(row.body)).decode("utf-8", "replace"),
        metadata=metadata_of(bytes(row.body)).decode("utf-8", "replace"),
        envelope=bytes(row.body).decode("utf-8", "replace"),
        most=_MOST_ENDPOINTS,
    )


def _reasons(
    connection: Connection,
    event: Row[Any],
    endpoints: list[Row[Any]] | Any,
    deliveries: list[Row[Any]] | Any,
    now: datetime,
) -> list[dict[str, Any]]:
    """For each endpoint, those with a delivery first: the explanation, and the delivery if there is one."""
    due = waiting.next_attempts(connection, [one.id for one in deliveries if one.status == "pending"])
    is_test = event.stream_kind == TEST_KIND and any(one.trigger == "test" for one in deliveries)
    facts = explain.EventFacts(event.type, event.stream_kind, event.created_at, is_test)
    by_endpoint = {one.endpoint_id: one for one in reversed(deliveries)}
    known = {one.id: one for one in endpoints}
    order = [*by_endpoint, *(id for id in known if id not in by_endpoint)]
    made = []
    for id in order:
        delivery, endpoint = by_endpoint.get(id), known.get(id)
        explained = explain.explain(facts, _endpoint_facts(endpoint), _delivery_facts(delivery, due), now)
        made.append({"id": id, "endpoint": endpoint, "delivery": delivery, "explained": explained})
    return made


def _endpoint_facts(row: Row[Any] | None) -> explain.EndpointFacts | None:
    if row is None:
        return None
    return explain.EndpointFacts(
        enabled=row.status == "enabled",
        event_types=row.event_types,
        stream_kinds=row.stream_kinds,
        created_at=row.created_at,
        updated_at=row.updated_at,
        disabled_at=row.disabled_at,
        disabled_reason=row.disabled_reason,
        rate_limited_until=row.rate_limited_until,
    )


def _delivery_facts(row: Row[Any] | None, due: dict[str, waiting.NextAttempt]) -> explain.DeliveryFacts | None:
    if row is None:
        return None
    next_attempt = due.get(row.id)
    return explain.DeliveryFacts(
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
    )
