"""/v1/streams: live subjects, and tokens for them. (What opens a stream is in app.web.live.)"""

from __future__ import annotations

from urllib.parse import quote

from flask import Blueprint

from app.core.event import names
from app.core.problem import not_found
from app.core.wire.envelope import rfc3339
from app.ledger import streams
from app.live import tokens
from app.web.http import paging
from app.web.http.call import Answer, Call
from app.web.http.fields import Field
from app.web.http.routes import route

api = Blueprint("streams", __name__)

ATTRIBUTES = Field(
    "attributes", "object", "facts about the stream, replacing earlier ones", example={"transport": "sip"}
)
KIND = Field("kind", "text", "only streams of this kind", pattern=names.KIND, hint=names.KIND_HINT)
STATUS = Field("status", "text", "only open or only ended streams", choices=("open", "ended"))


@route(
    api,
    "PUT",
    "/v1/streams/{kind}/{stream_id}",
    scope="publish",
    body=(ATTRIBUTES,),
    answers={200: "Stream", 201: "Stream"},
    refusals=("stream_ended",),
    summary="Open a stream, or set its attributes. A first event opens its stream too",
)
def open_stream(call: Call, kind: str, stream_id: str) -> Answer:
    stream, created = streams.open_stream(
        call.session, call.workspace_id, kind, stream_id, call.body.get("attributes"), call.engine.settings
    )
    return Answer(stream, 201 if created else 200)


@route(
    api,
    "GET",
    "/v1/streams/{kind}/{stream_id}",
    scope="subscribe",
    transaction=False,
    judges=True,
    answers={200: "Stream"},
    summary="Read a stream",
)
def get_stream(call: Call, kind: str, stream_id: str) -> Answer:
    return Answer(streams.read_stream(call.engine.database, call.judged_along, call.workspace_id, kind, stream_id))


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
    mark = paging.after_cursor(call.args, paging.is_number)
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
    refusals=("not_found",),
    summary="End a stream; it takes no more events. Ending it again changes nothing",
)
def end_stream(call: Call, kind: str, stream_id: str) -> Answer:
    streams.require_opened_by_producers(kind)
    call.engine.ledger.end(call.workspace_id, kind, stream_id)
    with call.engine.database.session() as session:
        return Answer(streams.get_stream(session, call.workspace_id, kind, stream_id))


@route(
    api,
    "POST",
    "/v1/streams/{kind}/{stream_id}/tokens",
    scope="subscribe",
    body=(),
    answers={201: "Token"},
    summary="Make a short-lived token that opens this stream alone: for browsers, which must not hold a key",
)
def make_token(call: Call, kind: str, stream_id: str) -> Answer:
    settings = call.engine.settings
    stream = streams.find_stream(call.session.connection(), call.workspace_id, kind, stream_id)
    if stream is None:
        raise not_found("stream")
    row = tokens.make_token(call.session, stream, call.caller.key_id, settings.stream_token_seconds)
    token = tokens.signed(settings, row, stream)
    return Answer(
        {
            "id": row.id,
            "url": f"{settings.public_url}/v1/streams/{kind}/{quote(stream_id, safe='')}/live",
            "token": token,
            "expires_at": rfc3339(row.expires_at),
        },
        201,
    )


@route(
    api,
    "GET",
    "/v1/streams/{kind}/{stream_id}/tokens",
    scope="subscribe",
    answers={200: "TokenList"},
    summary="List the newest tokens of a stream that work",
)
def list_tokens(call: Call, kind: str, stream_id: str) -> Answer:
    streams.get_stream(call.session, call.workspace_id, kind, stream_id)
    rows = tokens.list_tokens(call.session, call.workspace_id, kind, stream_id, limit=paging.MOST)
    shown = [
        {
            "id": row.id,
            "key_id": row.key_id,
            "created_at": rfc3339(row.created_at),
            "expires_at": rfc3339(row.expires_at),
        }
        for row in rows
    ]
    return Answer({"data": shown, "next_cursor": None})


@route(
    api,
    "DELETE",
    "/v1/streams/{kind}/{stream_id}/tokens/{token_id}",
    scope="subscribe",
    answers={204: ""},
    summary="Revoke a token; a stream that it opened is closed within seconds",
)
def revoke_token(call: Call, kind: str, stream_id: str, token_id: str) -> Answer:
    tokens.revoke_token(call.session, call.workspace_id, kind, stream_id, token_id)
    return Answer(None, 204)
