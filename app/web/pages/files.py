"""The scripts, style sheets and icons of our pages."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response, request

from app.core.problem import Problem
from app.web.http.routes import open_route

api = Blueprint("files", __name__)

_FOLDER = Path(__file__).resolve().parent / "static"

# Set explicitly: system MIME tables differ, and modules need text/javascript.
_TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}

# Name -> (its bytes, its content type): a few small files, read once. No name from outside reaches the file system.
_FILES = {path.name: (path.read_bytes(), _TYPES[path.suffix]) for path in _FOLDER.iterdir() if path.suffix in _TYPES}


@open_route(
    api,
    "GET",
    "/static/{name}",
    why="what our pages are made of",
    answers={200: "file", 304: ""},
    refusals=("not_found",),
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
