"""A customer's lanes: which stand still, and those of one endpoint."""

from __future__ import annotations

from flask import Blueprint, Response

from app.accounts.portal import MANAGE, OPERATE
from app.database.partitions import database_time
from app.web.pages import lane_page
from app.web.pages.console import queries
from app.web.pages.portal.endpoints import find_row
from app.web.pages.portal.visit import PortalVisit, portal_page

api = Blueprint("portal_lanes", __name__)


@portal_page(api, "GET", "/portal/lanes", scope=OPERATE)
def stopped_lanes(visit: PortalVisit) -> Response:
    with visit.read() as connection:
        rows = lane_page.stopped(connection, visit.workspace_id)
        now = database_time(connection)
    return visit.show("lanes.html", rows=rows, now=now, most=lane_page.MOST_STOPPED)


@portal_page(api, "GET", "/portal/endpoints/{endpoint_id}/lanes", scope=MANAGE)
def endpoint_lanes(visit: PortalVisit, endpoint_id: str) -> Response:
    with visit.read() as connection:
        row = find_row(connection, visit, endpoint_id)
        found = lane_page.of_endpoint(connection, row, queries.number_or_none(visit.args.get("after")))
        now = database_time(connection)
    return visit.show("endpoint_lanes.html", row=row, found=found, now=now)
