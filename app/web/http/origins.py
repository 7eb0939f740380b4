"""Answers that pages of any origin may read (Fetch standard, CORS)."""

from __future__ import annotations

from flask import Response, request

_HEADERS = "Authorization, X-API-Key, X-Workspace, Content-Type, Last-Event-ID, Cache-Control"
_REMEMBERED_SECONDS = 600


def allow_other_origins(response: Response, methods: str = "") -> Response:
    """Let pages of any origin read an answer. methods: what they may ask with besides GET, HEAD and POST.

    With `*` a browser shows the page no answer to a request with cookies, so the page needs a key or a token.
    """
    response.headers.setdefault("Access-Control-Allow-Origin", "*")
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Headers"] = _HEADERS
        response.headers["Access-Control-Max-Age"] = str(_REMEMBERED_SECONDS)
        if methods:
            response.headers["Access-Control-Allow-Methods"] = methods
    return response
