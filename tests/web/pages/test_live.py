"""The live page holds nothing of a stream and lets nothing foreign run; its files are kept and never stale."""

from __future__ import annotations

import json
import re

import pytest
from flask import Flask

PAGE = "/live/call/call_1"


def policy(app: Flask) -> dict[str, str]:
    headers = app.test_client().get(PAGE).headers
    return dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))


def test_only_our_own_scripts_run_and_only_we_are_asked(app: Flask) -> None:
    found = policy(app)
    assert found["default-src"] == "'none'"
    assert {found[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert {found[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}


def test_no_address_leaves_with_a_referer(app: Flask) -> None:
    assert app.test_client().get(PAGE).headers["Referrer-Policy"] == "no-referrer"


def test_the_page_is_the_same_for_every_stream_of_a_kind_and_holds_nothing_of_the_address(app: Flask) -> None:
    client = app.test_client()
    page = client.get("/live/bot/swordfish?transport=swordfish").data
    assert page == client.get("/live/bot/%3Cscript%3Ealert(1)").data == client.get("/live/bot/x").data
    assert b"swordfish" not in page


@pytest.mark.parametrize(
    ("kind", "types"),
    [
        ("bot", ["action_detected", "bot_status", "participant_update", "recording_ready", "transcript_segment"]),
        ("unheard_of", []),
    ],
)
def test_the_page_knows_the_declared_types_of_the_kind(app: Flask, kind: str, types: list[str]) -> None:
    page = app.test_client().get(f"/live/{kind}/x").get_data(as_text=True)
    found = re.search(r'<script id="types" type="application/json">(.*)</script>', page)
    assert found is not None
    assert json.loads(found[1]) == types


def test_everything_that_the_page_names_is_served_as_what_it_is(app: Flask) -> None:
    client = app.test_client()
    page = client.get(PAGE).get_data(as_text=True)
    names = {"live.css", "live.js", "icon.svg"}
    assert set(re.findall(r'(?:src|href)="\.\./\.\./static/([^"]+)"', page)) == names
    for name in names:
        names = names | set(re.findall(r'from "\./([^"]+)"', client.get(f"/static/{name}").get_data(as_text=True)))
    types = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8"}
    for name in names:
        answer = client.get(f"/static/{name}")
        assert answer.status_code == 200
        assert answer.headers["Content-Type"].startswith(types.get(name.rpartition(".")[2], "image/svg+xml"))


def test_a_file_is_asked_for_again_and_not_sent_again(app: Flask) -> None:
    client = app.test_client()
    first = client.get("/static/live.js")
    assert first.headers["Cache-Control"] == "no-cache"
    again = client.get("/static/live.js", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    assert again.data == b""


@pytest.mark.parametrize("name", ["nothing.js", "..", "%2e%2e%2fsettings.py", "..%2f__init__.py", "live.html", ""])
def test_no_other_file_is_served(app: Flask, name: str) -> None:
    answer = app.test_client().get(f"/static/{name}")
    assert answer.status_code == 404
    assert answer.content_type == "application/problem+json"
