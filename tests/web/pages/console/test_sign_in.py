"""Who gets in, for how long, and what stands in the way of those who guess."""

from __future__ import annotations

from datetime import timedelta

import pytest
from flask import Flask

from app.accounts import audit, throttle, users
from app.accounts.users import OPERATOR, VIEWER
from app.database.connection import Database
from app.web.pages.console import forms
from tests.web.pages.console.people import PASSWORD, Person, settings_of, signed_in, user

SIGN_IN = "/console/sign-in"


def actions(database: Database) -> list[tuple[str, str]]:
    """The audit log, oldest first: who, what."""
    with database.begin() as connection:
        return [(entry.actor, entry.action) for entry in reversed(audit.entries(connection, limit=100))]


def test_a_person_signs_in_sees_the_page_that_was_asked_for_and_signs_out(database: Database, stranger: Person) -> None:
    user(database, "ana@example.com", OPERATOR)
    asked = stranger.client.get("/console/audit?x=1")
    assert (asked.status_code, asked.headers["Location"]) == (303, f"{SIGN_IN}?next=%2Fconsole%2Faudit%3Fx%3D1")
    entered = stranger.sign_in(" Ana@Example.com", PASSWORD, next="/console/audit?x=1")
    assert (entered.status_code, entered.headers["Location"]) == (303, "/console/audit?x=1")
    with database.begin() as connection:
        (session,) = users.list_sessions(connection)
    stranger.session_id = session.id
    assert stranger.client.get(SIGN_IN).status_code == 303
    left = stranger.send("/console/sign-out")
    assert (left.status_code, left.headers["Location"]) == (303, f"{SIGN_IN}?done=signed-out")
    stranger.get("/console/nothing", 303)
    assert actions(database) == [("ana@example.com", "session.begin"), ("ana@example.com", "session.end")]


def test_the_cookie_is_for_the_console_alone_and_for_no_script(app: Flask, database: Database) -> None:
    user(database, "ana", OPERATOR)
    cookies = Person(app).sign_in("ana", PASSWORD).headers.getlist("Set-Cookie")
    (cookie,) = [one for one in cookies if one.startswith(f"{forms.COOKIE}=")]
    assert {"HttpOnly", "Path=/console", "SameSite=Lax"} <= set(cookie.split("; "))


@pytest.mark.parametrize(
    ("name", "password"), [("ana", "wrong"), ("nobody", PASSWORD), ("ana", ""), ("", ""), ("dis", PASSWORD)]
)
def test_a_wrong_name_and_a_wrong_password_are_told_apart_by_nobody(
    database: Database, stranger: Person, name: str, password: str
) -> None:
    user(database, "ana", OPERATOR)
    disabled = user(database, "dis", OPERATOR)
    with database.begin() as connection:
        users.change_user(connection, disabled, disabled=True)
    refused = stranger.sign_in(name, password)
    assert refused.status_code == 401
    assert "The name or the password is wrong." in refused.get_data(as_text=True)
    assert "WWW-Authenticate" not in refused.headers
    assert actions(database) == [(name or "(no name)", "session.refused")]


def test_who_guesses_is_slowed_down_by_name_wherever_they_sit_and_time_lets_them_try_again(database: Database) -> None:
    key = "k" * 32
    with database.begin() as connection:
        for number in range(throttle.CAPACITY[throttle.NAME]):
            throttle.count(connection, key, "ana", f"198.51.100.{number}")
    with pytest.raises(Exception, match="Too many wrong passwords"), database.begin() as connection:
        throttle.count(connection, key, "ana", "198.51.100.200")
    with database.begin() as connection:
        throttle.count(connection, key, "bob", "198.51.100.200")
        connection.exec_driver_sql(
            "UPDATE sign_in_buckets SET counted_at = counted_at - %(span)s::interval",
            {"span": timedelta(seconds=throttle.SECONDS_EACH + 1)},
        )
    with database.begin() as connection:
        throttle.count(connection, key, "ana", "198.51.100.200")
    with pytest.raises(Exception, match="Too many wrong passwords"), database.begin() as connection:
        throttle.count(connection, key, "ana", "198.51.100.200")


def test_who_guesses_is_slowed_down_by_address_whatever_the_name(database: Database) -> None:
    key, most = "k" * 32, throttle.CAPACITY[throttle.ADDRESS]
    with database.begin() as connection:
        for number in range(most):
            throttle.count(connection, key, f"name{number}", f"2001:db8:1:2::{number:x}")
    with pytest.raises(Exception, match="from this address"), database.begin() as connection:
        throttle.count(connection, key, "another", "2001:db8:1:2:ffff::1")
    with database.begin() as connection:
        throttle.count(connection, key, "another", "2001:db8:1:3::1")
        stored = connection.exec_driver_sql("SELECT count(*) FROM sign_in_buckets").scalar_one()
    assert stored <= most + 3


def test_the_page_says_so_and_a_right_password_forgets_the_wrong_ones(
    app: Flask, database: Database, stranger: Person
) -> None:
    user(database, "ana", OPERATOR)
    assert stranger.sign_in("ana", "wrong").status_code == 401
    assert stranger.sign_in("ana", PASSWORD).status_code == 303
    with database.begin() as connection:
        levels = connection.exec_driver_sql("SELECT kind, level FROM sign_in_buckets").all()
        assert {row.kind: round(row.level) for row in levels} == {"name": 0, "address": 1}
        connection.exec_driver_sql("UPDATE sign_in_buckets SET level = 1000 WHERE kind = 'name'")
    refused = Person(app).sign_in("ana", PASSWORD)
    assert (refused.status_code, "Wait a minute" in refused.get_data(as_text=True)) == (429, True)


@pytest.mark.parametrize("token", ["", "0" * 64, "é", "x\0y"])
def test_a_form_without_its_token_does_nothing(ana: Person, database: Database, token: str) -> None:
    refused = ana.send("/console/sign-out", token)
    assert refused.status_code == 403
    assert "out of date" in refused.get_data(as_text=True)
    ana.get("/console/nothing", 404)


def test_a_token_belongs_to_one_session(app: Flask, ana: Person, vic: Person) -> None:
    assert vic.send("/console/sign-out", forms.token_for(settings_of(app), ana.session_id)).status_code == 403


def test_a_form_of_another_site_is_refused(app: Flask, ana: Person) -> None:
    token = forms.token_for(settings_of(app), ana.session_id)
    headers = {"Origin": "https://evil.example"}
    refused = ana.client.post("/console/sign-out", data={forms.FIELD: token}, headers=headers)
    assert refused.status_code == 403


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "https://evil.example/console", "/console//evil", "/consolevil", "/console/\\evil", ""]
)
def test_signing_in_leads_to_our_own_pages_only(database: Database, stranger: Person, wanted: str) -> None:
    user(database, "ana", VIEWER)
    assert stranger.sign_in("ana", PASSWORD, next=wanted).headers["Location"] == "/console"


@pytest.mark.parametrize("ending", ["revoked", "expired", "disabled", "deleted"])
def test_a_session_ends_at_once(app: Flask, database: Database, ending: str) -> None:
    person = signed_in(app, database, "ana", OPERATOR)
    person.get("/console/nothing", 404)
    statements = {
        "revoked": "UPDATE sessions SET revoked_at = now()",
        "expired": "UPDATE sessions SET expires_at = now()",
        "disabled": "UPDATE users SET disabled_at = now()",
        "deleted": "DELETE FROM users",
    }
    with database.begin() as connection:
        connection.exec_driver_sql(statements[ending])
    person.get("/console/nothing", 303)
    assert person.send("/console/sign-out").status_code == 401


def test_signing_in_again_ends_the_session_before(database: Database, stranger: Person) -> None:
    user(database, "ana", OPERATOR)
    stranger.sign_in("ana", PASSWORD)
    first = stranger.client.get_cookie(forms.COOKIE, path=forms.PATH)
    assert first is not None
    stranger.client.delete_cookie(forms.COOKIE, path=forms.PATH)
    other = Person(stranger.app)
    token = forms.token_for(settings_of(other.app), "mark")
    other.client.set_cookie(forms.SIGN_IN_COOKIE, "mark", path=forms.PATH)
    other.client.set_cookie(forms.COOKIE, first.value, path=forms.PATH)
    assert other.send(SIGN_IN, token, name="ana", password=PASSWORD).status_code == 303
    with database.begin() as connection:
        assert len(users.list_sessions(connection)) == 1


def test_the_front_page_says_where_one_is_and_leads_on(stranger: Person) -> None:
    page = stranger.get("/")
    for href in ("/console", "/docs"):
        assert f'href="{href}"' in page
    assert stranger.client.get("/live?kind=call&stream=a/b").headers["Location"] == "/live/call/a%2Fb"
    assert stranger.client.get("/live").headers["Location"] == "/"


@pytest.mark.parametrize("path", ["/", SIGN_IN, "/console/nothing"])
def test_every_page_keeps_strangers_scripts_and_frames_out(ana: Person, path: str) -> None:
    for headers in (ana.client.get(path).headers, Person(ana.app).client.get(path).headers):
        policy = dict(part.split(" ", 1) for part in headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert {policy[name] for name in ("script-src", "style-src", "form-action")} == {"'self'"}
        assert policy["frame-ancestors"] == "'none'"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
