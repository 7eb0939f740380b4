"""/v1/streams: live subjects. (The live routes are in live.py.)"""

from __future__ import annotations

from flask import Blueprint

from app import streams
from app.core import drafts
from app.web import paging
from app.web.auth import Answer, Call, route
from app.web.fields import Field

api = Blueprint("streams", __name__)

ATTRIBUTES = Field(
    "attributes", "object", "facts about the stream, replacing earlier ones", example={"transport": "sip"}
)
KIND = Field("kind", "text", "only streams of this kind", pattern=drafts.KIND, hint="give a kind such as call")
STATUS = Field("status", "text", "only open or only ended streams", choices=("open", "ended"))


@route(
    api,
    "PUT",
    "/v1/streams/{kind}/{stream_id}",
    scope="publish",
    body=(ATTRIBUTES,),
    answers={200: "Stream", 201: "Stream"},
    summary="Open a stream, or set its attributes. A first event opens its stream too",
)
def open_stream(call: Call, kind: str, stream_id: str) -> Answer:
    stream, created = streams.open_stream(
        call.session, call.workspace_id, kind, stream_id, call.body.get("attributes"), call.parts.settings
    )
    return Answer(stream, 201 if created else 200)


@route(
    api,
    "GET",
    "/v1/streams/{kind}/{stream_id}",
    scope="subscribe",
    answers={200: "Stream"},
    summary="Read a stream",
)
def get_stream(call: Call, kind: str, stream_id: str) -> Answer:
    return Answer(streams.get_stream(call.session, call.workspace_id, kind, stream_id))


@route(
    api,
    "GET",
    "/v1/streams",
    scope="subscribe",
    query=(KIND, STATUS, *paging.PAGE),
    answers={200: "StreamList"},
    summary="List streams, newest first",
)
def list_streams(call: Call) -> Answer:
    limit = paging.limit_of(call.args)
    mark = paging.after_cursor(call.args, lambda mark: mark.isascii() and mark.isdigit() and len(mark) < 19)
    rows = streams.list_streams(
        call.session,
        call.workspace_id,
        kind=call.args.get("kind"),
        status=call.args.get("status"),
        before=int(mark) if mark else None,
        limit=limit + 1,
    )
    return Answer(paging.page(rows, limit, lambda row: str(row.id), streams.stream_object))


@route(
    api,
    "POST",
    "/v1/streams/{kind}/{stream_id}/end",
    scope="publish",
    body=(),
    transaction=False,
    answers={200: "Stream"},
    summary="End a stream; it takes no more events. Ending it again changes nothing",
)
def end_stream(call: Call, kind: str, stream_id: str) -> Answer:
    call.parts.ledger.end(call.workspace_id, kind, stream_id)
    with call.parts.database.session() as session:
        return Answer(streams.get_stream(session, call.workspace_id, kind, stream_id))
