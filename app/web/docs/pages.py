"""/docs, /openapi.json, /asyncapi.json and /llms.txt: the API described, for people and programs; and test vectors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from flask import Blueprint, Flask, Response, current_app, render_template, request
from markupsafe import Markup

from app.core.problem import Problem
from app.project import project_root
from app.web.docs import asyncapi, library, openapi, rendering
from app.web.docs.library import INDEX, Page
from app.web.engine import engine, engine_of
from app.web.http.call import Answer
from app.web.http.reading import JSON
from app.web.http.routes import open_route, routes_of

api = Blueprint("docs", __name__)

_READERS = "for readers, before they have a key"
_VECTORS = (project_root() / "clients" / "vectors.json").read_bytes()
_VECTORS_KEPT_SECONDS = 3600  # they change with a release at most
_KEY = "twofold.docs"
_MARKDOWN = ".md"
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


@dataclass(frozen=True, slots=True)
class Described:
    """The API described, which changes with the process only."""

    openapi: dict[str, Any]
    asyncapi: dict[str, Any]
    pages: dict[str, Page]
    shown: dict[str, str]  # pages that somebody has asked for, as HTML, by name


def described() -> Described:
    """The description of the application that serves this request; made when it is first asked for."""
    found = cast(Described | None, current_app.extensions.get(_KEY))
    return found or current_app.extensions.setdefault(_KEY, _describe(current_app))


def _describe(app: Flask) -> Described:
    known = engine_of(app)
    url = known.settings.public_url
    api_of = openapi.document(routes_of(app), url, known.rules.types.values())
    return Described(api_of, asyncapi.document(known.rules.contracts, url), library.pages(api_of, url), {})


@open_route(api, "GET", "/openapi.json", why=_READERS, answers={200: "Any"}, summary="This API in OpenAPI 3.1")
def openapi_json() -> Answer:
    return Answer(described().openapi)


@open_route(api, "GET", "/asyncapi.json", why=_READERS, answers={200: "Any"}, summary="The live streams in AsyncAPI 3")
def asyncapi_json() -> Answer:
    return Answer(described().asyncapi)


@open_route(
    api, "GET", "/llms.txt", why=_READERS, answers={200: "text"}, summary="All pages of the documentation, listed"
)
def llms_txt() -> Response:
    return _plain(library.listed(described().pages, engine().settings.public_url), "text/plain")


@open_route(api, "GET", "/llms-full.txt", why=_READERS, answers={200: "text"}, summary="The documentation in one text")
def llms_full_txt() -> Response:
    return _plain(library.together(described().pages), "text/plain")


@open_route(api, "GET", "/docs", why=_READERS, answers={200: "html"}, summary="The documentation")
def docs() -> Response:
    return _html(INDEX)


@open_route(api, "GET", "/docs.md", why=_READERS, answers={200: "markdown"}, summary="Its first page as Markdown")
def docs_markdown() -> Response:
    return _plain(described().pages[INDEX].text, "text/markdown")


@open_route(
    api,
    "GET",
    "/docs/{page}",
    why=_READERS,
    answers={200: "page"},
    refusals=("not_found",),
    summary="A page of the documentation; with .md behind its name as Markdown",
)
def docs_page(page: str) -> Response:
    name = page.removesuffix(_MARKDOWN)
    if name not in described().pages or name == INDEX:
        raise Problem("not_found", "There is no such page; /docs lists them all.")
    return _plain(described().pages[name].text, "text/markdown") if page != name else _html(name)


def _plain(text: str, content_type: str) -> Response:
    return Response(text, content_type=f"{content_type}; charset=utf-8")


def _html(name: str) -> Response:
    found = described()
    if name not in found.shown:
        page = found.pages[name]
        found.shown[name] = render_template(
            "docs.html",
            page=page,
            content=Markup(rendering.html(page.text)),
            headings=rendering.headings(page.text),
            groups=[(group, [one for one in found.pages.values() if one.group == group]) for group in _GROUPS],
        )
    response = Response(found.shown[name], content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = _POLICY
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


_GROUPS = (library.GUIDE, library.REFERENCE)
