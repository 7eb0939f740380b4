"""The page on which people watch one stream, if they have a token for it."""

from __future__ import annotations

from flask import Blueprint, Response, render_template

from app.web.engine import engine
from app.web.http.routes import open_route

api = Blueprint("viewer", __name__)

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


@open_route(
    api,
    "GET",
    "/live/{kind}/{stream_id}",
    why="for people: the page is the same for all streams; the token that they paste into it opens one",
    answers={200: "html"},
    summary="A page that shows a stream as it happens, to whoever has a token for it (pasted, or as #token=…)",
)
def live_page(kind: str, stream_id: str) -> Response:
    # The page reads its own URL; nothing from it is rendered.
    types = sorted(type for of, type in engine().rules.types if of == kind)
    response = Response(render_template("live.html", types=types), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
