"""A customer's delivery log and a delivery; both as the console has them, of one workspace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flask import Blueprint, Response, request
from sqlalchemy import Row

from app.accounts.portal import OPERATE
from app.database.partitions import database_time
from app.delivery import deliveries, reads, search
from app.web.live.opening import client_socket
from app.web.live.sse import Unanswered
from app.web.pages import lane_page, timeline
from app.web.pages.console import answers, queries
from app.web.pages.console.live import RowsView, show_rows
from app.web.pages.console.queries import Asked
from app.web.pages.portal.visit import PortalVisit, portal_page, still_signed_in

api = Blueprint("portal_log", __name__)


@portal_page(api, "GET", "/portal/deliveries", scope=OPERATE)
def delivery_log(visit: PortalVisit) -> Response:
    asked = _asked(visit)
    with visit.read() as connection:
        now = database_time(connection)
        page = search.log_page(connection, asked.filters, limit=queries.PAGE_ROWS, before=asked.before)
    return visit.show(
        "deliveries.html",
        asked=asked,
        page=page,
        now=now,
        statuses=reads.STATUSES,
        outcomes=queries.OUTCOMES,
        classes=queries.CLASSES,
    )


@portal_page(api, "GET", "/portal/deliveries/live", scope=OPERATE)
def watch_log(visit: PortalVisit) -> Response:
    sock = client_socket()
    if visit.engine.hub.stopping:
        return Unanswered()
    return show_rows(visit.engine, GuestsView(visit), sock, request.headers.get("Last-Event-ID"))


@portal_page(api, "GET", "/portal/deliveries/{delivery_id}", scope=OPERATE)
def delivery(visit: PortalVisit, delivery_id: str) -> Response:
    with visit.read() as connection:
        row = timeline.find_row(connection, delivery_id, visit.workspace_id)
        shown = timeline.values_of(connection, visit.engine.settings, row)
    return visit.show("delivery.html", shown=shown)


@portal_page(api, "POST", "/portal/deliveries/{delivery_id}/retry", scope=OPERATE)
def retry(visit: PortalVisit, delivery_id: str) -> Response:
    row = _row(visit, delivery_id)
    if lane_page.has_ended(visit.form, row):
        return answers.redirect(lane_page.back_to("/portal", visit.form, row), done="ended-meanwhile")
    with visit.act() as session:
        seconds = visit.engine.settings.delivery_window_seconds
        deliveries.retry_delivery(session, visit.workspace_id, delivery_id, window_seconds=seconds)
        visit.note(session, "delivery.retry", delivery_id)
    visit.engine.ring()
    return answers.redirect(lane_page.back_to("/portal", visit.form, row), done="retried")


@portal_page(api, "POST", "/portal/deliveries/{delivery_id}/skip", scope=OPERATE)
def skip(visit: PortalVisit, delivery_id: str) -> Response:
    with visit.act() as session:
        deliveries.skip_delivery(session, visit.workspace_id, delivery_id)
        visit.note(session, "delivery.skip", delivery_id)
    visit.engine.ring()
    return answers.redirect(lane_page.back_to("/portal", visit.form, _row(visit, delivery_id)), done="skipped")


def _row(visit: PortalVisit, delivery_id: str) -> Row[Any]:
    with visit.read() as connection:
        return timeline.find_row(connection, delivery_id, visit.workspace_id)


class GuestsView(RowsView):
    """What a customer wants to see of their log, as long as their session goes on."""

    def __init__(self, visit: PortalVisit) -> None:
        super().__init__(visit.engine.guests, _asked(visit).filters)
        self.may_see = still_signed_in(visit)
        self.owners: Mapping[str, str] = {visit.guest.link_id: "The portal", visit.workspace_id: "The workspace"}


def _asked(visit: PortalVisit) -> Asked:
    """The filters of the address, whatever it says of a workspace."""
    asked = queries.log_filters({name: value for name, value in visit.args.items() if name != "workspace"})
    asked.filters = replace(asked.filters, workspace=visit.workspace_id)
    return asked
