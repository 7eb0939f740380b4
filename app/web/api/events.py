"""GET /v1/events: reading accepted events back. (Posting them is in publish.py.)"""

from __future__ import annotations

import json
from collections.abc import Sequence

from flask import Blueprint

from app.core import ids
from app.core.event import names
from app.core.problem import Problem
from app.ledger import events
from app.web.http import paging
from app.web.http.call import Answer, Call
from app.web.http.fields import LAST_SEQ, Field, type_filter
from app.web.http.routes import route
from app.web.metrics import streams as stream_metrics

api = Blueprint("events", __name__)

KIND = Field("stream_kind", "text", "only events of streams of this kind", pattern=names.KIND, hint=names.KIND_HINT)
STREAM = Field(
    "stream_id",
    "text",
    "only events of this stream, in the order of seq; needs stream_kind",
    pattern=names.EXTERNAL_ID,
    hint=names.EXTERNAL_ID_HINT,
    needs="stream_kind",
)
AFTER = Field(
    "after_seq",
    "integer",
    "only events after this seq; needs stream_id. Ahead of the stream it is answered with 409 cursor_ahead",
    most=LAST_SEQ,
    needs="stream_id",
)
TYPE = type_filter("type", "only events of this type")


@route(
    api,
    "GET",
    "/v1/events",
    scope="subscribe",
    query=(KIND, STREAM, AFTER, TYPE, *paging.PAGE),
    answers={200: "EventList"},
    refusals=("cursor_ahead",),
    summary="Read events back: of one stream in order, after a seq, or of the workspace, newest first",
)
def list_events(call: Call) -> Answer:
    limit = paging.limit_of(call.args)
    page, cursor = _of_stream(call, limit) if "stream_id" in call.args else _of_workspace(call, limit)
    data = b",".join(event.body for event in page)
    return Answer(b'{"data":[%b],"next_cursor":%b}' % (data, json.dumps(cursor).encode()))


@route(
    api,
    "GET",
    "/v1/events/{event_id}",
    scope="subscribe",
    answers={200: "Event"},
    summary="Read an event: the envelope exactly as webhooks and streams carry it",
)
def get_event(call: Call, event_id: str) -> Answer:
    return Answer(events.get_event(call.session, call.workspace_id, event_id).body)


def _of_stream(call: Call, limit: int) -> tuple[Sequence[events.StoredEvent], str | None]:
    mark = paging.after_cursor(call.args, paging.is_number)
    try:
        page = events.events_of_stream(
            call.session,
            call.workspace_id,
            call.args["stream_kind"],
            call.args["stream_id"],
            after_seq=int(mark) if mark else call.args.get("after_seq", 0),
            type=call.args.get("type"),
            limit=limit,
        )
    except Problem as problem:
        if problem.code == "cursor_ahead":
            stream_metrics.CURSORS_AHEAD.inc()
        raise
    return page.events, paging.encode(str(page.events[-1].seq)) if page.more else None


def _of_workspace(call: Call, limit: int) -> tuple[Sequence[events.StoredEvent], str | None]:
    page = events.events_of_workspace(
        call.session,
        call.workspace_id,
        kind=call.args.get("stream_kind"),
        type=call.args.get("type"),
        before=paging.after_cursor(call.args, lambda mark: ids.is_id(ids.EVENT, mark)),
        limit=limit,
    )
    return page.events, paging.encode(page.events[-1].id) if page.more else None
