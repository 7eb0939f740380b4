"""GET /v1/events: reading accepted events back. (Posting them is in publish.py.)"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from flask import Blueprint
from sqlalchemy import Row

from app.core import ids
from app.core.problem import Problem, not_found
from app.core.wire.envelope import rfc3339
from app.delivery import browsing, endpoints, explaining, reads
from app.delivery.explaining import Explained
from app.ledger import events
from app.ledger.events import EventPage
from app.web.http import paging
from app.web.http.call import OPTIONAL_WORKSPACE, Answer, Call
from app.web.http.fields import LAST_SEQ, Field, endpoint_field, stream_fields, time_of, type_filter
from app.web.http.routes import route
from app.web.metrics import streams as stream_metrics

api = Blueprint("events", __name__)

KIND, STREAM = stream_fields(
    "only events of streams of this kind",
    "only events of this stream, in the order of seq; needs stream_kind",
    kind_alone=True,
)
AFTER = Field(
    "after_seq",
    "integer",
    "only events after this seq; needs stream_id. Ahead of the stream it is answered with 409 cursor_ahead",
    most=LAST_SEQ,
    needs="stream_id",
)
TYPE = type_filter("type", "only events of this type")
SINCE = Field("since", "time", "only events that were accepted at this time or later")
UNTIL = Field("until", "time", "only events that were accepted before this time")
ENDPOINT = endpoint_field("only this endpoint")


@route(
    api,
    "GET",
    "/v1/events",
    scope="subscribe",
    acts_for=OPTIONAL_WORKSPACE,
    query=(KIND, STREAM, AFTER, TYPE, SINCE, UNTIL, *paging.PAGE),
    answers={200: "EventList"},
    refusals=("cursor_ahead", "bad_request"),
    summary="Read events back: of one stream in order, after a seq, or of the workspace, newest first; without a"
    " workspace, a platform key reads those of all",
)
def list_events(call: Call) -> Answer:
    of_stream = "stream_id" in call.args
    if of_stream and not call.workspace_id:
        raise Problem("bad_request", "A stream belongs to a workspace; name it in X-Workspace, by id or uid.")
    page = _of_stream(call) if of_stream else _of_workspace(call)
    tail = paging.searched([], page.cursor, page.searched_to)
    del tail["data"]
    return Answer(
        b'{"data":[%b],%b'
        % (b",".join(event.body for event in page.events), json.dumps(tail, separators=(",", ":")).encode()[1:])
    )


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


@route(
    api,
    "GET",
    "/v1/events/{event_id}/explain",
    scope="operate",
    query=(ENDPOINT, *paging.PAGE),
    answers={200: "ExplanationList"},
    summary="Why an event has, or has not, reached each endpoint, newest endpoints first; or one endpoint",
)
def explain_event(call: Call, event_id: str) -> Answer:
    connection = call.session.connection()
    event = browsing.get_event(connection, event_id)
    if event is None or event.workspace_id != call.workspace_id:
        raise not_found("event")
    if "endpoint_id" in call.args:
        endpoint_id = endpoints.find_id(call.session, call.workspace_id, call.args["endpoint_id"])
        found = None if endpoint_id is None else explaining.explain_one(connection, event, endpoint_id)
        if found is None:
            raise not_found("endpoint")
        return Answer({"data": [_explained(found)], "next_cursor": None})
    read = partial(explaining.explain_all, connection, event)
    limit = paging.limit_of(call.args)
    before = paging.after_cursor(call.args, lambda mark: ids.is_id(ids.ENDPOINT, mark))
    return Answer(paging.page(read(limit=limit + 1, before=before), limit, lambda one: one.endpoint_id, _explained))


def _explained(one: Explained) -> dict[str, Any]:
    delivery = None if one.delivery is None else reads.shown_with_attempt(one.delivery, one.next_attempt)
    return {
        "endpoint_id": one.endpoint_id,
        "code": one.explanation.code,
        "sentence": one.explanation.sentence,
        "endpoint": None if one.endpoint is None else _facts(one.endpoint),
        "delivery": delivery,
    }


def _facts(row: Row[Any]) -> dict[str, Any]:
    plain = ("url", "status", "disabled_reason", "event_types", "stream_kinds", "channels")
    times = ("disabled_at", "rate_limited_until", "created_at", "updated_at")
    shown = {name: None if (time := getattr(row, name)) is None else rfc3339(time) for name in times}
    return {name: getattr(row, name) for name in plain} | shown


def _of_stream(call: Call) -> EventPage:
    mark = paging.after_cursor(call.args, paging.is_number)
    try:
        return events.events_of_stream(
            call.session,
            call.workspace_id,
            call.args["stream_kind"],
            call.args["stream_id"],
            after_seq=int(mark) if mark else call.args.get("after_seq", 0),
            type=call.args.get("type"),
            since=time_of(call.args, "since"),
            until=time_of(call.args, "until"),
            limit=paging.limit_of(call.args),
        )
    except Problem as problem:
        if problem.code == "cursor_ahead":
            stream_metrics.CURSORS_AHEAD.inc()
        raise


def _of_workspace(call: Call) -> EventPage:
    return events.events_of_workspace(
        call.session,
        call.workspace_id or None,
        kind=call.args.get("stream_kind"),
        type=call.args.get("type"),
        since=time_of(call.args, "since"),
        until=time_of(call.args, "until"),
        before=paging.after_cursor(call.args, lambda mark: ids.is_id(ids.EVENT, mark)),
        limit=paging.limit_of(call.args),
    )
