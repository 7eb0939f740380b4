"""Watching a live stream over a plain socket, and posting to it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import requests

from app.client.parse import EventParser, StreamEvent
from tests.contracts.wire import Connection
from tests.processes import RunningServer, eventually


class Stage:
    """A stream of its own on a running server, with its producer. kind `note` belongs to no contract."""

    def __init__(self, server: RunningServer, kind: str = "note", key: str = "") -> None:
        self.server = server
        self.kind = kind
        self.id = f"s_{uuid.uuid4().hex}"
        self.path = f"/v1/streams/{kind}/{self.id}"
        self.live = f"{self.path}/live"
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {key or server.workspace_key}"

    def post(self, *payloads: str, type: str = "note.added") -> list[int]:
        """Post events with these payloads (JSON text, as it is spelled); their seqs."""
        head = f'{{"stream":{{"kind":"{self.kind}","id":"{self.id}"}},"type":"{type}","data":'
        return self._seqs(f"[{','.join(head + payload + '}' for payload in payloads)}]".encode())

    def post_count(self, count: int, type: str = "note.added") -> list[int]:
        """Post so many events."""
        return self.post(*(f'{{"n":{number}}}' for number in range(count)), type=type)

    def ask(self, method: str, path: str, *, status: int = 200, **options: object) -> requests.Response:
        """An answer of the API that must have this status."""
        answer = self._session.request(method, self.server.base_url + path, timeout=20, **options)  # type: ignore[arg-type]
        assert answer.status_code == status, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer

    def end(self) -> None:
        """End the stream."""
        self.ask("POST", f"{self.path}/end")

    def token(self) -> str:
        """A stream token."""
        return str(self.ask("POST", f"{self.path}/tokens", status=201).json()["token"])

    def key(self, *scopes: str) -> tuple[str, str]:
        """A further key of the workspace: (its id, the key)."""
        made = self.ask(
            "POST", "/v1/keys", status=201, json={"name": "further", "scopes": scopes or ["subscribe"]}
        ).json()
        return made["id"], made["key"]

    def watch(self, query: str = "", *, key: str | None = "", version: str = "1.1", **headers: str) -> Watch:
        """Open the stream. key None: without a credential; headers as keywords, `Last_Event_ID` for Last-Event-ID."""
        if key is not None:
            headers["Authorization"] = f"Bearer {key or self.server.workspace_key}"
        return open_path(self.server, self.live + query, version=version, **headers)

    @contextmanager
    def watching(self, query: str = "", **options: str) -> Iterator[Watch]:
        """Open the stream and wait for its headers: nothing that is posted from then on can be missed."""
        with self.watch(query, **options) as watch:
            assert watch.status == 200
            yield watch

    def _seqs(self, body: bytes) -> list[int]:
        headers = {"Content-Type": "application/json"}
        answer = self.ask("POST", "/v1/events", status=202, data=body, headers=headers).json()
        return [event["seq"] for event in answer["data"]]


class Watch(Connection):
    """An open stream and the events that came so far."""

    @property
    def events(self) -> list[StreamEvent]:
        """All whole events."""
        return list(EventParser().feed(self.body))

    @property
    def seqs(self) -> list[int]:
        """The ids of all whole events."""
        return [int(event.id) for event in self.events]

    def read_events(self, count: int, seconds: float = 10.0) -> list[StreamEvent]:
        """Read until so many events are there; all of them."""
        self.read_until(lambda: self.body.count(b"\ndata: ") >= count and len(self.events) >= count, seconds)
        return self.events

    def read_to_close(self, seconds: float = 10.0) -> None:
        """Read until the server closes the connection."""
        eventually(lambda: self.read_for(0.05) or self.closed, seconds, about="the connection is closed")

    def read_bytes(self, count: int) -> None:
        """Read until exactly so many bytes have come, head and chunk sizes included, or until the end."""
        while len(self.raw) < count and not self.closed and not self.whole:
            data = self.socket.recv(count - len(self.raw))
            self.closed = not data
            self.raw += data
            self._rest += data
            self._parse()

    def problem(self) -> dict[str, object]:
        """The answer, when it is a refusal."""
        assert self.headers["content-type"] == "application/problem+json"
        found: dict[str, object] = json.loads(self.read_to_end())
        assert found["status"] == self.status
        return found


def open_path(server: RunningServer, path: str, *, version: str = "1.1", method: str = "GET", **headers: str) -> Watch:
    """Send one request."""
    lines = [f"{method} {path} HTTP/{version}", f"Host: {urlsplit(server.base_url).netloc}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Watch(server.base_url, "\r\n".join([*lines, "", ""]).encode())


def metric(server: RunningServer, name: str) -> float:
    """A figure of /metrics; the live side brings its own up to date once a second."""
    for line in requests.get(f"{server.base_url}/metrics", timeout=10).text.split("\n"):
        if line.startswith((f"{name} ", f"{name}{{")):
            return float(line.rpartition(" ")[2])
    return 0.0


def subscribers(server: RunningServer) -> int:
    """How many live connections the server says that it has."""
    return int(metric(server, "twofold_subscribers"))
