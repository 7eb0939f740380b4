"""The minting routes of contracts: a key is exchanged for a token that opens one stream for a few minutes."""

from __future__ import annotations

import json

from flask import Response

from app.core.contract.model import Contract, ContractRoute, path_parameters
from app.core.wire.envelope import rfc3339
from app.live import tokens
from app.web.engine import engine
from app.web.http.reading import JSON
from app.web.live.credentials import opener
from app.web.live.opening import stream_asked_for


def mint(declared: Contract, minting: ContractRoute, kind: str, stream_id: str) -> Response:
    """A token for one stream, and the URL that it opens."""
    joined = engine()
    who = opener(minting)
    found = stream_asked_for(joined, declared, minting, who, kind, stream_id)
    with joined.database.session() as session:
        token = tokens.make_token(session, found, who.key_id, joined.settings.stream_token_seconds)
    opened = next(part for part in declared.routes if part.name == minting.mints)
    values = {
        "url": joined.settings.public_url + _path(opened, kind, stream_id),
        "token": tokens.signed(joined.settings, token, found),
        "expires_at": rfc3339(token.expires_at),
    }
    shown = {name: values[name] for name in minting.mint_fields}
    body = json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, minting.mint_status, content_type=JSON)


def _path(opened: ContractRoute, kind: str, stream_id: str) -> str:
    path = opened.path
    for name in path_parameters(path):
        path = path.replace(f"{{{name}}}", kind if name == "kind" else stream_id)
    return path if opened.id_in == "path" else f"{path}?{opened.id_name}={stream_id}"
