"""A producer and its streams, through the canonical API."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import requests

from tests.contracts import wire
from tests.processes import RunningServer

SECONDS = 15


class Producer:
    """Posts events for the workspace of a running server."""

    def __init__(self, server: RunningServer, key: str | None = None) -> None:
        self.server = server
        self.base_url = server.base_url
        self.key = key or server.workspace_key
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {self.key}"

    def ask(self, method: str, path: str, body: Any = None, status: int | None = None, **headers: str) -> Any:
        """The parsed answer of one request; fails the test on another status."""
        response = self.session.request(method, self.base_url + path, json=body, headers=headers, timeout=SECONDS)
        if status is None:
            assert response.ok, f"{method} {path}: {response.status_code} {response.text}"
        else:
            assert response.status_code == status, f"{method} {path}: {response.status_code} {response.text}"
        return response.json() if response.content else None

    def stream(self, kind: str, **attributes: Any) -> str:
        """Open a new stream; its id."""
        id = f"mbsess_{uuid.uuid4().hex}" if kind == "session" else f"{kind}_{uuid.uuid4().hex}"
        self.ask("PUT", f"/v1/streams/{kind}/{id}", {"attributes": attributes})
        return id

    def post(self, kind: str, id: str, type: str, data: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Post one event; what the API answers."""
        event = {"stream": {"kind": kind, "id": id}, "type": type, "data": data, **more}
        answer: dict[str, Any] = self.ask("POST", "/v1/events", event)
        return answer

    def post_raw(self, event: str) -> dict[str, Any]:
        """Post one event as it is spelled."""
        url, headers = f"{self.base_url}/v1/events", {"Content-Type": "application/json"}
        response = self.session.post(url, event.encode(), headers=headers, timeout=SECONDS)
        assert response.status_code == 202, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def post_many(self, kind: str, id: str, type: str, payloads: list[dict[str, Any]]) -> None:
        """Post events in one request."""
        events = [{"stream": {"kind": kind, "id": id}, "type": type, "data": data} for data in payloads]
        answer = self.ask("POST", "/v1/events", events)
        assert all("seq" in one for one in answer["data"]), answer

    def end(self, kind: str, id: str) -> None:
        """End a stream without an event."""
        self.ask("POST", f"/v1/streams/{kind}/{id}/end")

    def watch(self, path: str, **headers: str) -> wire.Connection:
        """Open a live path with the key as a bearer; returns when the headers are there."""
        connection = wire.get(self.base_url, path, Authorization=f"Bearer {self.key}", **headers)
        assert connection.status == 200, f"{connection.head!r} {connection.body!r}"
        return connection

    def get(self, path: str, **headers: str) -> requests.Response:
        """One whole answer, with the key as a bearer unless `Authorization` is given (empty: none)."""
        given = {"Authorization": f"Bearer {self.key}", **headers}
        with requests.Session() as session:
            session.trust_env = False
            return session.get(
                self.base_url + path, headers={name: value for name, value in given.items() if value}, timeout=SECONDS
            )

    def mint(self, bot_id: str, key: str | None = None) -> tuple[str, str]:
        """(path with its query, token) from the subscribe path."""
        answer = self.ask("POST", f"/api/v1/bots/{bot_id}/subscribe", None, 200, **{"X-API-Key": key or self.key})
        return answer["url"].removeprefix(self.base_url), answer["token"]

    def age(self, kind: str, id: str, seconds: float) -> None:
        """Make everything of a stream so much older."""
        shift = "created_at = created_at - make_interval(secs => %(s)s)"
        end = "ended_at = ended_at - make_interval(secs => %(s)s)"
        where = "(SELECT id FROM streams WHERE workspace_id = %(w)s AND kind = %(k)s AND external_id = %(x)s)"
        values = {"s": seconds, "w": self.server.workspace_id, "k": kind, "x": id}
        with psycopg.connect(self.server.database_url) as connection:
            connection.execute(f"UPDATE events SET {shift} WHERE stream_id = {where}", values)
            connection.execute(f"UPDATE streams SET {shift}, {end} WHERE id = {where}", values)

    def metric(self, name: str) -> float:
        """A figure from /metrics, over all its labels."""
        lines = self.get("/metrics").text.split("\n")
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))


def other_workspace(producer: Producer) -> Producer:
    """A second customer of the same server, with a key of its own."""
    server = producer.server
    platform = Producer(server, server.platform_key)
    name = f"other-{uuid.uuid4().hex[:8]}"
    platform.ask("POST", "/v1/workspaces", {"name": name, "uid": name}, 201)
    made = platform.ask(
        "POST", "/v1/keys", {"name": "all", "scopes": ["publish", "subscribe", "manage", "operate"]}, 201,
        **{"X-Workspace": name},
    )  # fmt: skip
    return Producer(server, made["key"])


def key_with(producer: Producer, *scopes: str) -> str:
    """A key of the workspace with these scopes alone."""
    key: str = producer.ask("POST", "/v1/keys", {"name": "some", "scopes": list(scopes)}, 201)["key"]
    return key
