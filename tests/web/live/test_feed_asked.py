"""The feed asked with a body, by content, over WebSocket, and with tokens that open a part of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from app.core.feed.cursor import Cursor, Tick, encode
from app.core.feed.snapshot import Snapshot
from tests.contracts.wire import CLOSE, PING, PONG, get
from tests.processes import RunningServer, eventually
from tests.web.live.feeding import Workspace, streams_of, wait_for

AWAY = encode(Cursor(Tick(2**40, 0, 5, 2**40, Snapshot(2**40, 2**40))))
OLD = encode(Cursor(Tick(0, 0, 5, 0, Snapshot(1, 1))))  # before the first tick that is kept
RICH = {"path": "/amount", "gte": 100}


def asked(server: RunningServer, method: str, path: str = "/v1/feed", **options: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {server.workspace_key}", **options.pop("headers", {})}
    return requests.request(method, server.base_url + path, headers=headers, timeout=20, **options)


def test_a_query_asks_with_a_body_what_get_asks_in_the_address(server: RunningServer) -> None:
    workspace = Workspace(server, "feed_query")
    workspace.post("a", "b", "c")
    workspace.post("a", type="call.rang", data={"amount": 100})
    # A page shows what the newest tick has seen, which may be before the last event.
    eventually(lambda: streams_of(workspace.query(streams=["note:a", "note:c"], wait=5)) == ["a", "c", "a"])
    assert streams_of(workspace.query(types=["call.*"])) == ["a"]
    assert streams_of(workspace.query(kinds=["call"])) == []
    assert streams_of(workspace.query(content_filter=RICH)) == ["a"]
    first = workspace.query(limit=3)
    assert streams_of(workspace.query(after=first["cursor"])) == ["a"]
    assert workspace.query() == workspace.get()


@pytest.mark.parametrize(
    ("headers", "body", "status", "named"),
    [
        ({}, "{}", 400, "Content-Type"),
        ({"Content-Type": "text/plain"}, "{}", 415, "application/json"),
        ({"Content-Type": "application/json"}, "", 400, "empty"),
        ({"Content-Type": "application/json"}, "{", 400, "JSON"),
        ({"Content-Type": "application/json"}, '{"streams":["note"]}', 422, "streams"),
        ({"Content-Type": "application/json"}, '{"stream":["note:a"]}', 422, "did you mean streams"),
        ({"Content-Type": "application/json"}, '{"content_filter":{"path":"amount","eq":1}}', 422, "JSON Pointer"),
    ],
)
def test_a_query_that_cannot_be_read_is_refused_and_told_what_is_taken(
    server: RunningServer, headers: dict[str, str], body: str, status: int, named: str
) -> None:
    answer = asked(server, "QUERY", data=body.encode(), headers=headers)
    assert (answer.status_code, answer.headers["Accept-Query"]) == (status, "application/json")
    assert named in answer.json()["detail"]


def test_pages_of_any_origin_may_ask_with_query(server: RunningServer) -> None:
    preflight = requests.options(f"{server.base_url}/v1/feed", timeout=20)
    assert {"GET", "HEAD", "OPTIONS", "QUERY"} == set(preflight.headers["Allow"].split(", "))
    assert "QUERY" in preflight.headers["Access-Control-Allow-Methods"]
    assert "Content-Type" in preflight.headers["Access-Control-Allow-Headers"]
    for path in ("/v1/feed", "/v1/feed/live"):
        assert asked(server, "HEAD", path).headers["Access-Control-Allow-Origin"] == "*"


def test_a_content_filter_is_taken_in_an_address_by_pages_and_views(server: RunningServer) -> None:
    workspace = Workspace(server, "feed_content")
    workspace.post("a", data={"amount": 5})
    workspace.post("b", data={"amount": 500})
    query = f"?after=earliest&content_filter={json.dumps(RICH)}".replace(" ", "").replace('"', "%22")
    assert streams_of(workspace.get(f"{query}&wait=5")) == ["b"]
    with workspace.follow(query) as viewer:
        workspace.post("c", "d", data={"amount": 100})
        seen = [json.loads(frame.data)["stream"]["id"] for frame in wait_for(viewer, 3)]
    assert seen == ["b", "c", "d"]
    answer = asked(server, "GET", "/v1/feed?content_filter={")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "content_filter")


def test_a_websocket_carries_the_feed_and_the_cursor_of_a_text_is_where_to_go_on(server: RunningServer) -> None:
    workspace = Workspace(server, "feed_socket")
    workspace.post("a")
    with workspace.socket("?after=earliest") as viewer:
        viewer.read_texts(1)
        workspace.post("b", "c")
        texts = [json.loads(text) for text in viewer.read_texts(3)]
        assert [text["event"]["stream"]["id"] for text in texts] == ["a", "b", "c"]
        viewer.send(PING, b"still there?")
        viewer.read_until(lambda: PONG in [frame.opcode for frame in viewer.received])
        viewer.say("{}")
        assert json.loads(viewer.read_texts(4)[3])["error"]["code"] == "bad_request"
        viewer.send(CLOSE, b"\x03\xe8")
        assert viewer.read_close() == 1000
        viewer.read_end()
    with workspace.socket(f"?after={texts[1]['cursor']}&streams=note:c") as viewer:
        assert json.loads(viewer.read_texts(1)[0])["event"]["stream"]["id"] == "c"


def test_a_websocket_that_floods_is_closed(server: RunningServer) -> None:
    with Workspace(server, "feed_floods").socket() as viewer:
        viewer.read_until(lambda: bool(viewer.head))
        for _ in range(250):
            viewer.send(PING, b"")
        assert viewer.read_close() == 1008


@pytest.mark.parametrize(("cursor", "status", "reason"), [(AWAY, 409, "cursor_lost"), (OLD, 410, "cursor_gone")])
def test_whoever_misses_events_is_told_so(server: RunningServer, cursor: str, status: int, reason: str) -> None:
    workspace = Workspace(server, f"feed_{reason}")
    answer = requests.get(f"{server.base_url}/v1/feed?after={cursor}", headers=workspace.bearer, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (status, reason)
    workspace.post("a")
    assert streams_of(workspace.get(f"?after={answer.json()['cursor']}&wait=5")) == ["a"]
    with workspace.follow(f"?after={cursor}") as viewer:
        assert json.loads(wait_for(viewer, 1)[0].data)["reason"] == reason
    with workspace.socket(f"?after={cursor}") as socket:
        told = json.loads(socket.read_texts(1)[0])
        assert (told["reset"], sorted(told)) == (reason, ["cursor", "reset"])


def test_a_token_opens_what_it_names_and_no_more(server: RunningServer) -> None:
    workspace = Workspace(server, "feed_token")
    made = workspace.token(streams=["note:b", "note:a"])
    assert (made["streams"], made["kinds"]) == (["note:a", "note:b"], None)
    assert made["url"].endswith("/v1/feed/live")
    workspace.post("a", "b", "c")
    bearer = {"Authorization": f"Bearer {made['token']}"}
    with get(server.base_url, "/v1/feed/live?after=earliest", **bearer) as viewer:
        workspace.post("c", "a")
        assert [json.loads(frame.data)["stream"]["id"] for frame in wait_for(viewer, 3)] == ["a", "b", "a"]
    with get(server.base_url, f"/v1/feed/live?after=earliest&streams=note:b&token={made['token']}") as viewer:
        assert [json.loads(frame.data)["stream"]["id"] for frame in wait_for(viewer, 1)] == ["b"]
    with workspace.socket(f"?after=earliest&token={made['token']}", X_Nothing="1") as socket:
        assert len(socket.read_texts(3)) == 3
    for path in (
        "/v1/feed",
        "/v1/feed/live?streams=note:a,note:c",
        "/v1/feed/live?kinds=call",
        "/v1/streams/note/a/live",
        "/v1/feed/tokens",
    ):
        assert requests.get(server.base_url + path, headers=bearer, timeout=20).status_code == 401, path
    assert requests.get(f"{server.base_url}/v1/feed/live?token={workspace.key}", timeout=20).status_code == 401


def test_a_token_of_kinds_sees_all_streams_of_them(server: RunningServer) -> None:
    workspace = Workspace(server, "feed_kinds")
    made = workspace.token(kinds=["call"])
    workspace.post("a")
    workspace.ask(
        "POST", "/v1/events", {"stream": {"kind": "call", "id": "x"}, "type": "t", "data": {}}, headers=workspace.bearer
    )
    with get(server.base_url, f"/v1/feed/live?after=earliest&token={made['token']}") as viewer:
        assert [json.loads(frame.data)["stream"]["id"] for frame in wait_for(viewer, 1)] == ["x"]


def test_a_verifier_is_told_what_a_token_opens_until_it_is_revoked(server: RunningServer) -> None:
    workspace = Workspace(server, "feed_token_revoked")
    made = workspace.token(streams=["note:a"])

    def verified() -> dict[str, Any]:
        found = workspace.ask("POST", "/v1/tokens/verify", {"token": made["token"]}, headers=workspace.bearer)
        return dict(found.json())

    told = verified()
    assert (told["active"], told["token_type"], told["streams"], told["jti"]) == (True, "feed", ["note:a"], made["id"])
    listed = workspace.ask("GET", "/v1/feed/tokens", headers=workspace.bearer).json()["data"]
    assert [(one["id"], one["streams"]) for one in listed] == [(made["id"], ["note:a"])]
    workspace.ask("DELETE", f"/v1/feed/tokens/{made['id']}", headers=workspace.bearer)
    assert verified() == {"active": False}
    answer = requests.get(f"{server.base_url}/v1/feed/live?token={made['token']}", timeout=20)
    assert answer.status_code == 401


def test_a_token_of_everything_or_of_nothing_is_not_made(server: RunningServer) -> None:
    assert asked(server, "POST", "/v1/feed/tokens", json={}).status_code == 422
    assert asked(server, "POST", "/v1/feed/tokens", json={"streams": []}).status_code == 422
    assert asked(server, "POST", "/v1/feed/tokens", json={"types": ["a"]}).status_code == 422
