"""The minting routes of contracts: a key is exchanged for a token that opens one stream for a few minutes."""

from __future__ import annotations

import json
from urllib.parse import quote

from flask import Response

from app.core.contract.model import Contract, ContractRoute, path_parameters
from app.core.wire.envelope import rfc3339
from app.live import tokens
from app.web.http.reading import JSON
from app.web.live.opening import admit


def mint(contract: Contract, route: ContractRoute, kind: str, stream_id: str) -> Response:
    """A token for one stream, and the URL that it opens."""
    admitted = admit(contract, route, kind, stream_id)
    settings, stream = admitted.engine.settings, admitted.stream
    with admitted.engine.database.session() as session:
        token = tokens.make_token(session, stream, admitted.opener.key_id, settings.stream_token_seconds)
    opened = next(other for other in contract.routes if other.name == route.mints)
    values = {
        "url": settings.public_url + _path(opened, kind, stream_id),
        "token": tokens.signed(settings, token, stream),
        "expires_at": rfc3339(token.expires_at),
    }
    shown = {name: values[name] for name in route.mint_fields}
    body = json.dumps(shown, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(body, route.mint_status, content_type=JSON)


def _path(opened: ContractRoute, kind: str, stream_id: str) -> str:
    """The path and query under which a route shows this stream."""
    path, id = opened.path, quote(stream_id, safe="")  # an id may hold + : = @, of which a query turns + into a space
    for name in path_parameters(path):
        path = path.replace(f"{{{name}}}", kind if name == "kind" else id)
    return path if opened.id_in == "path" else f"{path}?{opened.id_name}={id}"
