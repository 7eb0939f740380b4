"""A key that was good a moment ago opens the way to the database alone, which judges it again."""

from __future__ import annotations

from app.accounts.callers import REMEMBERED_SECONDS, Callers
from app.accounts.keys import create_key, digest, revoke_key
from app.accounts.workspaces import create_workspace
from app.database.connection import Database
from tests.web.doors import Door

EVENT = {"stream": {"kind": "call", "id": "c1"}, "type": "call.started", "data": {}}


def with_new_key(acme: Door, *scopes: str) -> tuple[Door, str]:
    made = acme.post("/v1/keys", {"name": "another", "scopes": list(scopes)})
    return Door(acme.app, made["key"], acme.workspace_id), made["id"]


def test_a_key_is_refused_from_the_moment_its_revocation_is_answered(acme: Door) -> None:
    door, key_id = with_new_key(acme, "publish", "subscribe", "operate")
    door.post("/v1/events", EVENT, 202)
    door.get("/v1/streams/call/c1")
    acme.delete(f"/v1/keys/{key_id}")
    for sent in (EVENT, [EVENT, EVENT], [], [{"no": "event"}], {"no": "event"}):
        refused = door.ask("POST", "/v1/events", sent)
        assert (refused.status_code, refused.get_json()["code"]) == (401, "unauthorized"), sent
    for path in ("/v1/streams/call/c1", "/v1/streams/call/none", "/v1/deliveries/dlv_06f0000000000000000000000a"):
        assert door.ask("GET", path).status_code == 401, path
    refused = door.ask("POST", "/v1/events?unknown=1", data=b"{", content_type="text/plain")
    assert refused.status_code == 401
    assert [one["seq"] for one in acme.get("/v1/events")["data"]] == [1]


def test_a_revoked_key_is_told_that_before_anything_else_that_is_wrong(acme: Door) -> None:
    door, key_id = with_new_key(acme, "subscribe")
    door.get("/v1/events")
    elsewhere = {"X-Workspace": "elsewhere"}
    assert door.ask("POST", "/v1/events", EVENT).status_code == 403
    assert door.ask("GET", "/v1/streams/call/c1", headers=elsewhere).status_code == 404
    acme.delete(f"/v1/keys/{key_id}")
    assert door.ask("POST", "/v1/events", EVENT).status_code == 401
    assert door.ask("GET", "/v1/streams/call/c1", headers=elsewhere).status_code == 401


def test_a_key_without_the_scope_is_told_which_it_has(acme: Door) -> None:
    door, _ = with_new_key(acme, "subscribe")
    assert door.get("/v1/events")["data"] == []
    refused = door.ask("POST", "/v1/events", EVENT)
    assert refused.get_json()["detail"] == "This request needs the scope publish; this key has subscribe."


def test_a_workspace_that_has_another_name_now_is_not_found_under_the_old_one(platform: Door, acme: Door) -> None:
    named = {"X-Workspace": "acme"}
    platform.post("/v1/events", EVENT, 202, headers=named)
    platform.patch("/v1/workspaces/acme", {"uid": "acme-2"})
    assert platform.ask("POST", "/v1/events", EVENT, headers=named).status_code == 404
    platform.post("/v1/events", EVENT, 202, headers={"X-Workspace": "acme-2"})
    other = platform.post("/v1/workspaces", {"name": "The next", "uid": "acme"})
    platform.post("/v1/events", EVENT, 202, headers=named)
    assert [one["seq"] for one in acme.get("/v1/events")["data"]] == [2, 1]
    assert platform.get("/v1/events", headers={"X-Workspace": other["id"]})["data"][0]["seq"] == 1


def test_a_name_that_another_workspace_got_a_moment_ago_reaches_neither_by_mistake(platform: Door, acme: Door) -> None:
    named = {"X-Workspace": "acme"}
    platform.post("/v1/events", EVENT, 202, headers=named)
    platform.patch("/v1/workspaces/acme", {"uid": "acme-2"})
    other = platform.post("/v1/workspaces", {"name": "The next", "uid": "acme"})
    again = platform.ask("POST", "/v1/events", EVENT, headers=named)
    assert (again.status_code, again.headers["Retry-After"]) == (503, "1")
    platform.post("/v1/events", EVENT, 202, headers=named)
    assert [one["seq"] for one in acme.get("/v1/events")["data"]] == [1]
    assert len(platform.get("/v1/events", headers={"X-Workspace": other["id"]})["data"]) == 1


def test_a_deleted_workspace_takes_nothing(platform: Door, acme: Door) -> None:
    named = {"X-Workspace": acme.workspace_id}
    platform.post("/v1/events", EVENT, 202, headers=named)
    acme.post("/v1/events", EVENT, 202)
    platform.delete(f"/v1/workspaces/{acme.workspace_id}")
    assert platform.ask("POST", "/v1/events", EVENT, headers=named).status_code == 404
    assert acme.ask("POST", "/v1/events", EVENT).status_code == 401


def test_what_is_remembered_is_forgotten_after_seconds_and_when_it_is_not_found(database: Database) -> None:
    now = [0.0]
    callers = Callers(database, clock=lambda: now[0])
    with database.session() as session:
        workspace = create_workspace(session, uid=None, name="w")
        key = create_key(session, name="k", scopes=["publish"], workspace_id=workspace.id)
    assert callers.remembered(digest(key.key)) is None
    found = callers.authenticate(key.key)
    now[0] = REMEMBERED_SECONDS - 0.1
    assert callers.remembered(digest(key.key)) == found
    now[0] = REMEMBERED_SECONDS
    assert callers.remembered(digest(key.key)) is None
    assert callers.authenticate(key.key) == found
    with database.session() as session:
        revoke_key(session, workspace.id, key.id)
    assert callers.authenticate(key.key) is None
    assert callers.remembered(digest(key.key)) is None
