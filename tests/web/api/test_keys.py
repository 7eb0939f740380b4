"""Keys: shown once, as good as their scopes, dead when revoked."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import text

from app.database.connection import Database
from tests.web.doors import EVERY_SCOPE, Door


def test_a_key_is_shown_once_and_stored_hashed(acme: Door, database: Database) -> None:
    made = acme.post("/v1/keys", {"name": "producer", "scopes": ["publish"]})
    assert made["key"].startswith("pk_")
    assert made["key"].startswith(made["prefix"])
    listed = acme.ask("GET", "/v1/keys").get_data(as_text=True)
    assert made["key"] not in listed
    assert made["id"] in listed
    with database.begin() as connection:
        rows = connection.execute(text("SELECT * FROM api_keys WHERE id = :id"), {"id": made["id"]}).mappings().one()
    assert bytes(rows["secret_hash"]) == hashlib.sha256(made["key"].encode()).digest()
    assert made["key"] not in str(dict(rows))


def test_a_revoked_key_is_dead_at_once_and_no_longer_listed(acme: Door) -> None:
    made = acme.post("/v1/keys", {"name": "gone", "scopes": EVERY_SCOPE})
    door = Door(acme.app, made["key"], acme.workspace_id)
    door.get("/v1/streams")
    acme.delete(f"/v1/keys/{made['id']}")
    problem = door.get("/v1/streams", 401)
    assert problem["code"] == "unauthorized"
    assert made["id"] not in [key["id"] for key in acme.get("/v1/keys")["data"]]
    acme.delete(f"/v1/keys/{made['id']}", 404)


def test_a_key_is_read_without_its_secret_as_long_as_it_works(acme: Door, globex: Door, platform: Door) -> None:
    made = acme.post("/v1/keys", {"name": "one", "scopes": ["publish", "operate"]})
    where = f"/v1/keys/{made['id']}"
    read = acme.get(where)
    assert read == {name: value for name, value in made.items() if name != "key"}
    assert read in acme.get("/v1/keys")["data"]
    assert platform.get(where, headers={"X-Workspace": "acme"}) == read
    for other in (globex, platform):  # a platform key alone reads the platform's keys, as it lists them
        other.get(where, 404)
    acme.delete(where)
    acme.get(where, 404)


def test_a_key_cannot_give_more_than_it_has(acme: Door) -> None:
    made = acme.post("/v1/keys", {"name": "manager", "scopes": ["manage"]})
    problem = Door(acme.app, made["key"]).post("/v1/keys", {"name": "more", "scopes": ["manage", "publish"]}, 403)
    assert "lacks publish" in problem["detail"]


def test_a_platform_key_makes_platform_keys_unless_it_names_a_workspace(platform: Door, acme: Door) -> None:
    own = platform.post("/v1/keys", {"name": "second", "scopes": ["publish"]})
    assert own["key"].startswith("sk_")
    assert own["id"] in [key["id"] for key in platform.get("/v1/keys")["data"]]
    assert own["id"] not in [key["id"] for key in acme.get("/v1/keys")["data"]]
    named = {"X-Workspace": "acme"}
    assert [key["name"] for key in platform.get("/v1/keys", headers=named)["data"]] == ["all"]


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_a_key_may_come_in_either_header(acme: Door, header: str) -> None:
    value = f"Bearer {acme.key}" if header == "Authorization" else acme.key
    assert acme.client.get("/v1/streams", headers={header: value}).status_code == 200


@pytest.mark.parametrize(
    ("headers", "phrase"),
    [
        ({}, "A key is missing"),
        ({"Authorization": "Basic YTpi"}, "Authorization: Bearer"),
        ({"Authorization": "Bearer "}, "A key is missing"),
        ({"Authorization": "Bearer pk_0000"}, "unknown or has been revoked"),
        ({"Authorization": "Bearer " + "x" * 5000}, "unknown or has been revoked"),
        ({"X-API-Key": "pk_\xff"}, "unknown or has been revoked"),
    ],
)
def test_without_a_working_key_the_answer_says_what_to_send(acme: Door, headers: dict[str, str], phrase: str) -> None:
    response = acme.client.get("/v1/streams", headers=headers)
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert phrase in response.get_json()["detail"]


def test_a_platform_key_must_name_the_workspace_it_acts_for(platform: Door, acme: Door) -> None:
    assert "X-Workspace" in platform.get("/v1/streams", 400)["detail"]
    platform.get("/v1/streams", 404, headers={"X-Workspace": "nobody"})
    for name in ("acme", acme.workspace_id):
        platform.get("/v1/streams", headers={"X-Workspace": name})


def test_a_workspace_key_may_name_its_own_workspace_only(acme: Door, globex: Door) -> None:
    for name in ("acme", acme.workspace_id):
        acme.get("/v1/streams", headers={"X-Workspace": name})
    foreign = [
        acme.ask("GET", "/v1/streams", headers={"X-Workspace": name}) for name in ("globex", globex.workspace_id)
    ]
    absent = acme.ask("GET", "/v1/streams", headers={"X-Workspace": "nobody"})
    assert {response.status_code for response in [*foreign, absent]} == {404}
    assert len({response.get_json()["detail"] for response in [*foreign, absent]}) == 1
