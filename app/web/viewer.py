"""The page that shows one stream to whoever has a token for it, and the files that our pages are made of."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, render_template, request

from app.core.problem import Problem
from app.web.auth import open_route
from app.web.parts import parts

api = Blueprint("viewer", __name__)

_FOLDER = Path(__file__).resolve().parents[1] / "static"
# Said by us: what the machine's own table says of `.js` differs, and a module of another type does not run.
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}
# Name -> (its bytes, its content type): a few small files, read once. No name from outside reaches the file system.
_FILES = {path.name: (path.read_bytes(), _TYPES[path.suffix]) for path in _FOLDER.iterdir() if path.suffix in _TYPES}
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
    # Of the address, nothing is written into the page: the page reads it itself.
    types = sorted(type for of, type in parts().rules.types if of == kind)
    response = Response(render_template("live.html", types=types), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@open_route(
    api,
    "GET",
    "/static/{name}",
    why="what our pages are made of",
    answers={200: "file", 304: ""},
    summary="A script, style sheet or icon of our pages",
)
def static_file(name: str) -> Response:
    if name not in _FILES:
        raise Problem("not_found", "There is no such file.")
    content, content_type = _FILES[name]
    response = Response(content, content_type=content_type)
    # Kept by the browser, and asked for again each time (304 by its ETag): never of another version than the page.
    response.headers["Cache-Control"] = "no-cache"
    response.add_etag()
    response.make_conditional(request)
    return response
