"""Into the portal by a link: once, within minutes, for as long as nobody takes it back; in a frame where it may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask import Flask

from app import create_app
from app.database.connection import Database
from app.settings import Settings
from app.web.engine import engine_of
from tests.web.doors import Door
from tests.web.pages.portal.guests import GuestAtPortal

Enter = Callable[..., GuestAtPortal]


def test_a_link_opens_once(app: Flask, acme: Door) -> None:
    link = acme.post("/v1/portal-links")
    assert link["scopes"] == ["manage", "operate"]
    first, second = GuestAtPortal(app), GuestAtPortal(app)
    assert first.open(link["url"]).headers["Location"] == "/portal"
    response = second.open(link["url"])
    assert response.status_code == 401
    assert "opened before" in response.get_data(as_text=True)
    assert "Acme" in first.get("/portal/endpoints")
    second.get("/portal/endpoints", 401)


def test_looking_at_the_link_does_not_use_it_up(app: Flask, acme: Door) -> None:
    link = acme.post("/v1/portal-links")
    path = link["url"].partition("/portal")[2]
    assert GuestAtPortal(app).client.get(f"/portal{path}").status_code == 200
    assert acme.get("/v1/portal-links")["data"][0]["opened_at"] is None
    assert GuestAtPortal(app).open(link["url"]).status_code == 303
    assert acme.get("/v1/portal-links")["data"][0]["opened_at"] is not None


def test_the_way_in_names_the_workspace_and_waits_for_whoever_is_in_another(
    app: Flask, acme: Door, globex: Door, enter: Enter
) -> None:
    path = "/portal" + globex.post("/v1/portal-links")["url"].partition("/portal")[2]
    nobody, guest, own = GuestAtPortal(app), enter(acme), enter(globex)
    for page in (nobody.get(path), own.get(path)):
        assert "<strong>Globex</strong>" in page
        assert "data-at-once" in page
    page = guest.get(path)
    assert "portal of <strong>Acme</strong> now" in page
    assert "data-at-once" not in page
    assert nobody.open(path).status_code == 303
    spent = guest.get(path)
    assert "opened before" in spent
    assert '<form class="card' not in spent


@pytest.mark.parametrize("what", ["portal_links", "sessions"])
def test_link_and_session_end_in_time(app: Flask, acme: Door, database: Database, enter: Enter, what: str) -> None:
    guest, link = enter(acme), acme.post("/v1/portal-links")
    with database.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {what} SET expires_at = now()")
    if what == "sessions":
        guest.get("/portal/endpoints", 401)
    else:
        assert GuestAtPortal(app).open(link["url"]).status_code == 401
        guest.get("/portal/endpoints")


@pytest.mark.parametrize("how", ["link", "key", "leaving"])
def test_a_session_ends_with_its_link_its_key_and_when_the_customer_leaves(
    app: Flask, acme: Door, enter: Enter, how: str
) -> None:
    key = acme.post("/v1/keys", {"name": "one", "scopes": ["manage", "operate"]})
    guest = enter(Door(app, key["key"], acme.workspace_id))
    guest.get("/portal/deliveries")
    if how == "link":
        acme.delete(f"/v1/portal-links/{guest.link_id}")
        assert acme.get("/v1/portal-links")["data"] == []
    elif how == "key":
        acme.delete(f"/v1/keys/{key['id']}")
    else:
        cookie = guest.client.get_cookie("twofold_portal", path="/portal")
        assert cookie is not None
        assert guest.send("/portal/leave").status_code == 200
        guest.client.set_cookie("twofold_portal", cookie.value, path="/portal")
    guest.get("/portal/deliveries", 401)


def test_a_link_cannot_allow_what_its_key_may_not_do(app: Flask, acme: Door) -> None:
    key = acme.post("/v1/keys", {"name": "one", "scopes": ["manage"]})["key"]
    door = Door(app, key, acme.workspace_id)
    assert door.post("/v1/portal-links")["scopes"] == ["manage"]
    assert door.ask("POST", "/v1/portal-links", {"scopes": ["operate"]}).status_code == 403


def test_the_cookie_is_of_no_use_elsewhere(app: Flask, acme: Door, enter: Enter) -> None:
    guest = enter(acme)
    cookie = guest.client.get_cookie("twofold_portal", path="/portal")
    assert cookie is not None
    assert (cookie.http_only, cookie.same_site, cookie.path) == (True, "Lax", "/portal")
    for name in ("twofold_session", "twofold_console"):
        client = app.test_client()
        client.set_cookie(name, cookie.value)
        assert client.get("/v1/streams/call/c1/live").status_code == 401
        assert client.get("/console").status_code == 303


def test_in_a_frame_of_a_named_origin_the_cookie_is_partitioned(settings: Settings, acme: Door) -> None:
    named = replace(settings, portal_frame_origins=("https://app.example.com",), public_url="https://hooks.example.com")
    framed = create_app(named)
    link = acme.post("/v1/portal-links")
    try:
        guest = GuestAtPortal(framed)
        response = guest.open(link["url"])
        assert response.status_code == 303
        (sent,) = response.headers.getlist("Set-Cookie")
        assert {"Secure", "HttpOnly", "Partitioned", "SameSite=None"} <= set(sent.split("; "))
        assert response.headers["Content-Security-Policy"].endswith("; frame-ancestors https://app.example.com")
        assert "X-Frame-Options" not in response.headers
        assert framed.test_client().get("/console/sign-in").headers["X-Frame-Options"] == "DENY"
    finally:
        engine_of(framed).close()


def test_name_and_colour_are_the_operators(settings: Settings, acme: Door) -> None:
    named = replace(settings, portal_name="Acme <hooks>", portal_accent="#ffcc00")
    branded = create_app(named)
    link = acme.post("/v1/portal-links")
    try:
        guest = GuestAtPortal(branded)
        guest.open(link["url"])
        assert "Acme &lt;hooks&gt;" in guest.client.get("/portal/types").get_data(as_text=True)
        sheet = guest.client.get("/portal/theme.css")
        assert sheet.content_type.startswith("text/css")
        assert "--accent: #" in sheet.get_data(as_text=True)
    finally:
        engine_of(branded).close()
