"""/openapi.json and /docs: the API described."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, render_template

from app.web.docs import openapi
from app.web.engine import engine
from app.web.http.call import Answer
from app.web.http.routes import open_route, routes_of

api = Blueprint("docs", __name__)

_READERS = "for readers, before they have a key"


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
