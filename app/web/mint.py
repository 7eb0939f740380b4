"""Stream tokens: minted for one stream, short-lived, listed and revoked."""

from __future__ import annotations

import time
from typing import Any

from flask import Blueprint, Response, json

from app import streams
from app.core import tokens
from app.core.contract import Contract, path_parameters
from app.core.contract import Route as ContractRoute
from app.core.envelope import rfc3339
from app.core.problem import not_found
from app.models import StreamToken
from app.web.auth import Answer, Call, route
from app.web.credentials import opener
from app.web.parse import JSON
from app.web.parts import parts

api = Blueprint("tokens", __name__)
MOST_LISTED = 250


def mint(declared: Contract, minting: ContractRoute, kind: str, stream_id: str) -> Response:
    """A token for one stream, and the URL that it opens."""
    from app.web.live import find

    joined = parts()
    who = opener(minting)
    found = find(joined, declared, minting, who, kind, stream_id)
    with joined.database.session() as session:
        token = streams.make_token(session, found, who.key_id, joined.settings.stream_token_seconds)
    opened = next(part for part in declared.routes if part.name == minting.mints)
    claims = tokens.Claims(token.id, kind, stream_id, int(token.expires_at.timestamp()))
    values = {
        "url": joined.settings.public_url + _path(opened, kind, stream_id),
        "token": tokens.encode(joined.token_keys[0], claims, int(time.time())),
        "expires_at": rfc3339(token.expires_at),
    }
    body = json.dumps({name: values[name] for name in minting.mint_fields}).encode()
    return Response(body, minting.mint_status, content_type=JSON)


def _path(opened: ContractRoute, kind: str, stream_id: str) -> str:
    path = opened.path
    for name in path_parameters(path):
        path = path.replace(f"{{{name}}}", kind if name == "kind" else stream_id)
    return path if opened.id_in == "path" else f"{path}?{opened.id_name}={stream_id}"


@route(
    api,
    "GET",
    "/v1/streams/{kind}/{stream_id}/tokens",
    scope="manage",
    answers={200: "TokenList"},
    summary="List the stream's tokens that are still good (never their text)",
)
def list_tokens(call: Call, kind: str, stream_id: str) -> Answer:
    streams.get_stream(call.session, call.workspace_id, kind, stream_id)
    rows = streams.list_tokens(call.session, call.workspace_id, kind, stream_id, limit=MOST_LISTED)
    return Answer({"data": [_shown(row) for row in rows], "next_cursor": None})


@route(
    api,
    "DELETE",
    "/v1/streams/{kind}/{stream_id}/tokens/{token_id}",
    scope="manage",
    answers={204: ""},
    summary="Revoke a token; streams that it opened close within a heartbeat",
)
def revoke_token(call: Call, kind: str, stream_id: str, token_id: str) -> Answer:
    if token_id not in {row.id for row in streams.list_tokens(call.session, call.workspace_id, kind, stream_id, limit=MOST_LISTED)}:
        raise not_found("token")
    streams.revoke_token(call.session, call.workspace_id, token_id)
    return Answer(None, 204)


def _shown(row: StreamToken) -> dict[str, Any]:
    return {
        "id": row.id,
        "key_id": row.key_id,
        "created_at": rfc3339(row.created_at),
        "expires_at": rfc3339(row.expires_at),
    }
