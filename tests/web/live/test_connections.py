"""What clients do to a stream's connection: old protocols, stray bytes, half a goodbye, a reset, silence."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import psutil
import pytest

from tests.conftest import StartServer
from tests.processes import RunningServer, eventually
from tests.web.live.watching import Stage, Watch, open_path, subscribers

QUIET = """
name = "quiet"
[[streams]]
kind = "quiet"
[[routes]]
name = "live"
path = "/quiet/{id}"
kind = "quiet"
id = "path:id"
credentials = ["key:bearer"]
frame = { event = false, id = true, data = "payload" }
heartbeat = "still here"
heartbeat_seconds = 1
replay = "cursor"
ended = "replay"
options = ["after_seq"]
[[routes]]
name = "spaced"
path = "/spaced/{id}"
kind = "quiet"
id = "path:id"
credentials = ["key:bearer"]
frame = { event = false, id = true, data = "payload" }
heartbeat_blank_line = true
heartbeat_seconds = 1
"""


@pytest.fixture
def stage(server: RunningServer) -> Stage:
    """A stream of its own."""
    made = Stage(server)
    made.post_count(1)
    return made


def test_the_headers_say_what_intermediaries_must_know(stage: Stage) -> None:
    with stage.watch(Accept_Encoding="gzip, deflate, br", Accept="text/event-stream") as watch:
        assert watch.status == 200
        expected = {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
            "transfer-encoding": "chunked",
            "access-control-allow-origin": "*",
        }
        assert expected.items() <= watch.headers.items()
        assert not {"content-length", "content-encoding", "set-cookie"} & watch.headers.keys()


@pytest.mark.parametrize("keep_alive", [True, False])
def test_an_old_client_gets_plain_bytes_up_to_the_end_of_the_connection(stage: Stage, keep_alive: bool) -> None:
    headers = {"Connection": "keep-alive"} if keep_alive else {}
    with stage.watch("?after_seq=0", version="1.0", **headers) as watch:
        assert watch.status == 200
        assert "transfer-encoding" not in watch.headers
        stage.post_count(2)
        stage.end()
        watch.read_to_close()
        body = watch.raw.partition(b"\r\n\r\n")[2].decode()
        assert [line for line in body.split("\n") if line.startswith("id: ")] == ["id: 1", "id: 2", "id: 3"]
        assert body.endswith("}\n\n")
        assert "\r" not in body


def test_a_head_request_opens_nothing(stage: Stage) -> None:
    path, key = stage.live, stage.server.workspace_key
    eventually(lambda: subscribers(stage.server) == 0)
    with open_path(stage.server, path, method="HEAD", Authorization=f"Bearer {key}") as watch:
        assert watch.status == 200
        assert watch.headers["content-type"].startswith("text/event-stream")
        watch.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")  # the connection goes on
        watch.read_until(lambda: watch.raw.count(b"HTTP/1.1 200") == 2)
        watch.read_for(1.2)  # the figure is brought up to date
        assert subscribers(stage.server) == 0


def test_a_connection_can_be_used_again_when_its_stream_is_over(stage: Stage) -> None:
    with stage.watch("?after_seq=0") as watch:
        assert watch.status == 200
        stage.end()
        watch.read_to_end()
        watch.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        watch.read_until(lambda: b"HTTP/1.1 200 OK" in watch.raw.partition(b"0\r\n\r\n")[2])


def test_a_request_that_the_client_sends_ahead_is_answered_after_the_stream(stage: Stage) -> None:
    with stage.watch("?after_seq=0") as watch:
        watch.read_events(1)
        watch.socket.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /rea")  # HTTP/1.1 lets it (RFC 9112, 9.3.2)
        stage.post_count(2)
        watch.read_events(3)
        stage.end()
        watch.read_to_end()
        assert watch.seqs == [1, 2, 3]
        watch.socket.sendall(b"dyz HTTP/1.1\r\nHost: a\r\n\r\n")
        watch.read_until(lambda: watch.raw.count(b"HTTP/1.1 200 OK") == 3)


@pytest.mark.parametrize("stray", [b"x", b"\r\n" * 100, b"x" * 100_000, b"\0\xff\x16\x03"])
def test_stray_bytes_from_the_client_change_nothing(stage: Stage, stray: bytes) -> None:
    with stage.watch("?after_seq=0") as watch:
        watch.socket.sendall(stray)
        stage.post_count(2)
        watch.read_events(3)
        stage.end()
        watch.read_to_end()
        assert watch.seqs == [1, 2, 3]
        watch.socket.shutdown(socket.SHUT_WR)
        watch.read_to_close()
    assert "Traceback" not in stage.server.web.log_text()


def leave_by_half(watch: Watch) -> None:
    watch.socket.shutdown(socket.SHUT_WR)


def leave_by_reset(watch: Watch) -> None:
    watch.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    watch.socket.close()


def leave(watch: Watch) -> None:
    watch.socket.close()


@pytest.mark.parametrize("way", [leave, leave_by_half, leave_by_reset], ids=["close", "half a close", "reset"])
def test_whoever_leaves_is_forgotten(stage: Stage, way: object) -> None:
    assert callable(way)
    eventually(lambda: subscribers(stage.server) == 0)  # those of the tests before have been forgotten, too
    watches = [stage.watch() for _ in range(5)]
    assert [watch.status for watch in watches] == [200] * 5
    eventually(lambda: subscribers(stage.server) == 5)
    for watch in watches:
        way(watch)
    eventually(lambda: subscribers(stage.server) == 0)
    for watch in watches:
        watch.socket.close()
    assert "Traceback" not in stage.server.web.log_text()


def test_comings_and_goings_leave_no_file_open(stage: Stage) -> None:
    stage.post_count(300)
    (worker,) = psutil.Process(stage.server.pid).children()

    def come_and_go(count: int) -> None:
        for number in range(count):
            with stage.watch(
                "?after_seq=0" if number % 2 else "", **({"Last_Event_ID": "x"} if number % 5 == 0 else {})
            ) as one:
                assert one.status in (200, 400)

    come_and_go(30)
    eventually(lambda: subscribers(stage.server) == 0)
    before = len(os.listdir(f"/proc/{worker.pid}/fd"))
    come_and_go(150)
    eventually(lambda: subscribers(stage.server) == 0)
    eventually(lambda: len(os.listdir(f"/proc/{worker.pid}/fd")) <= before + 5)  # + 5: pools fill up


def test_heartbeats_come_in_silence_and_in_the_contracts_form(start_server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "quiet.toml").write_text(QUIET)
    stage = Stage(start_server(CONTRACTS_DIR=str(tmp_path)), kind="quiet")
    stage.post("{}")
    key = f"Bearer {stage.server.workspace_key}"
    with (
        open_path(stage.server, f"/quiet/{stage.id}?after_seq=0", Authorization=key) as plain,
        open_path(stage.server, f"/spaced/{stage.id}", Authorization=key) as spaced,
        open_path(stage.server, f"/quiet/{stage.id}", Authorization=key, version="1.0") as old,
    ):
        plain.read_until(lambda: plain.body.count(b": still here\n") >= 2)
        spaced.read_until(lambda: spaced.body.count(b": keepalive\n\n") >= 2)
        old.read_until(lambda: old.raw.endswith(b": still here\n: still here\n"))
        stage.post("{}")
        plain.read_events(2)
        assert plain.body.replace(b": still here\n", b"") == b"id: 1\ndata: {}\n\nid: 2\ndata: {}\n\n"
