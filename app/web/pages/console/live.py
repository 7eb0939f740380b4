"""What comes while a page is open: the delivery log of all workspaces, and one stream, both by the person's session."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from flask import Blueprint, Response, request
from sqlalchemy import Row

from app.core import ids
from app.core.event import names
from app.core.problem import Problem
from app.core.wire.envelope import rfc3339
from app.database.connection import Database
from app.delivery import live_log, search
from app.delivery.live_log import Entry
from app.delivery.search import Filters
from app.ledger import streams
from app.web.engine import Engine
from app.web.live.credentials import Opener
from app.web.live.delivery_log import Viewing, show_view
from app.web.live.opening import Admitted, client_socket
from app.web.live.sse import Unanswered, serve_admitted
from app.web.pages.console import queries
from app.web.pages.console.visit import VIEWER, Visit, page, still_signed_in

api = Blueprint("console_live", __name__)

_CURSOR = re.compile(r"[0-9]{1,18}-[0-9]{1,18}")
_CANONICAL = "/v1/streams/{kind}/{stream_id}/live"


@page(api, "GET", "/console/deliveries/live", role=VIEWER)
def watch_log(visit: Visit) -> Response:
    sock = client_socket()
    if visit.engine.hub.stopping:
        return Unanswered()
    return show_rows(visit.engine, PersonsView(visit), sock, request.headers.get("Last-Event-ID"))


@page(api, "GET", "/console/streams/{workspace_id}/{kind}/{stream_id}/live", role=VIEWER)
def watch_stream(visit: Visit, workspace_id: str, kind: str, stream_id: str) -> Response:
    person = visit.person
    opener = Opener(person.id, workspace_id, session_id=person.session_id, life_seconds=person.life_seconds)
    return show_stream(visit.engine, visit.engine.pages, opener, kind, stream_id)


def show_rows(engine: Engine, view: Viewing, sock: Any, cursor: str | None) -> Response:
    """The response that shows rows of the log as they come. cursor: the entry to go on behind. Raises Problem."""
    if cursor and not _CURSOR.fullmatch(cursor):
        raise Problem("bad_request", "Last-Event-ID is not the id of an entry.")
    return show_view(engine, view, sock, cursor)


def show_stream(engine: Engine, database: Database, opener: Opener, kind: str, stream_id: str) -> Response:
    """The response that shows a stream of the opener's workspace as it happens. database: where it is looked up.
    Raises Problem."""
    if engine.hub.stopping:
        return Unanswered()
    if not (names.KIND.fullmatch(kind) and names.EXTERNAL_ID.fullmatch(stream_id)):
        raise Problem("not_found", "There is no such stream.")
    with database.begin() as connection:
        stream = streams.find_stream(connection, opener.workspace_id, kind, stream_id)
    if stream is None:
        raise Problem("not_found", "There is no such stream.")
    contract, route = next(
        (contract, route)
        for contract in engine.rules.contracts
        for route in contract.routes
        if route.path == _CANONICAL
    )
    return serve_admitted(Admitted(engine, route, opener, stream, engine.rules.linger_seconds(contract, kind)))


class RowsView:
    """What somebody wants to see of the log, of one workspace or of all. database: where rows are read."""

    def __init__(self, database: Database, filters: Filters) -> None:
        self._database, self._filters = database, filters
        self.channel = filters.workspace or live_log.ALL

    def values(self, entries: Sequence[Entry]) -> dict[str, Any]:
        """Rows of the log."""
        wanted: list[tuple[str, str | None]] = [
            (entry.delivery_id, entry.attempt_id)
            for entry in entries
            if ids.is_id(ids.DELIVERY, entry.delivery_id) and ids.is_id(ids.ATTEMPT, entry.attempt_id)
        ]
        with self._database.begin() as connection:
            rows = search.rows_of(connection, wanted)
        return {row.attempt_id: _shown(row) for row in rows if row.attempt_id and self._filters.let_through(row)}


class PersonsView(RowsView):
    """What a person of the console wants to see, as long as their session goes on."""

    def __init__(self, visit: Visit) -> None:
        super().__init__(visit.engine.pages, queries.log_filters(visit.args).filters)
        self.may_see = still_signed_in(visit)
        self.owners: Mapping[str, str] = {visit.person.id: "The user"}


def _shown(row: Row[Any]) -> dict[str, Any]:
    """A row of the log as the page's script puts it in."""
    return {
        "id": row.id,
        "at": rfc3339(row.started_at),
        "type": row.event_type,
        "stream": None if row.stream_kind is None else f"{row.stream_kind}/{row.stream_id}",
        "workspace": row.workspace_id,
        "customer": row.workspace_name or row.workspace_id,
        "endpoint": row.endpoint_id,
        "url": row.url,
        "status": row.status,
        "number": row.number,
        "outcome": row.outcome,
        "code": row.status_code,
        "ms": row.duration_ms,
        "batch": f"{row.batch_position}/{row.batch_size}" if row.batch_size else None,
    }
