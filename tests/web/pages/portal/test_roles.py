"""The matrix of links over all pages: strangers see nothing, a link allows what it says, foreign ids do not exist."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from flask import Flask

from app.accounts.portal import SCOPES
from app.web.pages.portal.visit import PortalRule, portal_pages_of
from tests.web.doors import Door
from tests.web.pages.portal.guests import GuestAtPortal

Enter = Callable[..., GuestAtPortal]
LIVE = re.compile(r"/live$")  # needs gunicorn's socket; tests/browser opens them
NOTHING = "_01k00000000000000000000000"
ABSENT = {
    "endpoint_id": f"ep{NOTHING}",
    "delivery_id": f"dlv{NOTHING}",
    "kind": "call",
    "stream_id": "nothing",
    "path:anything": "nothing",
}
FIELDS = {"status": "disabled", "since": "24h", "url": "http://127.0.0.1:9/other"}


def things(door: Door, stream: str) -> dict[str, str]:
    """What the names in the paths stand for, of this workspace."""
    endpoint = door.post("/v1/endpoints", {"url": "http://127.0.0.1:9/in"})["id"]
    event = door.publish("call", stream, "call.started")
    (row,) = door.get(f"/v1/events/{event}/deliveries")["data"]
    return ABSENT | {"endpoint_id": endpoint, "delivery_id": row["id"], "stream_id": stream}


@pytest.fixture
def own(acme: Door) -> dict[str, str]:
    return things(acme, "c1")


def rules(app: Flask, values: dict[str, str]) -> Iterator[tuple[PortalRule, str]]:
    """Every page, what takes something away at the end."""
    found = sorted(portal_pages_of(app).values(), key=lambda one: (one.path.endswith(("/delete", "/leave")), one.path))
    for rule in found:
        yield rule, re.sub(r"\{([\w:]+)\}", lambda name: values[name[1]], rule.path)


def test_a_stranger_sees_nothing_and_changes_nothing(app: Flask, own: dict[str, str]) -> None:
    stranger, seen = GuestAtPortal(app), 0
    for rule, path in rules(app, own):
        if not rule.why:
            response = stranger.client.open(path, method=rule.method, data=FIELDS if rule.method == "POST" else None)
            assert response.status_code == 401, path
            assert own["delivery_id"] not in response.get_data(as_text=True)
            seen += 1
    assert seen >= 20


@pytest.mark.parametrize("scope", SCOPES)
def test_a_link_allows_the_pages_of_its_scope_and_no_others(
    app: Flask, own: dict[str, str], acme: Door, enter: Enter, scope: str
) -> None:
    guest = enter(acme, scope)
    token = guest.token()
    for rule, path in rules(app, own):
        if LIVE.search(path) or rule.why or "nothing" in path:
            continue
        response = guest.client.open(
            path, method=rule.method, data={**FIELDS, "form_token": token} if rule.method == "POST" else None
        )
        allowed = rule.scope in ("", scope)
        assert (response.status_code < 400 or response.status_code == 409) is allowed, (path, response.status_code)
        if not allowed:
            assert response.status_code == 404, path


def test_what_belongs_to_another_workspace_is_answered_like_what_does_not_exist(
    app: Flask, own: dict[str, str], acme: Door, globex: Door, enter: Enter
) -> None:
    foreign, guest = things(globex, "theirs"), enter(acme, *SCOPES)
    token, seen = guest.token(), 0
    absent = {path_rule.path: path for path_rule, path in rules(app, ABSENT)}
    for rule, path in rules(app, foreign):
        if "{" not in rule.path or "anything" in rule.path:
            continue
        answers = [
            guest.client.open(
                asked,
                method=rule.method,
                data={**FIELDS, "form_token": token} if rule.method == "POST" else None,
                headers={"X-Request-Id": "same"},
            )
            for asked in (path, absent[rule.path])
        ]
        texts = []
        for answer, values in zip(answers, (foreign, ABSENT), strict=True):
            assert answer.status_code == 404, (path, answer.status_code)
            text = answer.get_data(as_text=True)
            for value in values.values():
                text = text.replace(value, "")
            texts.append(text)
        assert texts[0] == texts[1], path
        seen += 1
    assert seen >= 12
    page = guest.get(f"/portal/deliveries?endpoint={foreign['endpoint_id']}&workspace={globex.workspace_id}")
    assert "Nothing fits these filters" in page
    assert foreign["delivery_id"] not in page
    assert globex.get(f"/v1/endpoints/{foreign['endpoint_id']}")["status"] == "enabled"


def test_every_form_wants_its_token_and_one_of_our_pages(
    app: Flask, own: dict[str, str], acme: Door, enter: Enter
) -> None:
    guest, seen = enter(acme, *SCOPES), 0
    token = guest.token()
    for rule, path in rules(app, own):
        if rule.method == "POST":
            if not rule.why:
                for wrong in ("", "0" * 64):
                    assert guest.send(path, wrong, **FIELDS).status_code == 403, path
            headers = {"Origin": "https://elsewhere.example"}
            response = guest.client.post(path, data={**FIELDS, "form_token": token}, headers=headers)
            assert response.status_code == 403, path
            seen += 1
    assert seen >= 9
    assert acme.get(f"/v1/endpoints/{own['endpoint_id']}")["status"] == "enabled"


def test_no_page_has_an_inline_script_or_style_nor_anything_of_the_operators(
    app: Flask, own: dict[str, str], acme: Door, enter: Enter
) -> None:
    guest = enter(acme, *SCOPES)
    guest.send(f"/portal/endpoints/{own['endpoint_id']}/test", type="call.started")
    for rule, path in rules(app, own):
        if rule.method == "GET" and not LIVE.search(path):
            response = guest.client.get(path)
            page = response.get_data(as_text=True)
            assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|/console[/\"]", page), path
            assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", page)), path
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"], path
            assert response.headers["X-Frame-Options"] == "DENY", path
            for form in re.findall(r'<form[^>]*method="post".*?</form>', page, re.DOTALL):
                assert guest.token() in form or 'action="/portal/open"' in form, path
