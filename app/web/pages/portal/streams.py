"""A customer's streams, live, where the link allows to subscribe."""

from __future__ import annotations

from flask import Blueprint, Response

from app.accounts.portal import SUBSCRIBE
from app.core.problem import Problem
from app.database.partitions import database_time
from app.delivery import browsing
from app.web.live.credentials import Opener
from app.web.pages.console import queries
from app.web.pages.console.live import show_stream
from app.web.pages.console.streams import LAST_EVENTS, SPEEDS, STATES, texts_of
from app.web.pages.portal.visit import PortalVisit, portal_page

api = Blueprint("portal_streams", __name__)


@portal_page(api, "GET", "/portal/streams", scope=SUBSCRIBE)
def stream_list(visit: PortalVisit) -> Response:
    given = {name: visit.args.get(name, "").strip() for name in ("kind", "stream", "state")}
    with visit.read() as connection:
        rows = browsing.streams_page(
            connection,
            workspace=visit.workspace_id,
            kind=given["kind"] or None,
            external_id=given["stream"] or None,
            state=given["state"] if given["state"] in STATES else None,
            limit=queries.PAGE_ROWS + 1,
            before=queries.number_or_none(visit.args.get("before")),
        )
        now = database_time(connection)
    more = len(rows) > queries.PAGE_ROWS
    shown = rows[: queries.PAGE_ROWS]
    return visit.show(
        "streams.html", rows=shown, cursor=shown[-1].id if more else None, now=now, given=given, states=STATES
    )


@portal_page(api, "GET", "/portal/streams/{kind}/{stream_id}", scope=SUBSCRIBE)
def stream(visit: PortalVisit, kind: str, stream_id: str) -> Response:
    with visit.read() as connection:
        rows = browsing.streams_page(
            connection, workspace=visit.workspace_id, kind=kind, external_id=stream_id, limit=1
        )
        if not rows:
            raise Problem("not_found", "There is no such stream.")
        events = browsing.last_events(connection, rows[0].id, limit=LAST_EVENTS)
    return visit.show("stream.html", row=rows[0], events=texts_of(events), speeds=SPEEDS)


@portal_page(api, "GET", "/portal/streams/{kind}/{stream_id}/live", scope=SUBSCRIBE)
def watch_stream(visit: PortalVisit, kind: str, stream_id: str) -> Response:
    guest = visit.guest
    opener = Opener(guest.key_id, guest.workspace_id, session_id=guest.session_id, life_seconds=guest.life_seconds)
    return show_stream(visit.engine, visit.engine.guests, opener, kind, stream_id)
