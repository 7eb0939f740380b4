"""Making an endpoint for a customer, and changing one: the portal's form, for operators."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from sqlalchemy import Row

from app.core import ids
from app.core.webhook.lanes import PATIENCE_SECONDS
from app.delivery import browsing, endpoints
from app.web.pages import endpoint_form
from app.web.pages.catalogue import catalogue
from app.web.pages.console import answers, queries
from app.web.pages.console.endpoints import find_row, show_endpoint
from app.web.pages.console.visit import OPERATOR, Visit, page
from app.web.pages.endpoint_form import EndpointForm

api = Blueprint("console_endpoint_forms", __name__)


@page(api, "GET", "/console/endpoints/new", role=OPERATOR)
def new_endpoint(visit: Visit) -> Response:
    return _form(visit, None, endpoint_form.new_form(), visit.args.get("workspace"))


@page(api, "POST", "/console/endpoints", role=OPERATOR, most_bytes=endpoint_form.MOST_BYTES)
def create_endpoint(visit: Visit) -> Response:
    """Shows the secret in the answer itself: a redirect would have to keep it somewhere."""
    form = endpoint_form.read_form(visit.form, visit.engine.settings, new=True)
    chosen = queries.id_or_none(visit.form.get("workspace"), ids.WORKSPACE)
    with visit.read() as connection:
        customer = browsing.workspaces_page(connection, id=chosen, limit=1) if chosen else ()
    if not customer:
        form.wrong["workspace"] = "choose the customer whose endpoint it is"
    made: dict[str, Any] = {}

    def make() -> None:
        with visit.act() as session:
            row = endpoints.create_endpoint(session, visit.engine.settings, customer[0].id, form.wanted)
            visit.note(session, "endpoint.create", row.id, row.workspace_id, url=row.url)
            made.update(id=row.id, secret=endpoints.read_secrets(session, visit.engine.settings, row))

    if not form.done(make):
        return _form(visit, None, form, chosen)
    return show_endpoint(visit, made["id"], made["secret"], fresh=True)


@page(api, "GET", "/console/endpoints/{endpoint_id}/edit", role=OPERATOR)
def edit_endpoint(visit: Visit, endpoint_id: str) -> Response:
    with visit.read() as connection:
        row = find_row(connection, endpoint_id)
    return _form(visit, row, endpoint_form.form_of(row), row.workspace_id)


@page(api, "POST", "/console/endpoints/{endpoint_id}", role=OPERATOR, most_bytes=endpoint_form.MOST_BYTES)
def change_endpoint(visit: Visit, endpoint_id: str) -> Response:
    with visit.read() as connection:
        row = find_row(connection, endpoint_id)
    form = endpoint_form.read_form(visit.form, visit.engine.settings, new=False)

    def change() -> None:
        with visit.act() as session:
            endpoints.change_endpoint(session, visit.engine.settings, row.workspace_id, row.id, form.wanted)
            visit.note(session, "endpoint.change", row.id, row.workspace_id, url=form.typed["url"])

    if not form.done(change):
        return _form(visit, row, form, row.workspace_id)
    return answers.redirect(f"/console/endpoints/{row.id}", done="endpoint-saved")


def _form(visit: Visit, row: Row[Any] | None, form: EndpointForm, workspace: str | None) -> Response:
    workspace = queries.id_or_none(workspace, ids.WORKSPACE)
    with visit.read() as connection:
        types = catalogue(connection, visit.engine.rules, workspace) if workspace else []
        customers = browsing.workspaces_page(connection, limit=200)
    return visit.show(
        "endpoint_form.html",
        422 if form.wrong else 200,
        row=row,
        form=form,
        workspace=workspace,
        customers=customers,
        types=[one.type for one in types],
        settings=visit.engine.settings,
        patience=PATIENCE_SECONDS,
        batch=endpoint_form.BATCH_DEFAULTS,
    )
