"""The delivery log and a delivery: filters in the address, pages by cursor, one timeline, retry now."""

from __future__ import annotations

from urllib.parse import quote

from flask import Blueprint, Response

from app.accounts import audit
from app.database.partitions import database_time
from app.delivery import browsing, deliveries, reads, search
from app.web.pages import lane_page, timeline
from app.web.pages.console import answers, queries
from app.web.pages.console.visit import OPERATOR, VIEWER, Visit, page

api = Blueprint("log", __name__)


@page(api, "GET", "/console/deliveries", role=VIEWER)
def delivery_log(visit: Visit) -> Response:
    asked = queries.log_filters(visit.args)
    with visit.read() as connection:
        now = database_time(connection)
        page = search.log_page(connection, asked.filters, limit=queries.PAGE_ROWS, before=asked.before)
        customers = browsing.workspaces_page(connection, limit=200)
    return visit.show(
        "deliveries.html",
        asked=asked,
        page=page,
        now=now,
        customers=customers,
        statuses=reads.STATUSES,
        outcomes=queries.OUTCOMES,
        classes=queries.CLASSES,
    )


@page(api, "GET", "/console/search", role=VIEWER)
def find(visit: Visit) -> Response:
    text = visit.args.get("q", "").strip()
    if not text:
        return answers.redirect("/console/deliveries")
    with visit.read() as connection:
        found = [
            "/console/" + "/".join(quote(part, safe="") for part in one) for one in browsing.find(connection, text)
        ]
    if len(found) == 1:
        return answers.redirect(found[0])
    return visit.show("search.html", 200 if found else 404, text=text, found=found)


@page(api, "GET", "/console/deliveries/{delivery_id}", role=VIEWER)
def delivery(visit: Visit, delivery_id: str) -> Response:
    with visit.read() as connection:
        row = timeline.find_row(connection, delivery_id)
        shown = timeline.values_of(connection, visit.engine.settings, row)
        return visit.show("delivery.html", shown=shown)


@page(api, "POST", "/console/deliveries/{delivery_id}/retry", role=OPERATOR)
def retry(visit: Visit, delivery_id: str) -> Response:
    with visit.read() as connection:
        row = timeline.find_row(connection, delivery_id)
    if lane_page.has_ended(visit.form, row):
        return answers.redirect(lane_page.back_to("/console", visit.form, row), done="ended-meanwhile")
    with visit.act() as session:
        seconds = visit.engine.settings.delivery_window_seconds
        deliveries.retry_delivery(session, row.workspace_id, row.id, window_seconds=seconds)
        audit.note(session.connection(), visit.actor, "delivery.retry", target=row.id, workspace_id=row.workspace_id)
    visit.engine.ring()
    return answers.redirect(lane_page.back_to("/console", visit.form, row), done="retried")
