"""A customer's endpoints: which they have, and everything that can be done to one."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from sqlalchemy import Connection, Row
from sqlalchemy.orm import Session

from app.accounts.portal import MANAGE, OPERATE
from app.core import ids
from app.core.problem import Problem, not_found
from app.core.webhook.lanes import PATIENCE_SECONDS
from app.database.partitions import database_time
from app.delivery import browsing, deliveries, endpoints, reads, search, waiting
from app.delivery.search import Filters
from app.web.pages import endpoint_form, timeline, trial
from app.web.pages.catalogue import catalogue
from app.web.pages.console import answers, queries, words
from app.web.pages.endpoint_form import EndpointForm
from app.web.pages.portal.visit import HOME, PortalVisit, portal_page

api = Blueprint("portal_endpoints", __name__)

_LAST = 10  # deliveries on an endpoint's page
_LIST = f"{HOME}/endpoints"


@portal_page(api, "GET", HOME)
def home(visit: PortalVisit) -> Response:
    """The first page that the link allows."""
    if visit.guest.may(MANAGE):
        return answers.redirect(_LIST)
    return answers.redirect(f"{HOME}/deliveries" if visit.guest.may(OPERATE) else f"{HOME}/streams")


@portal_page(api, "GET", _LIST, scope=MANAGE)
def endpoint_list(visit: PortalVisit) -> Response:
    before = queries.id_or_none(visit.args.get("before"), ids.ENDPOINT)
    with visit.read() as connection:
        rows = browsing.endpoints_page(
            connection, workspace=visit.workspace_id, limit=queries.PAGE_ROWS + 1, before=before
        )
        now = database_time(connection)
    more = len(rows) > queries.PAGE_ROWS
    shown = rows[: queries.PAGE_ROWS]
    return visit.show("endpoints.html", rows=shown, cursor=shown[-1].id if more else None, now=now)


@portal_page(api, "GET", f"{_LIST}/new", scope=MANAGE)
def new_endpoint(visit: PortalVisit) -> Response:
    return _form(visit, None, endpoint_form.new_form())


@portal_page(api, "POST", _LIST, scope=MANAGE, most_bytes=endpoint_form.MOST_BYTES)
def create_endpoint(visit: PortalVisit) -> Response:
    """Shows the secret in the answer itself: a redirect would have to keep it somewhere."""
    form = endpoint_form.read_form(visit.form, visit.engine.settings, new=True)
    made: dict[str, Any] = {}

    def make() -> None:
        with visit.act() as session:
            row = endpoints.create_endpoint(session, visit.engine.settings, visit.workspace_id, form.wanted)
            visit.note(session, "endpoint.create", row.id, url=row.url)
            made.update(id=row.id, secret=endpoints.read_secrets(session, visit.engine.settings, row))

    if not form.done(make):
        return _form(visit, None, form)
    return _page(visit, made["id"], made["secret"], fresh=True)


@portal_page(api, "GET", f"{_LIST}/{{endpoint_id}}", scope=MANAGE)
def endpoint(visit: PortalVisit, endpoint_id: str) -> Response:
    return _page(visit, endpoint_id, None)


@portal_page(api, "GET", f"{_LIST}/{{endpoint_id}}/edit", scope=MANAGE)
def edit_endpoint(visit: PortalVisit, endpoint_id: str) -> Response:
    with visit.read() as connection:
        row = find_row(connection, visit, endpoint_id)
    return _form(visit, row, endpoint_form.form_of(row))


@portal_page(api, "POST", f"{_LIST}/{{endpoint_id}}", scope=MANAGE, most_bytes=endpoint_form.MOST_BYTES)
def change_endpoint(visit: PortalVisit, endpoint_id: str) -> Response:
    with visit.read() as connection:
        row = find_row(connection, visit, endpoint_id)
    form = endpoint_form.read_form(visit.form, visit.engine.settings, new=False)

    def change() -> None:
        with visit.act() as session:
            endpoints.change_endpoint(session, visit.engine.settings, visit.workspace_id, row.id, form.wanted)
            visit.note(session, "endpoint.change", row.id, url=form.typed["url"])

    if not form.done(change):
        return _form(visit, row, form)
    return answers.redirect(f"{_LIST}/{row.id}", done="endpoint-saved")


@portal_page(api, "POST", f"{_LIST}/{{endpoint_id}}/state", scope=MANAGE)
def set_state(visit: PortalVisit, endpoint_id: str) -> Response:
    wanted = visit.form.get("status", "")
    if wanted not in (endpoints.ENABLED, endpoints.DISABLED):
        raise Problem("bad_request", "An endpoint is either enabled or disabled.")
    with visit.act() as session:
        endpoints.change_endpoint(session, visit.engine.settings, visit.workspace_id, endpoint_id, {"status": wanted})
        visit.note(session, "endpoint.enable" if wanted == endpoints.ENABLED else "endpoint.disable", endpoint_id)
    done = "enabled" if wanted == endpoints.ENABLED else "paused"
    return answers.redirect(f"{_LIST}/{endpoint_id}", done=done)


@portal_page(api, "POST", f"{_LIST}/{{endpoint_id}}/rotate", scope=MANAGE)
def rotate(visit: PortalVisit, endpoint_id: str) -> Response:
    with visit.act() as session:
        row = endpoints.rotate_secret(session, visit.engine.settings, visit.workspace_id, endpoint_id)
        secret = endpoints.read_secrets(session, visit.engine.settings, row)
        visit.note(session, "endpoint.rotate", endpoint_id)
    return _page(visit, endpoint_id, secret)


@portal_page(api, "POST", f"{_LIST}/{{endpoint_id}}/delete", scope=MANAGE)
def delete_endpoint(visit: PortalVisit, endpoint_id: str) -> Response:
    with visit.act() as session:
        endpoints.delete_endpoint(session, visit.workspace_id, endpoint_id)
        visit.note(session, "endpoint.delete", endpoint_id)
    return answers.redirect(_LIST, done="endpoint-deleted")


@portal_page(api, "POST", f"{_LIST}/{{endpoint_id}}/test", scope=MANAGE)
def send_test(visit: PortalVisit, endpoint_id: str) -> Response:
    type = visit.form.get("type", "")
    with visit.read() as connection:
        row = find_row(connection, visit, endpoint_id)
        data = trial.example(connection, visit.engine, visit.workspace_id, type)
    trial.send(visit.engine, row, type, data)
    return answers.redirect(f"{_LIST}/{row.id}", done="tested")


@portal_page(api, "POST", f"{_LIST}/{{endpoint_id}}/recover", scope=MANAGE)
def recover(visit: PortalVisit, endpoint_id: str) -> Response:
    since = queries.since(visit.form.get("since", ""))
    with visit.act() as session:
        seconds = visit.engine.settings.delivery_window_seconds
        found = deliveries.recover(session, visit.workspace_id, endpoint_id, since=since, window_seconds=seconds)
        visit.note(session, "endpoint.recover", endpoint_id, since=since.isoformat(), count=found.count)
    visit.engine.ring()
    return answers.redirect(f"{_LIST}/{endpoint_id}", done=words.recovered(found))


def _form(visit: PortalVisit, row: Row[Any] | None, form: EndpointForm) -> Response:
    with visit.read() as connection:
        types = catalogue(connection, visit.engine.rules, visit.workspace_id)
    return visit.show(
        "endpoint_form.html",
        422 if form.wrong else 200,
        row=row,
        form=form,
        types=[one.type for one in types],
        settings=visit.engine.settings,
        patience=PATIENCE_SECONDS,
        batch=endpoint_form.BATCH_DEFAULTS,
    )


def _page(visit: PortalVisit, endpoint_id: str, secret: dict[str, Any] | None, *, fresh: bool = False) -> Response:
    with visit.read() as connection:
        row = find_row(connection, visit, endpoint_id)
        with Session(connection) as session:
            stats = reads.endpoint_stats(session, row.workspace_id, row.id)
        types = catalogue(connection, visit.engine.rules, visit.workspace_id)
        last = search.log_page(connection, Filters(endpoint=row.id, workspace=visit.workspace_id), limit=_LAST)
        return visit.show(
            "endpoint.html",
            row=row,
            now=database_time(connection),
            stats=stats,
            waiting=waiting.waiting_for(connection, [row.id]).get(row.id, 0),
            header_names=timeline.header_names(connection, visit.engine.settings, row.workspace_id, row.id),
            last=last.rows if visit.guest.may(OPERATE) else (),
            secret=secret,
            fresh=fresh,
            settings=visit.engine.settings,
            patience=PATIENCE_SECONDS,
            content_filter=endpoint_form.spread(row.content_filter),
            types=[one.type for one in types if one.example is not None],
        )


def find_row(connection: Connection, visit: PortalVisit, endpoint_id: str) -> Row[Any]:
    """The endpoint, if it is this workspace's. Raises Problem not_found."""
    is_id = queries.id_or_none(endpoint_id, ids.ENDPOINT) is not None
    rows = browsing.endpoints_page(connection, id=endpoint_id, workspace=visit.workspace_id, limit=1) if is_id else ()
    if not rows:
        raise not_found("endpoint")
    return rows[0]
