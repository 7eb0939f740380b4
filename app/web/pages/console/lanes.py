"""Lanes: which stand still, over all customers; those of one endpoint; having a stream go on without its first."""

from __future__ import annotations

from flask import Blueprint, Response

from app.core import ids
from app.database.partitions import database_time
from app.delivery import browsing, deliveries
from app.web.pages import lane_page, timeline
from app.web.pages.console import answers, queries
from app.web.pages.console.endpoints import find_row
from app.web.pages.console.visit import OPERATOR, VIEWER, Visit, page

api = Blueprint("console_lanes", __name__)


@page(api, "GET", "/console/lanes", role=VIEWER)
def stopped_lanes(visit: Visit) -> Response:
    workspace = queries.id_or_none(visit.args.get("workspace"), ids.WORKSPACE)
    with visit.read() as connection:
        rows = lane_page.stopped(connection, workspace)
        now = database_time(connection)
        customers = browsing.workspaces_page(connection, limit=200)
    return visit.show(
        "lanes.html", rows=rows, now=now, workspace=workspace, customers=customers, most=lane_page.MOST_STOPPED
    )


@page(api, "GET", "/console/endpoints/{endpoint_id}/lanes", role=VIEWER)
def endpoint_lanes(visit: Visit, endpoint_id: str) -> Response:
    with visit.read() as connection:
        row = find_row(connection, endpoint_id)
        found = lane_page.of_endpoint(connection, row, queries.number_or_none(visit.args.get("after")))
        now = database_time(connection)
    return visit.show("endpoint_lanes.html", row=row, found=found, now=now)


@page(api, "POST", "/console/deliveries/{delivery_id}/skip", role=OPERATOR)
def skip(visit: Visit, delivery_id: str) -> Response:
    with visit.read() as connection:
        row = timeline.find_row(connection, delivery_id)
    with visit.act() as session:
        deliveries.skip_delivery(session, row.workspace_id, row.id)
        visit.note(session, "delivery.skip", row.id, row.workspace_id)
    visit.engine.ring()
    return answers.redirect(lane_page.back_to("/console", visit.form, row), done="skipped")
