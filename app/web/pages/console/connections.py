"""Live connections: who watches what, over all web processes, and ending one."""

from __future__ import annotations

from flask import Blueprint, Response

from app.accounts import audit
from app.core import ids
from app.core.problem import Problem
from app.delivery import browsing
from app.live.census import ROUND_SECONDS, most_telling
from app.redis_connection import FAILURES
from app.web.pages.console import answers, queries
from app.web.pages.console.visit import OPERATOR, VIEWER, Visit, page

api = Blueprint("console_connections", __name__)

_MOST = 200  # rows of the page


@page(api, "GET", "/console/connections", role=VIEWER)
def connection_list(visit: Visit) -> Response:
    workspace = queries.id_or_none(visit.args.get("workspace"), ids.WORKSPACE)
    known = visit.engine.census.look()
    wanted = [one for one in known.connections if workspace in (None, one.workspace_id)]
    with visit.read() as connection:
        customers = browsing.workspaces_page(connection, limit=200)
    return visit.show(
        "connections.html",
        rows=most_telling(wanted, _MOST),
        known=known,
        workspace=workspace,
        customers=customers,
        names={one.id: one.name for one in customers},
        seconds=ROUND_SECONDS,
    )


@page(api, "POST", "/console/connections/{connection_id}/disconnect", role=OPERATOR)
def disconnect(visit: Visit, connection_id: str) -> Response:
    try:
        found = visit.engine.census.disconnect(connection_id)
    except FAILURES:
        raise Problem("unavailable", "Redis does not answer, over which processes are told. Try again.") from None
    if not found:
        raise Problem("not_found", "There is no such connection; it may have ended.")
    with visit.act() as session:
        audit.note(session.connection(), visit.actor, "connection.disconnect", target=connection_id)
    return answers.redirect("/console/connections", done="disconnected")
