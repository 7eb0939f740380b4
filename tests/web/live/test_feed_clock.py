"""The live feed as time passes: heartbeats, how far a viewer has come whom nothing concerns, and tokens that end."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import StartServer
from tests.contracts.clocked import Clock
from tests.contracts.wire import PING, get
from tests.web.live.feeding import Workspace


def test_views_are_kept_told_how_far_they_have_come_and_ended_with_their_tokens(
    start_server: StartServer, tmp_path: Path
) -> None:
    clock = Clock(tmp_path / "clock")
    server = start_server(factory="tests.contracts.clocked:create_app()", TEST_CLOCK_FILE=str(tmp_path / "clock"))
    workspace = Workspace(server, "feed_clock")
    token, revoked = workspace.token(streams=["note:mine"])["token"], workspace.token(streams=["note:mine"])
    with (
        get(server.base_url, f"/v1/feed/live?after=earliest&token={token}") as viewer,
        workspace.socket(f"?after=earliest&token={token}", X_Nothing="1") as socket,
        get(server.base_url, f"/v1/feed/live?token={revoked['token']}") as ended,
    ):
        assert (viewer.status, ended.status) == (200, 200)
        socket.read_until(lambda: bool(socket.head))
        workspace.post(*["theirs"] * 5)
        workspace.get("?wait=5")
        workspace.ask("DELETE", f"/v1/feed/tokens/{revoked['id']}", headers=workspace.bearer)
        clock.move(15)
        ended.read_to_end()
        viewer.read_until(lambda: b": keepalive\nid: " in viewer.body and viewer.body.endswith(b"\n\n"))
        socket.read_until(lambda: PING in [frame.opcode for frame in socket.received])
        assert sorted(json.loads(socket.read_texts(1)[0])) == ["cursor"]
        place = viewer.body.rpartition(b"id: ")[2].decode().strip()
        clock.move(290)  # a life is rounded up to a whole second
        viewer.read_to_end()
        assert socket.read_close() == 1008
    workspace.post("mine")
    assert [one["event"]["seq"] for one in workspace.get(f"?after={place}&streams=note:mine&wait=5")["data"]] == [1]
