"""Keys, users and the audit log: what an operator does there works at once and is written down."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from app.accounts import audit, users
from app.accounts.users import OPERATOR, VIEWER
from app.database.connection import Database
from app.web.engine import engine_of
from tests.web.doors import Door
from tests.web.pages.console.people import Person, signed_in


def made_key(page: str) -> str:
    found = re.search(r'<pre id="key" tabindex="0">([^<]+)</pre>', page)
    assert found is not None
    return found[1]


def written(database: Database) -> list[tuple[str, str, str | None]]:
    with database.begin() as connection:
        return [(entry.actor, entry.action, entry.target) for entry in audit.entries(connection, limit=50)]


def test_a_key_of_a_customer_is_made_shown_once_and_revoked(
    app: Flask, acme: Door, ana: Person, database: Database
) -> None:
    fields = {"name": "<producer>", "workspace": acme.workspace_id, "scope-publish": "1", "scope-operate": "1"}
    page = ana.send("/console/keys", **fields).get_data(as_text=True)
    key = made_key(page)
    caller = engine_of(app).callers.authenticate(key)
    assert caller is not None
    assert (caller.workspace_id, caller.scopes) == (acme.workspace_id, {"publish", "operate"})
    assert '<option value="">the platform</option>' in ana.get("/console/keys")
    listed = ana.get(f"/console/keys?workspace={acme.workspace_id}")
    assert "<producer>" in listed
    assert key not in listed
    gone = ana.send(f"/console/keys/{caller.key_id}/revoke", workspace=acme.workspace_id)
    assert gone.headers["Location"] == f"/console/keys?workspace={acme.workspace_id}&done=revoked"
    assert engine_of(app).callers.authenticate(key) is None
    assert written(database) == [("ana", "key.revoke", caller.key_id), ("ana", "key.create", caller.key_id)]
    assert ana.send(f"/console/keys/{caller.key_id}/revoke", workspace=acme.workspace_id).status_code == 404


def test_a_key_of_the_platform_is_made_without_a_customer(app: Flask, ana: Person) -> None:
    key = made_key(ana.send("/console/keys", **{"name": "all", "scope-manage": "1"}).get_data(as_text=True))
    caller = engine_of(app).callers.authenticate(key)
    assert caller is not None
    assert caller.is_platform


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"name": "", "scope-publish": "1"}, 422),
        ({"name": "x" * 201, "scope-publish": "1"}, 422),
        ({"name": "x"}, 422),
        ({"name": "x", "scope-publish": "1", "workspace": "ws_01k00000000000000000000000"}, 404),
        ({"name": "x", "scope-publish": "1", "workspace": "acme"}, 404),
    ],
)
def test_a_key_that_makes_no_sense_is_not_made(
    acme: Door, ana: Person, database: Database, fields: dict[str, str], status: int
) -> None:
    assert ana.send("/console/keys", **fields).status_code == status
    assert written(database) == []


def test_a_key_of_one_customer_is_not_revoked_as_anothers(acme: Door, globex: Door, ana: Person) -> None:
    key = acme.post("/v1/keys", {"name": "one", "scopes": ["publish"]})["id"]
    assert ana.send(f"/console/keys/{key}/revoke", workspace=globex.workspace_id).status_code == 404
    assert ana.send(f"/console/keys/{key}/revoke").status_code == 404


def test_a_user_is_disabled_and_signed_out_at_once(app: Flask, ana: Person, database: Database) -> None:
    eve = signed_in(app, database, "eve@example.com", OPERATOR)
    assert "eve@example.com" in ana.get("/console/users")
    done = ana.send("/console/users/eve%40example.com/state", state="disabled")
    assert done.headers["Location"] == "/console/users?done=user-disabled"
    eve.get("/console", 303)
    assert ana.send("/console/users/eve%40example.com/state", state="enabled").status_code == 303
    eve.get("/console", 303)
    assert [action for _, action, _ in written(database)] == ["user.enable", "user.disable"]


def test_another_role_holds_at_once(app: Flask, ana: Person, database: Database) -> None:
    eve = signed_in(app, database, "eve", OPERATOR)
    assert ana.send("/console/users/eve/role", role=VIEWER).status_code == 303
    eve.get("/console", 303)
    with database.begin() as connection:
        assert users.get_user(connection, "eve").role == VIEWER
    assert ana.send("/console/users/eve/role", role="owner").status_code == 422
    assert ana.send("/console/users/nobody/role", role=VIEWER).status_code == 404


def test_nobody_shuts_themselves_out(ana: Person) -> None:
    assert ana.send("/console/users/ana/state", state="disabled").status_code == 409
    assert ana.send("/console/users/ana/role", role=VIEWER).status_code == 409
    ana.get("/console")


def test_one_session_is_ended_and_the_others_go_on(app: Flask, ana: Person, database: Database) -> None:
    eve = signed_in(app, database, "eve", VIEWER)
    path = f"/console/users/eve/sessions/{eve.session_id}/end"
    assert ana.send(path.replace("eve", "ana")).status_code == 404
    assert ana.send(path).status_code == 303
    eve.get("/console", 303)
    ana.get("/console")
    assert ana.send(path).status_code == 404
    assert written(database) == [("ana", "session.revoke", "eve")]


def test_the_audit_log_names_who_what_and_where_page_by_page(ana: Person, acme: Door, database: Database) -> None:
    assert "Nothing yet." in ana.get("/console/audit")
    with database.begin() as connection:
        for number in range(60):
            actor = audit.Actor("<eve>", None, "198.51.100.7")
            workspace = acme.workspace_id if number % 2 else None
            audit.note(connection, actor, "key.create", target=f"key_{number}", workspace_id=workspace, scopes=["x"])
    page = ana.get("/console/audit")
    assert page.count("<code>key.create</code>") == 50
    assert "<eve>" in page
    assert "198.51.100.7" in page
    assert "<eve>" not in ana.client.get("/console/audit").get_data(as_text=True)
    older = re.search(r'href="(/console/audit\?[^"]*before=\d+)"', page)
    assert older is not None
    assert ana.get(older[1]).count("<code>key.create</code>") == 10
    assert ana.get(f"/console/audit?workspace={acme.workspace_id}").count("<code>key.create</code>") == 30
