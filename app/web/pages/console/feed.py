"""The feed of a customer: everything in one order, page by page and as it happens."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from sqlalchemy import Connection, Row

from app.core import ids
from app.core.problem import Problem
from app.delivery import browsing
from app.web.live.feed import Watch, show_feed
from app.web.live.opening import client_socket
from app.web.live.sse import Unanswered
from app.web.pages import feed_page
from app.web.pages.console import answers, queries
from app.web.pages.console.visit import VIEWER, Visit, page, still_signed_in

api = Blueprint("console_feed", __name__)

HOME = "/console/feed"


@page(api, "GET", HOME, role=VIEWER)
def choose_feed(visit: Visit) -> Response:
    """The customers whose feeds there are; at once the feed of the one that is chosen, or of the only one."""
    given = feed_page.filters_in(request.args)
    with visit.read() as connection:
        customers = browsing.workspaces_page(connection, limit=200)
    chosen = queries.id_or_none(visit.args.get("workspace"), ids.WORKSPACE)
    if chosen is not None:
        return answers.redirect(f"{HOME}/{chosen}", **given)
    if len(customers) == 1:
        return _show(visit, customers[0].id)
    return visit.show("feed_choice.html", customers=customers)


@page(api, "GET", f"{HOME}/{{workspace_id}}", role=VIEWER)
def feed(visit: Visit, workspace_id: str) -> Response:
    return _show(visit, workspace_id)


def _show(visit: Visit, workspace_id: str) -> Response:
    asked = feed_page.asked_of(request.args)
    with visit.read() as connection:
        row = find_customer(connection, workspace_id)
        customers = browsing.workspaces_page(connection, limit=200)
    shown = feed_page.read_page(visit.engine, visit.read, row.id, asked)
    return visit.show(
        "feed.html", row=row, asked=asked, shown=shown, customers=customers, api=visit.engine.settings.public_url
    )


@page(api, "GET", f"{HOME}/{{workspace_id}}/live", role=VIEWER)
def watch_feed(visit: Visit, workspace_id: str) -> Response:
    sock = client_socket()
    if visit.engine.hub.stopping:
        return Unanswered()
    with visit.read() as connection:
        find_customer(connection, workspace_id)
    wanted, last = feed_page.asked_of(request.args).wanted, request.headers.get("Last-Event-ID")
    watch = Watch(workspace_id, visit.person.id, still_signed_in(visit), visit.person.life_seconds)
    return show_feed(visit.engine, watch, sock, wanted, "latest", last)


def find_customer(connection: Connection, workspace_id: str) -> Row[Any]:
    """A customer. Raises Problem not_found."""
    is_id = queries.id_or_none(workspace_id, ids.WORKSPACE) is not None
    rows = browsing.workspaces_page(connection, id=workspace_id, limit=1) if is_id else ()
    if not rows:
        raise Problem("not_found", "There is no such customer.")
    return rows[0]
