"""A workspace of a test's own on a running server, whose feed is read."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import requests

from app.client.parse import EventParser, StreamEvent
from tests.contracts.wire import Connection, WebSocket, get
from tests.processes import RunningServer


class Workspace:
    """One of the test's own on a running server."""

    def __init__(self, server: RunningServer, uid: str) -> None:
        self.server = server
        platform = {"Authorization": f"Bearer {server.platform_key}", "X-Workspace": uid}
        self.ask("POST", "/v1/workspaces", {"name": uid, "uid": uid}, headers=platform | {"X-Workspace": ""})
        scopes = {"name": "all", "scopes": ["publish", "subscribe", "manage"]}
        self.key = str(self.ask("POST", "/v1/keys", scopes, headers=platform).json()["key"])
        self.bearer = {"Authorization": f"Bearer {self.key}"}

    def ask(self, method: str, path: str, json: Any = None, **options: Any) -> requests.Response:
        """An answer that must be a good one."""
        answer = requests.request(method, self.server.base_url + path, json=json, timeout=40, **options)
        assert answer.ok, answer.text
        return answer

    def post(self, *streams: str, type: str = "note.added", data: Any = None) -> None:
        """One event of each of these streams, in one request."""
        events = [{"stream": {"kind": "note", "id": one}, "type": type, "data": data or {}} for one in streams]
        self.ask("POST", "/v1/events", events, headers=self.bearer)

    def get(self, query: str = "") -> dict[str, Any]:
        """A page."""
        found: dict[str, Any] = self.ask("GET", f"/v1/feed{query}", headers=self.bearer).json()
        return found

    def query(self, **body: Any) -> dict[str, Any]:
        """A page, asked for with a body."""
        found: dict[str, Any] = self.ask("QUERY", "/v1/feed", body, headers=self.bearer).json()
        return found

    def token(self, **named: Any) -> dict[str, Any]:
        """A token of the feed."""
        found: dict[str, Any] = self.ask("POST", "/v1/feed/tokens", named, headers=self.bearer).json()
        return found

    def socket(self, query: str = "", **headers: str) -> WebSocket:
        """The feed over a WebSocket."""
        return WebSocket(self.server.base_url, f"/v1/feed/ws{query}", **(headers or self.bearer))

    def follow(self, query: str = "", **headers: str) -> Connection:
        """The feed, live. Raises AssertionError when the server closes without an answer, as at a restart."""
        with ExitStack() as stack:
            found = stack.enter_context(get(self.server.base_url, f"/v1/feed/live{query}", **self.bearer, **headers))
            assert (found.status, found.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            stack.pop_all()
        return found


def frames(connection: Connection) -> list[StreamEvent]:
    """The events that have come."""
    return list(EventParser().feed(connection.body))


def streams_of(page: dict[str, Any]) -> list[str]:
    return [entry["event"]["stream"]["id"] for entry in page["data"]]


def wait_for(connection: Connection, count: int) -> list[StreamEvent]:
    """The first so many events."""
    connection.read_until(lambda: len(frames(connection)) >= count)
    return frames(connection)
