"""Readers of the feed among the live connections: listed from any process, and disconnected."""

from __future__ import annotations

from app.live.census import FEED, Connection, Enumerator
from tests.live.scripted import World
from tests.processes import RunningServer, eventually
from tests.web.live.feeding import Workspace

HEARD_SECONDS = 20.0  # a process tells of its connections every two seconds


def test_who_follows_the_feed_is_listed_and_can_be_disconnected(server: RunningServer) -> None:
    workspace = Workspace(server, "feed_listed")
    workspace_id = workspace.ask("GET", "/v1/workspaces/feed_listed", headers=workspace.bearer).json()["id"]
    bearer = {"Authorization": f"Bearer {workspace.token(kinds=['note'])['token']}"}
    operator = Enumerator(server.redis_url, lambda: World().hub)

    def listed() -> dict[str, Connection]:
        found = [one for one in operator.look().connections if one.contract == FEED]
        return {one.transport: one for one in found if one.workspace_id == workspace_id}

    with workspace.follow("?after=latest") as viewer, workspace.socket(**bearer) as socket:
        socket.read_until(lambda: bool(socket.head))
        found = eventually(lambda: len(listed()) == 2 and listed(), HEARD_SECONDS)
        assert (found["SSE"].stream, found["SSE"].expires_in) == ("", None)
        assert 0 < (found["WebSocket"].expires_in or 0) <= 301
        eventually(lambda: [(one.lag, one.at_least) for one in listed().values()] == [(0, False)] * 2, HEARD_SECONDS)
        assert [operator.disconnect(one.id) for one in found.values()] == [True, True]
        viewer.read_to_end()
        assert socket.read_close() == 1008
    eventually(lambda: not listed(), HEARD_SECONDS)
    operator.close()
