"""/openapi.json and /docs: the API described; and what its clients are tried with."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, render_template, request

from app.project import project_root
from app.web.docs import openapi
from app.web.engine import engine
from app.web.http.call import Answer
from app.web.http.reading import JSON
from app.web.http.routes import open_route, routes_of

api = Blueprint("docs", __name__)

_READERS = "for readers, before they have a key"
_VECTORS = (project_root() / "clients" / "vectors.json").read_bytes()
_VECTORS_KEPT_SECONDS = 3600  # they change with a release at most


@open_route(api, "GET", "/openapi.json", why=_READERS, answers={200: "Any"}, summary="This API in OpenAPI 3.1")
def openapi_json() -> Answer:
    return Answer(openapi.document(routes_of(current_app), engine().settings.public_url))


@open_route(api, "GET", "/docs", why=_READERS, answers={200: "html"}, summary="This API as a page")
def docs() -> Response:
    described = openapi.document(routes_of(current_app), engine().settings.public_url)
    response = Response(render_template("docs.html", api=described), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


@open_route(
    api,
    "GET",
    "/.well-known/twofold/vectors.json",
    why="for whoever writes a client",
    answers={200: "Any", 304: ""},
    summary="Test vectors: signatures, envelopes and streams that a client has to verify and read, and what it refuses",
)
def vectors() -> Response:
    response = Response(_VECTORS, content_type=JSON)
    response.headers["Cache-Control"] = f"public, max-age={_VECTORS_KEPT_SECONDS}"
    response.headers["Access-Control-Allow-Origin"] = "*"  # a browser's client is tried in a page
    response.add_etag()
    response.make_conditional(request)
    return response
