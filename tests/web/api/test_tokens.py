"""A proxy asks what a stream token opens, and learns nothing of what belongs to others."""

from __future__ import annotations

from datetime import datetime

import pytest

from app.core import ids, tokens
from app.live.tokens import signing_keys
from app.settings import Settings
from tests.web.doors import Door

INACTIVE = {"active": False}


@pytest.fixture
def made(acme: Door) -> dict[str, str]:
    acme.put("/v1/streams/call/c1")
    found: dict[str, str] = acme.post("/v1/streams/call/c1/tokens")
    return found


def verified(door: Door, token: str, **headers: str) -> dict[str, object]:
    found: dict[str, object] = door.post("/v1/tokens/verify", {"token": token}, 200, headers=headers)
    return found


def test_a_token_s_stream_workspace_and_end_are_told(acme: Door, made: dict[str, str]) -> None:
    told = verified(acme, made["token"])
    assert told["active"] is True
    assert told["stream"] == {"kind": "call", "id": "c1"}
    assert (told["workspace_id"], told["jti"]) == (acme.workspace_id, made["id"])
    assert told["expires_at"] == made["expires_at"]
    assert told["exp"] == datetime.fromisoformat(made["expires_at"]).timestamp()
    assert str(told["scope"]).split()[0] == "subscribe"


def test_what_is_revoked_expired_forged_or_no_token_is_inactive_and_nothing_more(
    acme: Door, made: dict[str, str], settings: Settings
) -> None:
    def signed(key: bytes, id: str, expires_at: int) -> str:
        return tokens.encode(key, tokens.Claims(id, "call", "c1", expires_at), 1)

    (key, *_), far = signing_keys(settings), 4_000_000_000
    for text in (
        made["token"][:-2],
        signed(b"another key", made["id"], far),
        signed(key, f"{ids.TOKEN}_01k00000000000000000000000", far),
        signed(key, made["id"], 2),
        "pk_notatoken",
    ):
        assert verified(acme, text) == INACTIVE, text
    acme.delete(f"/v1/streams/call/c1/tokens/{made['id']}")
    assert verified(acme, made["token"]) == INACTIVE


def test_a_workspace_learns_nothing_of_another_s_token(
    acme: Door, globex: Door, platform: Door, made: dict[str, str]
) -> None:
    assert verified(globex, made["token"]) == INACTIVE
    assert verified(platform, made["token"], **{"X-Workspace": globex.workspace_id}) == INACTIVE
    assert verified(platform, made["token"], **{"X-Workspace": acme.workspace_id})["active"] is True
    assert verified(platform, made["token"])["workspace_id"] == acme.workspace_id


def test_the_key_needs_the_scope_that_opens_streams(acme: Door, made: dict[str, str]) -> None:
    producer = acme.post("/v1/keys", {"name": "producer", "scopes": ["publish"]})["key"]
    Door(acme.app, producer, acme.workspace_id).post("/v1/tokens/verify", {"token": made["token"]}, 403)
    acme.post("/v1/tokens/verify", {}, 422)
