"""Endpoints: which there are and how they do; one of them with its health, and what is done to it but for its form."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from sqlalchemy import Connection, Row
from sqlalchemy.orm import Session

from app.core import ids
from app.core.problem import Problem
from app.core.webhook.lanes import PATIENCE_SECONDS
from app.database.partitions import database_time
from app.delivery import browsing, deliveries, endpoint_history, endpoints, reads, search, waiting
from app.delivery.search import Filters
from app.web.pages import endpoint_form, timeline, trial
from app.web.pages.catalogue import catalogue
from app.web.pages.console import answers, queries, words
from app.web.pages.console.visit import OPERATOR, VIEWER, Visit, page

api = Blueprint("console_endpoints", __name__)

STATES = ("enabled", "disabled", "failing")
_LAST = 10  # deliveries, and changes, on an endpoint's page


@page(api, "GET", "/console/endpoints", role=VIEWER)
def endpoint_list(visit: Visit) -> Response:
    workspace = queries.id_or_none(visit.args.get("workspace"), ids.WORKSPACE)
    state = visit.args.get("state") if visit.args.get("state") in STATES else None
    before = queries.id_or_none(visit.args.get("before"), ids.ENDPOINT)
    with visit.read() as connection:
        now = database_time(connection)
        rows = browsing.endpoints_page(
            connection, workspace=workspace, state=state, limit=queries.PAGE_ROWS + 1, before=before
        )
        customers = browsing.workspaces_page(connection, limit=200)
    return visit.show(
        "endpoints.html",
        rows=rows[: queries.PAGE_ROWS],
        cursor=rows[queries.PAGE_ROWS - 1].id if len(rows) > queries.PAGE_ROWS else None,
        now=now,
        workspace=workspace,
        state=state,
        states=STATES,
        customers=customers,
    )


@page(api, "GET", "/console/endpoints/{endpoint_id}", role=VIEWER)
def endpoint(visit: Visit, endpoint_id: str) -> Response:
    return show_endpoint(visit, endpoint_id)


@page(api, "POST", "/console/endpoints/{endpoint_id}/state", role=OPERATOR)
def set_state(visit: Visit, endpoint_id: str) -> Response:
    wanted = visit.form.get("status", "")
    if wanted not in (endpoints.ENABLED, endpoints.DISABLED):
        raise Problem("bad_request", "An endpoint is either enabled or disabled.")
    with visit.read() as connection:
        row = find_row(connection, endpoint_id)
    with visit.act() as session:
        endpoints.change_endpoint(session, visit.engine.settings, row.workspace_id, row.id, {"status": wanted})
        action = "endpoint.enable" if wanted == endpoints.ENABLED else "endpoint.disable"
        visit.note(session, action, row.id, row.workspace_id, url=row.url)
    done = "enabled" if wanted == endpoints.ENABLED else "paused"
    return answers.redirect(f"/console/endpoints/{row.id}", done=done)


@page(api, "POST", "/console/endpoints/{endpoint_id}/rotate", role=OPERATOR)
def rotate(visit: Visit, endpoint_id: str) -> Response:
    """Shows the new secret in the answer itself: a redirect would have to keep it somewhere."""
    with visit.read() as connection:
        row = find_row(connection, endpoint_id)
    with visit.act() as session:
        changed = endpoints.rotate_secret(session, visit.engine.settings, row.workspace_id, row.id)
        secret = endpoints.read_secrets(session, visit.engine.settings, changed)
        visit.note(session, "endpoint.rotate", row.id, row.workspace_id)
    return show_endpoint(visit, endpoint_id, secret)


@page(api, "POST", "/console/endpoints/{endpoint_id}/delete", role=OPERATOR)
def delete_endpoint(visit: Visit, endpoint_id: str) -> Response:
    with visit.read() as connection:
        row = find_row(connection, endpoint_id)
    with visit.act() as session:
        endpoints.delete_endpoint(session, row.workspace_id, row.id)
        visit.note(session, "endpoint.delete", row.id, row.workspace_id, url=row.url)
    return answers.redirect("/console/endpoints", workspace=row.workspace_id, done="endpoint-deleted")


@page(api, "POST", "/console/endpoints/{endpoint_id}/test", role=OPERATOR)
def send_test(visit: Visit, endpoint_id: str) -> Response:
    type = visit.form.get("type", "")
    with visit.read() as connection:
        row = find_row(connection, endpoint_id)
        data = trial.example(connection, visit.engine, row.workspace_id, type)
    trial.send(visit.engine, row, type, data)
    return answers.redirect(f"/console/endpoints/{row.id}", done="tested")


@page(api, "POST", "/console/endpoints/{endpoint_id}/recover", role=OPERATOR)
def recover(visit: Visit, endpoint_id: str) -> Response:
    since = queries.since(visit.form.get("since", ""))
    with visit.read() as connection:
        row = find_row(connection, endpoint_id)
    with visit.act() as session:
        seconds = visit.engine.settings.delivery_window_seconds
        found = deliveries.recover(session, row.workspace_id, row.id, since=since, window_seconds=seconds)
        values = {"since": since.isoformat(), "count": found.count}
        visit.note(session, "endpoint.recover", row.id, row.workspace_id, **values)
    visit.engine.ring()
    return answers.redirect(f"/console/endpoints/{row.id}", done=words.recovered(found))


def show_endpoint(
    visit: Visit, endpoint_id: str, secret: dict[str, Any] | None = None, *, fresh: bool = False
) -> Response:
    """The page of an endpoint. secret: to be shown this once. fresh: whether it has just been made."""
    with visit.read() as connection:
        row = find_row(connection, endpoint_id)
        now = database_time(connection)
        with Session(connection) as session:
            stats = reads.endpoint_stats(session, row.workspace_id, row.id)
        types = catalogue(connection, visit.engine.rules, row.workspace_id)
        return visit.show(
            "endpoint.html",
            row=row,
            now=now,
            stats=stats,
            waiting=waiting.waiting_for(connection, [row.id]).get(row.id, 0),
            header_names=timeline.header_names(connection, visit.engine.settings, row.workspace_id, row.id),
            last=search.log_page(connection, Filters(endpoint=row.id), limit=_LAST).rows,
            changes=endpoint_history.changes_of(connection, row.id)[:_LAST],
            content_filter=endpoint_form.spread(row.content_filter),
            settings=visit.engine.settings,
            patience=PATIENCE_SECONDS,
            secret=secret,
            fresh=fresh,
            types=[one.type for one in types if one.example is not None],
        )


def find_row(connection: Connection, endpoint_id: str) -> Row[Any]:
    """An endpoint of any customer. Raises Problem not_found."""
    rows = browsing.endpoints_page(connection, id=endpoint_id, limit=1)
    if not rows:
        raise Problem("not_found", "There is no such endpoint. It may have been deleted.")
    return rows[0]
