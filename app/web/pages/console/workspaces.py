"""Customers: which there are; one of them with its endpoints, what was not delivered, and its events by the day."""

from __future__ import annotations

from datetime import datetime, timedelta

from flask import Blueprint, Response

from app.core.problem import Problem
from app.database.partitions import database_time
from app.delivery import browsing, search
from app.delivery.browsing import EventFilters
from app.delivery.search import Filters
from app.web.pages.console import queries
from app.web.pages.console.visit import VIEWER, Visit, page

api = Blueprint("console_workspaces", __name__)

_LAST = 25  # rows of each list on a customer's page
_MOST_ENDPOINTS = 50
_MOST_PAGES = 10_000  # offsets are read through


@page(api, "GET", "/console/workspaces", role=VIEWER)
def workspace_list(visit: Visit) -> Response:
    text = visit.args.get("q", "").strip()
    number = min(queries.number_or_none(visit.args.get("page")) or 0, _MOST_PAGES)
    with visit.read() as connection:
        rows = browsing.workspaces_page(
            connection, text=text or None, limit=queries.PAGE_ROWS + 1, offset=number * queries.PAGE_ROWS
        )
        now = database_time(connection)
    more = len(rows) > queries.PAGE_ROWS
    return visit.show("workspaces.html", rows=rows[: queries.PAGE_ROWS], text=text, number=number, more=more, now=now)


@page(api, "GET", "/console/workspaces/{workspace_id}", role=VIEWER)
def workspace(visit: Visit, workspace_id: str) -> Response:
    with visit.read() as connection:
        rows = browsing.workspaces_page(connection, id=workspace_id, limit=1)
        if not rows:
            raise Problem("not_found", "There is no such customer.")
        now = database_time(connection)
        today = now.replace(hour=0, minute=0, second=0, microsecond=0)
        day = _day(visit.args.get("day", ""), today)
        span = EventFilters(workspace_id, since=day, until=day + timedelta(days=1))
        events = browsing.events_page(connection, span, limit=_LAST + 1)
        return visit.show(
            "workspace.html",
            row=rows[0],
            now=now,
            endpoints=browsing.endpoints_page(connection, workspace=workspace_id, limit=_MOST_ENDPOINTS),
            failed=search.log_page(connection, Filters(workspace=workspace_id, status="failed"), limit=_LAST).rows,
            cancelled=search.log_page(
                connection, Filters(workspace=workspace_id, status="cancelled"), limit=_LAST
            ).rows,
            events=events[:_LAST],
            more=len(events) > _LAST,
            fates=browsing.fates(connection, events[:_LAST]),
            day=day,
            days=[today - timedelta(days=back) for back in range(7)],
            next_day=day + timedelta(days=1),
        )


def _day(text: str, today: datetime) -> datetime:
    """A day as the page's links name it; today for anything else."""
    found = queries.moment(text) if len(text) == len("2026-11-20") else None
    return found if found is not None and found <= today else today
