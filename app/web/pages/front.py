"""The front page: where one is, and the ways on."""

from __future__ import annotations

from urllib.parse import quote

from flask import Blueprint, Response

from app.web.pages.console import answers
from app.web.pages.console.visit import ANYONE, Visit, page

api = Blueprint("front", __name__)


@page(api, "GET", "/", role=ANYONE, why="says where one is, and shows nobody's data")
def front_page(visit: Visit) -> Response:
    return answers.html("front.html", base_url=visit.engine.settings.public_url)


@page(api, "GET", "/live", role=ANYONE, why="leads to the page of the stream that was named on the front page")
def live_viewer(visit: Visit) -> Response:
    kind, stream = (quote(visit.args.get(name, "").strip(), safe="") for name in ("kind", "stream"))
    return answers.redirect(f"/live/{kind}/{stream}" if kind and stream else "/")
