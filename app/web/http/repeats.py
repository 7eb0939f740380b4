"""POSTs that may be repeated under one Idempotency-Key: done once, answered the same each time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from flask import Request, Response, request

from app.accounts import idempotency
from app.core.event import names
from app.core.problem import invalid
from app.web.http.call import Answer, Call, Handler, response_of
from app.web.http.reading import JSON


def once(handler: Handler, call: Call, path_values: Mapping[str, str], raw: bytes) -> Response:
    """Run the handler, unless this Idempotency-Key was answered before: then give that answer again."""
    settings, session, key = call.engine.settings, call.session, call.idempotency_key or ""
    keys = settings.secret_keys
    owner = f"{call.caller.key_id}/{call.workspace_id}"
    # Everything that decides what the request does. The target holds no secret here: tokens come on GETs only.
    inputs = (request.method.encode(), request.full_path.encode(), raw)
    fingerprint = hashlib.sha256(b"".join(b"%d:%b" % (len(text), text) for text in inputs)).digest()
    kept = idempotency.claim(session, keys, owner, key, fingerprint)
    if kept is not None:
        response = Response(kept.body, kept.status, content_type=JSON)
        response.headers["Idempotent-Replayed"] = "true"
        return response
    answer = handler(call, **path_values)
    if not isinstance(answer, Answer):
        raise TypeError("a route with a transaction gives an Answer")
    idempotency.keep(session, keys, owner, key, answer.status, answer.content())
    return response_of(answer)


def idempotency_key(request: Request) -> str | None:
    """The request's Idempotency-Key, None without one. Raises Problem invalid for one that is misspelled."""
    key: str | None = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not names.KEY.fullmatch(key):
        raise invalid("Idempotency-Key", names.KEY_HINT)
    return key
