"""The feed over HTTP: pages, waiting, filters, following it live, and coming back."""

from __future__ import annotations

import json
import signal
import threading
import time
from typing import Any

import pytest
import requests

from app.core.feed.cursor import Cursor, Tick, encode
from app.core.feed.snapshot import Snapshot
from tests.conftest import StartServer
from tests.contracts.wire import get
from tests.processes import RunningServer, eventually
from tests.web.live.feeding import Workspace, frames, streams_of, wait_for

STUCK_SECONDS = 60.0  # without a frame: much longer than a restart takes on a busy machine
AWAY = encode(Cursor(Tick(2**40, 0, 5, 2**40, Snapshot(2**40, 2**40))))


def test_pages_follow_each_other_from_the_earliest_event(server: RunningServer) -> None:
    workspace = Workspace(server, "feed_pages")
    workspace.post("a", "b", "c")
    workspace.post("a")
    first = workspace.get("?limit=3&wait=5")
    assert streams_of(first) == ["a", "b", "c"]
    assert first["more"] is True
    second = workspace.get(f"?after={first['cursor']}&wait=5")
    assert streams_of(second) == ["a"]
    assert [entry["event"]["seq"] for entry in second["data"]] == [2]
    assert streams_of(workspace.get(f"?after={first['data'][0]['cursor']}")) == ["b", "c", "a"]
    assert workspace.get(f"?after={second['cursor']}")["data"] == []


def test_whoever_waits_is_answered_as_soon_as_there_is_something(server: RunningServer) -> None:
    workspace = Workspace(server, "feed_waits")
    cursor = workspace.get("?after=latest")["cursor"]
    later = threading.Timer(0.5, workspace.post, ["a"])
    later.start()
    began = time.monotonic()
    assert streams_of(workspace.get(f"?after={cursor}&wait=20")) == ["a"]
    assert time.monotonic() - began < 10
    later.join()


def test_a_reader_who_names_streams_kinds_or_types_gets_those(server: RunningServer) -> None:
    workspace = Workspace(server, "feed_filters")
    workspace.post("a", "b", "c")
    workspace.post("a", type="call.rang")
    assert streams_of(workspace.get("?streams=note:a,note:c&wait=5")) == ["a", "c", "a"]
    assert streams_of(workspace.get("?types=call.*&wait=5")) == ["a"]
    assert streams_of(workspace.get("?kinds=call")) == []
    assert streams_of(workspace.get("?kinds=note,call")) == ["a", "b", "c", "a"]


def test_a_time_is_a_place_to_begin_at(server: RunningServer) -> None:
    workspace = Workspace(server, "feed_times")
    workspace.post("a")
    assert streams_of(workspace.get("?after=2020-01-01T00:00:00Z&wait=5")) == ["a"]
    assert streams_of(workspace.get("?after=2100-01-01T00:00:00Z")) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("after=yesterday", "after"),
        ("streams=note", "streams"),
        ("streams=,", "streams"),
        ("kinds=Call", "kinds"),
        ("types=call.%2A.x", "types"),
        ("streams=" + ",".join(f"n:{number}" for number in range(501)), "streams"),
        ("wait=31", "wait"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/feed", "/v1/feed/live"])
def test_what_cannot_be_read_is_named(server: RunningServer, path: str, query: str, field: str) -> None:
    headers = {"Authorization": f"Bearer {server.workspace_key}"}
    answer = requests.get(f"{server.base_url}{path}?{query}", headers=headers, timeout=20)
    assert answer.status_code == 422
    assert [one["field"] for one in answer.json()["errors"]] == [field]


def test_a_cursor_of_a_lost_future_is_answered_with_one_to_go_on_from(server: RunningServer) -> None:
    workspace = Workspace(server, "feed_lost")
    answer = requests.get(f"{server.base_url}/v1/feed?after={AWAY}", headers=workspace.bearer, timeout=20)
    assert (answer.status_code, answer.json()["code"]) == (409, "cursor_lost")
    workspace.post("a")
    assert streams_of(workspace.get(f"?after={answer.json()['cursor']}&wait=5")) == ["a"]


def test_the_feed_is_followed_live_and_the_id_of_a_frame_is_a_cursor(server: RunningServer) -> None:
    workspace = Workspace(server, "feed_live")
    workspace.post("before")
    with workspace.follow("?after=earliest") as viewer:
        wait_for(viewer, 1)
        workspace.post("a", "b")
        seen = wait_for(viewer, 3)
    assert [json.loads(frame.data)["stream"]["id"] for frame in seen] == ["before", "a", "b"]
    assert {frame.type for frame in seen} == {"note.added"}
    with workspace.follow(**{"Last-Event-ID": str(seen[1].id)}) as viewer:
        assert json.loads(wait_for(viewer, 1)[0].data)["stream"]["id"] == "b"


def test_a_viewer_who_comes_from_a_lost_future_is_reset(server: RunningServer) -> None:
    workspace = Workspace(server, "feed_reset")
    with workspace.follow(**{"Last-Event-ID": AWAY}) as viewer:
        [reset] = wait_for(viewer, 1)
        assert (reset.type, json.loads(reset.data)["reason"]) == ("reset", "cursor_lost")
        workspace.post("a")
        assert wait_for(viewer, 2)[1].type == "note.added"


def test_a_revoked_key_ends_its_views(server: RunningServer) -> None:
    workspace = Workspace(server, "feed_revoked")
    made = workspace.ask("POST", "/v1/keys", {"name": "x", "scopes": ["subscribe"]}, headers=workspace.bearer).json()
    found = get(server.base_url, "/v1/feed/live", Authorization=f"Bearer {made['key']}")
    with found as viewer:
        assert viewer.status == 200
        workspace.ask("DELETE", f"/v1/keys/{made['id']}", headers=workspace.bearer)
        viewer.read_to_end()


def test_a_feed_over_many_streams_survives_cuts_and_a_restart(start_server: StartServer) -> None:
    """One connection at a time over 100 streams; the joined list is exact."""
    follow_through(Workspace(start_server(), "feed_cuts"), streams=100, posts=60, frames_each=10, restart_at=5)


@pytest.mark.load
def test_a_feed_over_500_streams_survives_200_cuts_and_a_rolling_restart(start_server: StartServer) -> None:
    server = start_server(WEB_CONCURRENCY="2")
    cuts = follow_through(Workspace(server, "feed_cuts"), streams=500, posts=800, frames_each=15, restart_at=100)
    assert cuts >= 200


def follow_through(workspace: Workspace, *, streams: int, posts: int, frames_each: int, restart_at: int) -> int:
    """Follow so many streams while so many times five events are posted, over one connection after another. Each is
    cut behind so many frames, whatever else has come by then: however far the viewer is behind, there are as many
    cuts. The server is restarted at one of them. How many cuts there were."""
    server, count = workspace.server, posts * 5

    def produce() -> None:
        for number in range(posts):
            workspace.post(*(f"s{(number * 7 + one * 101) % streams}" for one in range(5)))

    producer = threading.Thread(target=produce)
    last, shown, cuts = "", list[dict[str, Any]](), 0
    named = ",".join(f"note:s{number}" for number in range(streams))
    producer.start()
    until = time.monotonic() + STUCK_SECONDS
    while len(shown) < count and time.monotonic() < until:
        query, headers = ("&after=earliest", {}) if not last else ("", {"Last-Event-ID": last})
        try:
            with workspace.follow(f"?streams={named}{query}", **headers) as viewer:
                wait_for(viewer, min(frames_each, count - len(shown)))
                new = frames(viewer)[:frames_each]
        except (OSError, AssertionError):  # a process that ends answers nobody: come back, as a viewer does
            continue
        cuts, until = cuts + 1, time.monotonic() + STUCK_SECONDS
        shown += [json.loads(frame.data) for frame in new]
        last = str(new[-1].id)
        if cuts == restart_at:
            server.web.send_signal(signal.SIGHUP)
            eventually(lambda: requests.get(f"{server.base_url}/healthz", timeout=5).ok, 20)
    producer.join()
    assert len(shown) == len({event["id"] for event in shown}) == count
    for stream in {event["stream"]["id"] for event in shown}:
        seqs = [event["seq"] for event in shown if event["stream"]["id"] == stream]
        assert seqs == list(range(1, len(seqs) + 1))
    return cuts


def test_a_viewer_that_stalls_reads_on_from_where_it_was(server: RunningServer) -> None:
    """Its buffers are full long before everything is posted: what it takes later is complete and in order."""
    workspace = Workspace(server, "feed_stalls")
    found = get(server.base_url, "/v1/feed/live?after=earliest", receive_buffer=8192, **workspace.bearer)
    with found as viewer:
        assert viewer.status == 200
        for _ in range(4):
            workspace.post(*["a"] * 100, data={"text": "x" * 2000})
        viewer.read_until(lambda: viewer.body.count(b"\ndata: ") == 400 and viewer.body.endswith(b"\n\n"), 30)
        seen = frames(viewer)
    assert [json.loads(frame.data)["seq"] for frame in seen] == list(range(1, 401))
