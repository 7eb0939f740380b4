"""The catalogue of event types: what each means, an example, its schema; the workspace's own among them."""

from __future__ import annotations

from flask import Blueprint, Response

from app.web.pages.catalogue import catalogue
from app.web.pages.portal.visit import PortalVisit, portal_page

api = Blueprint("portal_types", __name__)


@portal_page(api, "GET", "/portal/types")
def event_types(visit: PortalVisit) -> Response:
    with visit.read() as connection:
        types = catalogue(connection, visit.engine.rules, visit.workspace_id)
    return visit.show("types.html", types=types)
