"""Streams: which there are; one of them as it happens, or as it happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response
from sqlalchemy import Row

from app.core import ids
from app.core.problem import Problem
from app.core.wire.envelope import data_of
from app.database.partitions import database_time
from app.delivery import browsing
from app.web.pages.console import queries
from app.web.pages.console.visit import VIEWER, Visit, page

api = Blueprint("console_streams", __name__)

STATES = ("open", "ended")
LAST_EVENTS = 50  # events that a stream's page begins with
SPEEDS = ("1", "2", "5", "20", "100")


@page(api, "GET", "/console/streams", role=VIEWER)
def stream_list(visit: Visit) -> Response:
    given = {name: visit.args.get(name, "").strip() for name in ("kind", "stream", "state")}
    workspace = queries.id_or_none(visit.args.get("workspace"), ids.WORKSPACE)
    with visit.read() as connection:
        now = database_time(connection)
        rows = browsing.streams_page(
            connection,
            workspace=workspace,
            kind=given["kind"] or None,
            external_id=given["stream"] or None,
            state=given["state"] if given["state"] in STATES else None,
            limit=queries.PAGE_ROWS + 1,
            before=queries.number_or_none(visit.args.get("before")),
        )
        customers = browsing.workspaces_page(connection, limit=200)
    return visit.show(
        "streams.html",
        rows=rows[: queries.PAGE_ROWS],
        cursor=rows[queries.PAGE_ROWS - 1].id if len(rows) > queries.PAGE_ROWS else None,
        now=now,
        given=given,
        workspace=workspace,
        states=STATES,
        customers=customers,
    )


@page(api, "GET", "/console/streams/{workspace_id}/{kind}/{stream_id}", role=VIEWER)
def stream(visit: Visit, workspace_id: str, kind: str, stream_id: str) -> Response:
    with visit.read() as connection:
        rows = browsing.streams_page(connection, workspace=workspace_id, kind=kind, external_id=stream_id, limit=1)
        if not rows:
            raise Problem("not_found", "There is no such stream.")
        now = database_time(connection)
        events = browsing.last_events(connection, rows[0].id, limit=LAST_EVENTS)
    return visit.show("stream.html", row=rows[0], events=texts_of(events), now=now, speeds=SPEEDS)


def texts_of(events: Sequence[Row[Any]]) -> list[tuple[Row[Any], str]]:
    """A stream's last events, newest first, as its page shows them: oldest first, each with its payload."""
    return [(one, data_of(bytes(one.body)).decode("utf-8", "replace")) for one in reversed(events)]
