"""GET /v1/deliveries/live over real processes: who sees which attempts, where a viewer resumes, when a view ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from jsonschema import Draft202012Validator

from tests.conftest import StartServer
from tests.contracts.clocked import Clock
from tests.contracts.wire import Connection, get
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.processes import RunningServer, eventually, free_port

ERROR = b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"
PATH = "/v1/deliveries/live"


@pytest.fixture
def receiver() -> Iterator[ScriptedServer]:
    """Takes everything."""
    with ScriptedServer(answering(OK)) as found:
        yield found


@pytest.fixture
def reluctant() -> Iterator[ScriptedServer]:
    """Refuses its first request and takes the others."""
    with ScriptedServer(answering(ERROR, OK)) as found:
        yield found


def ask(server: RunningServer, method: str, path: str, json: Any = None, **headers: str) -> requests.Response:
    return requests.request(method, server.base_url + path, json=json, headers=server.headers | headers, timeout=20)


def new_workspace(server: RunningServer, uid: str) -> str:
    """A key of a workspace of the test's own."""
    platform = {"Authorization": f"Bearer {server.platform_key}"}
    assert ask(server, "POST", "/v1/workspaces", {"name": uid, "uid": uid}, **platform).status_code == 201
    scopes = {"name": "all", "scopes": ["publish", "manage", "operate"]}
    return str(ask(server, "POST", "/v1/keys", scopes, **platform, **{"X-Workspace": uid}).json()["key"])


def watch(server: RunningServer, key: str, query: str = "", **headers: str) -> Connection:
    """A view that is open."""
    found = get(server.base_url, PATH + query, Authorization=f"Bearer {key}", **headers)
    assert (found.status, found.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    return found


def publish(server: RunningServer, key: str, *types: str) -> None:
    for type in types:
        event = {"stream": {"kind": "call", "id": "one"}, "type": type, "data": {}}
        assert ask(server, "POST", "/v1/events", event, Authorization=f"Bearer {key}").status_code == 202


def register(server: RunningServer, key: str, url: str) -> str:
    made = ask(server, "POST", "/v1/endpoints", {"url": url}, Authorization=f"Bearer {key}")
    return str(made.json()["id"])


def read(frame: str) -> tuple[str, dict[str, Any]]:
    """A frame's id and its data."""
    event, id, data = frame.removeprefix(": keepalive\n").split("\n")
    assert event == "event: attempt"
    return id.removeprefix("id: "), json.loads(data.removeprefix("data: "))


def test_each_attempt_is_a_frame_with_its_delivery_in_the_form_of_the_list(
    product: RunningServer, reluctant: ScriptedServer
) -> None:
    key = new_workspace(product, "forms")
    endpoint = register(product, key, reluctant.url)
    with watch(product, key) as view:
        publish(product, key, "call.started")
        _, failed = read(view.read_frames(1)[0])
        assert (failed["status"], failed["attempt"]["outcome"], failed["attempt"]["status_code"]) == (
            "pending",
            "http_error",
            500,
        )
        publish(product, key, "call.ended")
        _, delivered = read(view.read_frames(2)[1])
    listed = ask(product, "GET", "/v1/deliveries?status=delivered", Authorization=f"Bearer {key}").json()["data"]
    assert [{**delivered, "attempt": None}] == [{**row, "attempt": None} for row in listed]
    assert delivered["endpoint_id"] == endpoint
    single = ask(product, "GET", f"/v1/deliveries/{delivered['id']}", Authorization=f"Bearer {key}").json()
    (attempt,) = single["attempts"]
    assert delivered["attempt"].items() <= attempt.items()
    described = requests.get(f"{product.base_url}/openapi.json", timeout=10).json()
    schema = {"$ref": "#/components/schemas/LoggedAttempt", "components": described["components"]}
    for seen in (failed, delivered):
        Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(seen)


def test_filters_are_those_of_the_list_and_nothing_of_others_is_shown(
    product: RunningServer, reluctant: ScriptedServer
) -> None:
    key, foreign = new_workspace(product, "filters"), new_workspace(product, "foreign")
    endpoint, other = register(product, key, reluctant.url), register(product, key, reluctant.url)
    queries = ("", "?status=delivered", "?event_type=call.*", f"?endpoint_id={other}&event_type=note")
    with ExitStack() as opened:
        views = [opened.enter_context(watch(product, key, query)) for query in queries]
        nosy = [opened.enter_context(watch(product, foreign, query)) for query in ("", f"?endpoint_id={endpoint}")]
        publish(product, key, "call.started", "note")
        everything = [read(frame)[1] for frame in views[0].read_frames(4)]
        assert {(one["event_type"], one["endpoint_id"]) for one in everything} == {
            (type, id) for type in ("call.started", "note") for id in (endpoint, other)
        }
        delivered, calls, notes = (
            [read(frame)[1] for frame in view.read_frames(count)]
            for view, count in zip(views[1:], (3, 2, 1), strict=True)
        )
        assert {one["status"] for one in delivered} == {"delivered"}
        assert {one["event_type"] for one in calls} == {"call.started"}
        assert {(one["event_type"], one["endpoint_id"]) for one in notes} == {("note", other)}
        register(product, foreign, reluctant.url)
        publish(product, foreign, "own")
        assert read(nosy[0].read_frames(1)[0])[1]["event_type"] == "own"
        assert nosy[1].frames() == []


def test_a_viewer_that_comes_back_sees_what_it_missed_once(product: RunningServer, receiver: ScriptedServer) -> None:
    key = new_workspace(product, "resume")
    register(product, key, receiver.url)
    with watch(product, key) as view:
        publish(product, key, "a", "b", "c")
        before = [read(frame) for frame in view.read_frames(3)]
        publish(product, key, "d")
        last, _ = read(view.read_frames(4)[3])
    with watch(product, key, Last_Event_ID=before[0][0]) as view:
        again = [read(frame)[0] for frame in view.read_frames(3)]
        assert again == [before[1][0], before[2][0], last]
        publish(product, key, "e")
        assert read(view.read_frames(4)[3])[1]["event_type"] == "e"


@pytest.mark.parametrize("id", ["x", "1", "1-2-3", "-1-0"])
def test_what_was_never_an_id_is_refused(server: RunningServer, id: str) -> None:
    answer = ask(server, "GET", PATH, **{"Last-Event-ID": id})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")


def test_a_view_needs_the_scope_and_known_filters(server: RunningServer) -> None:
    key = ask(server, "POST", "/v1/keys", {"name": "blind", "scopes": ["publish", "subscribe"]}).json()["key"]
    assert ask(server, "GET", PATH, Authorization=f"Bearer {key}").status_code == 403
    assert ask(server, "GET", f"{PATH}?status=lost").status_code == 422
    head = ask(server, "HEAD", PATH)
    assert (head.status_code, head.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")


def test_places_are_bounded_and_free_again_when_a_viewer_goes(start_server: StartServer) -> None:
    server = start_server(MAX_LOG_VIEWERS="2")
    with watch(server, server.workspace_key) as first, watch(server, server.workspace_key):
        refused = ask(server, "GET", PATH)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many")
        assert viewers(server) == 2
        first.socket.close()
        eventually(lambda: get_status(server) == 200, 10)
    assert "Traceback" not in server.web.log_text()


def get_status(server: RunningServer) -> int:
    with get(server.base_url, PATH, Authorization=f"Bearer {server.workspace_key}") as view:
        return view.status


def test_heartbeats_come_and_a_revoked_key_and_a_deleted_workspace_end_a_view(
    start_server: StartServer, tmp_path: Path
) -> None:
    clock = Clock(tmp_path / "clock")
    server = start_server(factory="tests.contracts.clocked:create_app()", TEST_CLOCK_FILE=str(tmp_path / "clock"))
    key = new_workspace(server, "short")
    made = ask(server, "POST", "/v1/keys", {"name": "k", "scopes": ["operate"]}).json()
    with (
        watch(server, made["key"]) as revoked,
        watch(server, server.platform_key, X_Workspace="short") as deleted,
        watch(server, key) as own,
    ):
        clock.move(15)
        for view in (revoked, deleted, own):
            view.read_until(lambda view=view: view.shown == b": keepalive\n")  # type: ignore[misc]
        assert ask(server, "DELETE", f"/v1/keys/{made['id']}").status_code == 204
        platform = {"Authorization": f"Bearer {server.platform_key}"}
        assert ask(server, "DELETE", "/v1/workspaces/short", **platform).status_code == 204
        clock.move(5)
        for view in (revoked, deleted, own):
            view.read_to_end()
            assert view.shown == b": keepalive\n"


def test_a_viewer_that_takes_nothing_is_cut_and_comes_back(product: RunningServer, receiver: ScriptedServer) -> None:
    key = new_workspace(product, "stalled")
    register(product, key, receiver.url)
    with (
        watch(product, key) as reading,
        get(product.base_url, PATH, receive_buffer=1024, Authorization=f"Bearer {key}") as stalled,
    ):
        assert stalled.status == 200
        event = {"stream": {"kind": "call", "id": "one"}, "type": "x" * 100, "data": {}}
        assert ask(product, "POST", "/v1/events", [event] * 1000, Authorization=f"Bearer {key}").status_code == 202
        seen = [read(frame)[0] for frame in reading.read_frames(1000, 30)]
        eventually(lambda: viewers(product) == 1, 30)
        stalled.read_until(lambda: stalled.closed, 30)
        last, _ = read(stalled.frames()[-1])
    assert last != seen[-1]
    with watch(product, key, Last_Event_ID=last) as again:
        rest = seen[seen.index(last) + 1 :]
        assert [read(frame)[0] for frame in again.read_frames(len(rest))] == rest


def viewers(server: RunningServer) -> float:
    lines = requests.get(f"{server.base_url}/metrics", timeout=10).text.splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("twofold_log_viewers"))


def test_without_redis_a_view_says_where_the_log_is(start_server: StartServer) -> None:
    server = start_server(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    answer = ask(server, "GET", PATH)
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "GET /v1/deliveries" in answer.json()["detail"]
    assert ask(server, "GET", "/v1/deliveries").status_code == 200
    assert viewers(server) == 0
