"""Bulk retries: what would be attempted again, ordering it, watching how far it has come, stopping it."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from flask import Blueprint, Response

from app.accounts import audit
from app.core import ids
from app.core.problem import Problem
from app.database.partitions import database_time
from app.delivery import browsing, bulk, reads
from app.delivery.bulk import BulkFilters
from app.web.pages.console import answers, queries
from app.web.pages.console.queries import Asked
from app.web.pages.console.visit import OPERATOR, VIEWER, Visit, page

api = Blueprint("console_bulk", __name__)

# The log's filters that an order takes, by their names in the address.
TAKEN = ("workspace", "endpoint", "status", "type", "since", "until")
STATUSES = (*reads.STATUSES, bulk.MISSED)


@page(api, "GET", "/console/bulk-retries", role=VIEWER)
def bulk_list(visit: Visit) -> Response:
    before = queries.id_or_none(visit.args.get("before"), ids.BULK_RETRY)
    with visit.read() as connection:
        rows = bulk.list_orders(connection, limit=queries.PAGE_ROWS + 1, before=before)
        now = database_time(connection)
    shown = rows[: queries.PAGE_ROWS]
    cursor = shown[-1].id if len(rows) > queries.PAGE_ROWS else None
    return visit.show("bulk_retries.html", rows=shown, cursor=cursor, now=now)


@page(api, "GET", "/console/bulk-retries/new", role=VIEWER)
def dry_run(visit: Visit) -> Response:
    """The count of what the filters in the address let in."""
    asked = queries.log_filters(visit.args, STATUSES)
    _blame(asked)
    with visit.read() as connection:
        found = None if asked.wrong else bulk.count(connection, _filters(asked))
        customers = browsing.workspaces_page(connection, limit=200)
    return visit.show(
        "bulk_retry_new.html", asked=asked, found=found, customers=customers, statuses=bulk.ABOUT, names=TAKEN
    )


@page(api, "POST", "/console/bulk-retries", role=OPERATOR)
def order(visit: Visit) -> Response:
    asked = queries.log_filters(visit.form, STATUSES)
    _blame(asked)
    if asked.wrong:
        raise Problem("invalid", " ".join(asked.wrong))
    filters = _filters(asked)
    with visit.act() as session:
        id = bulk.order(session.connection(), filters, visit.person.name)
        given: dict[str, Any] = dict(asked.given)
        audit.note(
            session.connection(), visit.actor, "bulk.retry", target=id, workspace_id=filters.workspace, filters=given
        )
    return answers.redirect(f"/console/bulk-retries/{id}")


@page(api, "GET", "/console/bulk-retries/{bulk_id}", role=VIEWER)
def progress(visit: Visit, bulk_id: str) -> Response:
    with visit.read() as connection:
        row = bulk.find(connection, bulk_id)
        now = database_time(connection)
    return visit.show("bulk_retry.html", row=row, now=now)


@page(api, "POST", "/console/bulk-retries/{bulk_id}/cancel", role=OPERATOR)
def stop(visit: Visit, bulk_id: str) -> Response:
    with visit.act() as session:
        row = bulk.find(session.connection(), bulk_id)
        bulk.cancel(session.connection(), row.id)
        audit.note(session.connection(), visit.actor, "bulk.cancel", target=row.id, workspace_id=row.workspace_id)
    return answers.redirect(f"/console/bulk-retries/{row.id}", done="bulk-cancelled")


def _blame(asked: Asked) -> None:
    """Name the filters that an order does not take: left out, they would let in more than was meant."""
    for name in asked.given:
        if name not in TAKEN:
            asked.wrong.append(f"A bulk retry cannot be narrowed by {name}.")
    if asked.filters.status == bulk.MISSED and asked.filters.endpoint is None:
        asked.wrong.append("Say which endpoint: what was missed was missed by one.")
    if asked.filters.status not in (None, *bulk.ABOUT):
        asked.wrong.append("Only what failed or was cancelled is attempted again.")


def _filters(asked: Asked) -> BulkFilters:
    return BulkFilters(**{item.name: getattr(asked.filters, item.name) for item in fields(BulkFilters)})
