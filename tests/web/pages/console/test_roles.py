"""The matrix of roles over all pages: strangers see nothing, viewers change nothing, every form wants its token."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from flask import Flask

from app.database.connection import Database
from app.web.pages.console import forms
from app.web.pages.console.visit import ANYONE, OPERATOR, VIEWER, PageRule, pages_of
from app.web.pages.portal import cookie
from tests.web.doors import Door
from tests.web.pages.console.people import Person, settings_of
from tests.web.pages.portal.guests import GuestAtPortal

OPEN = {"/", "/live", "/console/sign-in"}
LIVE = re.compile(r"/live$")  # needs gunicorn's socket; tests/browser/console opens them


@pytest.fixture
def things(acme: Door) -> dict[str, str]:
    """What the names in the paths stand for."""
    endpoint = acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/in", "order": "stream"})["id"]
    event = acme.publish("call", "c1", "call.started")
    (row,) = acme.get(f"/v1/events/{event}/deliveries")["data"]
    bulk = acme.post("/v1/bulk-retries", status=202)["id"]
    acme.put("/v1/feed/consumers/billing", {})
    key = acme.post("/v1/keys", {"name": "one", "scopes": ["publish"]})["id"]
    return {
        "endpoint_id": endpoint,
        "event_id": event,
        "delivery_id": row["id"],
        "workspace_id": acme.workspace_id,
        "kind": "call",
        "stream_id": "c1",
        "path:anything": "nothing",
        "key_id": key,
        "bulk_id": bulk,
        "consumer": "billing",
        "connection_id": "nobody.1",
        "user_name": "nobody",
        "session_id": "ses_01k00000000000000000000000",
    }


def rules(app: Flask, things: dict[str, str]) -> Iterator[tuple[PageRule, str]]:
    for rule in pages_of(app).values():
        yield rule, re.sub(r"\{([\w:]+)\}", lambda found: things[found[1]], rule.path)


def test_a_stranger_is_sent_to_sign_in_and_may_post_nothing(
    app: Flask, things: dict[str, str], stranger: Person
) -> None:
    for rule, path in rules(app, things):
        if rule.role == ANYONE:
            continue
        response = stranger.client.open(path, method=rule.method)
        if rule.method == "GET":
            assert response.status_code == 303, path
            assert response.headers["Location"].startswith("/console/sign-in"), path
        else:
            assert response.status_code == 401, path
        assert things["delivery_id"] not in response.get_data(as_text=True).replace(path, "")


def test_a_viewer_sees_every_page_and_changes_nothing(
    app: Flask, things: dict[str, str], vic: Person, database: Database
) -> None:
    seen = 0
    for rule, path in rules(app, things):
        token = forms.token_for(settings_of(app), vic.session_id)
        if LIVE.search(path) or path == "/console/sign-out":
            continue
        if rule.method == "GET" and rule.role != OPERATOR:
            status = (
                303 if path in ("/live", "/console/sign-in", "/console/search") else 404 if "nothing" in path else 200
            )
            vic.get(path, status)
            seen += 1
        elif rule.path not in OPEN:
            response = vic.client.open(path, method=rule.method, data={forms.FIELD: token})
            assert response.status_code == 403, path
            assert "Your role is viewer" in response.get_data(as_text=True), path
    assert seen > 12


def test_viewers_are_shown_no_form_that_they_may_not_send(app: Flask, things: dict[str, str], vic: Person) -> None:
    acts = {rule.path.rpartition("/")[2] for rule, _ in rules(app, things) if rule.role == OPERATOR}
    assert {"retry", "state", "rotate"} <= acts
    for rule, path in rules(app, things):
        if rule.method == "GET" and rule.role == VIEWER and not LIVE.search(path):
            page = vic.client.get(path).get_data(as_text=True)
            assert set(re.findall(r'method="post" action="([^"]+)"', page)) <= {"/console/sign-out"}, path


def test_every_form_wants_its_token(app: Flask, things: dict[str, str], ana: Person) -> None:
    seen = 0
    for rule, path in rules(app, things):
        if rule.method == "POST":
            for token in ("", "0" * 64):
                response = ana.send(path, token)
                assert response.status_code == 403, path
                assert "out of date" in response.get_data(as_text=True), path
            seen += 1
    assert seen >= 5


def test_every_form_that_is_shown_brings_its_token(app: Flask, things: dict[str, str], ana: Person) -> None:
    for rule, path in rules(app, things):
        if rule.method == "GET" and not LIVE.search(path):
            page = ana.client.get(path).get_data(as_text=True)
            for form in re.findall(r'<form[^>]*method="post".*?</form>', page, re.DOTALL):
                assert forms.token_for(settings_of(app), ana.session_id) in form, path


def test_an_operator_sees_every_page(app: Flask, things: dict[str, str], ana: Person) -> None:
    for rule, path in rules(app, things):
        if rule.method == "GET" and rule.role == OPERATOR:
            ana.get(path)


def test_whoever_is_in_the_portal_is_a_stranger_here(app: Flask, things: dict[str, str], acme: Door) -> None:
    guest = GuestAtPortal(app)
    guest.open(acme.post("/v1/portal-links", {})["url"])
    value = guest.client.get_cookie(cookie.COOKIE, path=cookie.PATH)
    assert value is not None
    guest.client.set_cookie(forms.COOKIE, value.value, path=forms.PATH)
    guest.client.set_cookie(cookie.COOKIE, value.value, path=forms.PATH)
    for rule, path in rules(app, things):
        if rule.role != ANYONE and not LIVE.search(path):
            response = guest.client.open(path, method=rule.method, data={forms.FIELD: guest.token()})
            assert response.status_code == (303 if rule.method == "GET" else 401), path


def test_no_page_has_an_inline_script_or_style(app: Flask, things: dict[str, str], ana: Person) -> None:
    for rule, path in rules(app, things):
        if rule.method == "GET" and not LIVE.search(path):
            response = ana.client.get(path)
            page = response.get_data(as_text=True)
            assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", page), path
            assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page)), path
            assert "default-src 'none'" in response.headers["Content-Security-Policy"], path
            assert response.headers["X-Frame-Options"] == "DENY", path
