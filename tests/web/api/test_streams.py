"""Streams: opened, read, listed, ended; and the tokens that open one of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app import create_app
from app.core import tokens
from app.live.tokens import signing_keys
from app.settings import Settings
from app.web.engine import engine_of
from tests.web.conftest import open_workspace
from tests.web.doors import Door


def test_a_stream_is_opened_once_and_keeps_its_attributes(acme: Door) -> None:
    made = acme.put("/v1/streams/call/c1", {"attributes": {"transport": "sip", "n": 2**60}})
    assert (made["status"], made["last_seq"], made["ended_at"]) == ("open", 0, None)
    assert acme.get("/v1/streams/call/c1") == made
    assert acme.put("/v1/streams/call/c1", status=200) == made
    changed = acme.put("/v1/streams/call/c1", {"attributes": {"a": 1}}, 200)
    assert changed["attributes"] == {"a": 1}


def test_a_first_event_opens_its_stream(acme: Door) -> None:
    acme.publish("call", "c1", "call.started")
    assert acme.get("/v1/streams/call/c1")["last_seq"] == 1


def test_one_limit_holds_for_streams_however_they_are_opened(environ: dict[str, str], platform: Door) -> None:
    app = create_app(Settings.from_env({**environ, "MAX_OPEN_STREAMS": "2"}))
    acme = open_workspace(Door(app, platform.key), "acme")
    acme.put("/v1/streams/call/c1")
    acme.publish("call", "c2", "call.started")
    event = {"stream": {"kind": "call", "id": "c3"}, "type": "call.started", "data": {}}
    refused = [acme.put("/v1/streams/call/c3", status=429), acme.post("/v1/events", event, 429)]
    assert {problem["detail"] for problem in refused} == {
        "The workspace has 2 open streams, the most it may have; end some first."
    }
    acme.post("/v1/streams/call/c1/end", status=200)
    acme.put("/v1/streams/call/c3")
    engine_of(app).close()


def test_an_ended_stream_stays_ended(acme: Door) -> None:
    acme.put("/v1/streams/call/c1")
    ended = acme.post("/v1/streams/call/c1/end", status=200)
    assert ended["status"] == "ended"
    assert acme.post("/v1/streams/call/c1/end", status=200) == ended
    assert acme.put("/v1/streams/call/c1", {"attributes": {"a": 1}}, 409)["code"] == "stream_ended"
    acme.post("/v1/streams/call/absent/end", status=404)


def test_streams_are_listed_newest_first_by_kind_and_status(acme: Door) -> None:
    for kind, id in (("call", "c1"), ("bot", "b1"), ("call", "c2")):
        acme.put(f"/v1/streams/{kind}/{id}")
    acme.post("/v1/streams/call/c2/end", status=200)

    def listed(query: str) -> list[str]:
        return [row["id"] for row in acme.get(f"/v1/streams{query}")["data"]]

    assert listed("") == ["c2", "b1", "c1"]
    assert listed("?kind=call") == ["c2", "c1"]
    assert listed("?status=open") == ["b1", "c1"]
    assert listed("?kind=call&status=ended") == ["c2"]
    first = acme.get("/v1/streams?limit=2")
    assert [row["id"] for row in acme.get(f"/v1/streams?limit=2&cursor={first['next_cursor']}")["data"]] == ["c1"]


def test_names_with_every_allowed_character_work(acme: Door) -> None:
    name = "a.Z_9~:@+=-"
    acme.put(f"/v1/streams/call/{name}")
    assert acme.get("/v1/streams")["data"][0]["id"] == name


def test_a_token_names_its_stream_and_its_end_and_can_be_revoked(acme: Door, settings: Settings) -> None:
    acme.put("/v1/streams/call/c1")
    made = acme.post("/v1/streams/call/c1/tokens")
    now = datetime.now(UTC)
    claims = tokens.decode(signing_keys(settings), made["token"], now.timestamp())
    assert claims is not None
    assert (claims.kind, claims.stream_id) == ("call", "c1")
    left = datetime.fromisoformat(made["expires_at"]) - now
    assert timedelta(seconds=290) < left <= timedelta(seconds=301)
    listed = acme.get("/v1/streams/call/c1/tokens")["data"]
    assert [row["id"] for row in listed] == [made["id"]]
    assert made["token"] not in str(listed)
    acme.delete(f"/v1/streams/call/c1/tokens/{made['id']}")
    assert acme.get("/v1/streams/call/c1/tokens")["data"] == []


def test_a_token_is_found_under_its_own_stream_only(acme: Door) -> None:
    for id in ("c1", "c2"):
        acme.put(f"/v1/streams/call/{id}")
    made = acme.post("/v1/streams/call/c1/tokens")
    acme.delete(f"/v1/streams/call/c2/tokens/{made['id']}", 404)
    assert acme.get("/v1/streams/call/c1/tokens")["data"] != []
