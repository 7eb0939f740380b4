"""Events, and of one event: its deliveries, and for each endpoint why it has, or has not, got it."""

from __future__ import annotations

from flask import Blueprint, Response

from app.core import ids
from app.core.problem import Problem
from app.core.wire.envelope import data_of, metadata_of
from app.database.partitions import database_time
from app.delivery import browsing, explaining
from app.delivery.browsing import EventFilters
from app.web.pages.console import queries
from app.web.pages.console.visit import VIEWER, Visit, page

api = Blueprint("console_events", __name__)

_NAMES = ("workspace", "type", "since", "until")
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
        explained = explaining.explain_all(connection, row, limit=_MOST_ENDPOINTS)
    return visit.show(
        "event.html",
        row=row,
        now=now,
        reasons=sorted(explained, key=lambda one: one.delivery is None),
        payload=data_of(bytes(row.body)).decode("utf-8", "replace"),
        metadata=metadata_of(bytes(row.body)).decode("utf-8", "replace"),
        envelope=bytes(row.body).decode("utf-8", "replace"),
        most=_MOST_ENDPOINTS,
    )
