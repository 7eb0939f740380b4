"""`twofold listen --forward-to` through what happens to a laptop: killed, asleep, its server restarted, Redis emptied.

A real receiver books what came. Nothing is missing, nothing comes twice but what the listener was killed over, and
every signature is valid.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import requests

from app.client import WebhookVerificationError, verify_webhook
from app.client.receiving import WebhookServer
from app.local.embedded import EmbeddedRedis
from tests.conftest import StartServer
from tests.processes import RunningServer, environment, eventually, free_port, start_web

SHORT_SLEEP_SECONDS, LONG_SLEEP_SECONDS = 1.0, 60.0
SECRET_LINE = re.compile(r"Signed with (whsec_\S+),")


class Receiver:
    """On a port of its own, which it can leave and come back to. came: the ids of webhooks, in the order in which they
    came; unsigned: of those that no secret explains; hold: set while answers are held back."""

    def __init__(self) -> None:
        self.port = free_port()
        self.came: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.unsigned: list[str] = []
        self.secret = ""
        self.held = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self._server: WebhookServer | None = None

    def open(self) -> None:
        self._server = WebhookServer(self.port, self._take)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _take(self, headers: dict[str, str], body: bytes) -> int:
        id = headers["webhook-id"]
        self.headers.append(headers)
        self.came.append(id)
        try:
            verify_webhook([self.secret], headers, body)
        except WebhookVerificationError:
            self.unsigned.append(id)
        self.held.set()
        self.go_on.wait(20)
        return 204


class Listener:
    """The command, as its user starts it. env: with a state directory of the test's own."""

    def __init__(self, server: RunningServer, receiver: Receiver, folder: Path, *more: str) -> None:
        self.line = [
            sys.executable,
            "-m",
            "app.cli",
            "listen",
            "--forward-to",
            f"http://127.0.0.1:{receiver.port}/hook",
        ]
        self.line += more
        self.env = environment(
            {
                "TWOFOLD_URL": server.base_url,
                "TWOFOLD_API_KEY": server.workspace_key,
                "XDG_STATE_HOME": str(folder / "state"),
                "TWOFOLD_CONFIG": str(folder / "profiles.json"),
            }
        )
        self._output = folder / "listen.log"
        self._receiver = receiver
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def text(self) -> str:
        return self._output.read_text() if self._output.exists() else ""

    def start(self) -> None:
        before = self.text.count("Forwarding ")
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(self.line, env=self.env, stdout=output, stderr=output)
        eventually(lambda: self.text.count("Forwarding ") > before, 30, about=lambda: self.text)
        if found := eventually(lambda: SECRET_LINE.findall(self.text) or ["-"], 5):
            self._receiver.secret = self._receiver.secret or found[0]

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self, number: signal.Signals) -> int:
        self.signal(number)
        assert self.process is not None
        return self.process.wait(20)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    made.open()
    yield made
    made.go_on.set()
    made.close()


@pytest.fixture
def listeners() -> Iterator[list[Listener]]:
    made: list[Listener] = []
    yield made
    for one in made:
        if one.process is not None and one.process.poll() is None:
            one.process.kill()
            one.process.wait()


def post(server: RunningServer, count: int, stream: str = "one") -> list[str]:
    """The ids of so many new events."""
    events: list[dict[str, Any]] = [
        {"stream": {"kind": "call", "id": stream}, "type": "call.turn", "data": {"at": 1.50}} for _ in range(count)
    ]
    answer = requests.post(f"{server.base_url}/v1/events", json=events, headers=server.headers, timeout=20)
    assert answer.status_code == 202, answer.text
    return [one["id"] for one in answer.json()["data"]]


def restart_web(server: RunningServer, folder: Path, *, gracefully: bool) -> None:
    if gracefully:
        server.web.stop()
    server.web.kill_all()
    server.web = start_web(server.env, folder / "web-again.log")


def empty_redis(server: RunningServer) -> None:
    with redis.Redis.from_url(server.redis_url) as client:
        client.flushdb()


def bad_day(
    server: RunningServer,
    receiver: Receiver,
    listener: Listener,
    folder: Path,
    sleep_seconds: float,
    restart_redis: Callable[[], None],
) -> None:
    """What happens to a laptop, one thing after the other."""
    listener.start()
    sent = post(server, 5)
    eventually(lambda: receiver.came == sent, 20, about=lambda: listener.text)

    listener.signal(signal.SIGSTOP)
    asleep = time.monotonic()
    sent += post(server, 3)
    restart_web(server, folder, gracefully=sleep_seconds > SHORT_SLEEP_SECONDS)
    restart_redis()
    sent += post(server, 3)
    while time.monotonic() < asleep + sleep_seconds:
        time.sleep(0.05)
    listener.signal(signal.SIGCONT)
    eventually(lambda: receiver.came == sent, 30, about=lambda: listener.text)

    receiver.close()
    sent += post(server, 4)
    eventually(lambda: "is down" in listener.text, 20, about=lambda: listener.text)
    receiver.open()
    eventually(lambda: receiver.came == sent, 20, about=lambda: listener.text)
    assert listener.text.count("is down") == 1

    receiver.go_on.clear()
    receiver.held.clear()
    sent += post(server, 3)
    assert receiver.held.wait(20)  # one is under way
    listener.end(signal.SIGKILL)
    twice = receiver.came[-1]
    receiver.go_on.set()
    listener.start()
    eventually(lambda: set(sent) <= set(receiver.came), 20, about=lambda: listener.text)

    assert list(dict.fromkeys(receiver.came)) == sent  # in the feed's order
    assert {id: count for id, count in Counter(receiver.came).items() if count > 1} == {twice: 2}
    assert receiver.unsigned == []
    assert listener.end(signal.SIGINT) == 0
    assert "goes on from here" in listener.text

    sent = post(server, 2)
    listener.start()
    eventually(lambda: receiver.came[-2:] == sent, 20, about=lambda: listener.text)
    assert listener.end(signal.SIGINT) == 0
    assert Counter(receiver.came)[sent[0]] == 1


def test_nothing_is_missing_and_nothing_comes_twice(
    start_server: StartServer, receiver: Receiver, listeners: list[Listener], tmp_path: Path
) -> None:
    server = start_server()
    listeners.append(Listener(server, receiver, tmp_path))
    bad_day(server, receiver, listeners[0], tmp_path, SHORT_SLEEP_SECONDS, lambda: empty_redis(server))
    plain = {"accept", "content-length", "content-type", "host", "user-agent"}
    assert set(receiver.headers[0]) == plain | {"webhook-id", "webhook-timestamp", "webhook-signature"}
    assert (receiver.headers[0]["accept"], receiver.headers[0]["content-type"]) == ("*/*", "application/json")
    (state,) = (tmp_path / "state" / "twofold").glob("*.json")
    assert state.stat().st_mode & 0o777 == 0o600
    state.write_text("{")
    told = subprocess.run(listeners[0].line, env=listeners[0].env, capture_output=True, text=True, timeout=30)
    assert (told.returncode, "is damaged; remove it" in told.stderr) == (1, True)


@pytest.mark.load
def test_a_minute_of_sleep_is_the_same(
    start_server: StartServer,
    receiver: Receiver,
    listeners: list[Listener],
    tmp_path: Path,
    engine_directory: Path,
) -> None:
    own_redis = EmbeddedRedis(engine_directory / "listen-redis")
    own_redis.start()

    def restart() -> None:
        own_redis.stop()
        own_redis.spawn()
        own_redis.wait_ready(10)

    try:
        server = start_server(REDIS_URL=own_redis.url)
        listeners.append(Listener(server, receiver, tmp_path))
        bad_day(server, receiver, listeners[0], tmp_path, LONG_SLEEP_SECONDS, restart)
    finally:
        own_redis.stop()


def test_an_endpoints_secret_signs_and_its_filters_are_asked_for(
    server: RunningServer, receiver: Receiver, listeners: list[Listener], tmp_path: Path
) -> None:
    wanted = {
        "url": "https://example.com/in",
        "event_types": ["listen.*"],
        "content_filter": {"path": "/large", "gte": 12345678901234567890},
        "feed_cursor": True,
        "enabled": False,
    }
    made = requests.post(f"{server.base_url}/v1/endpoints", json=wanted, headers=server.headers, timeout=20).json()
    receiver.secret = made["secret"]
    listener = Listener(server, receiver, tmp_path, "--endpoint", made["id"], "--streams", "call:listen", "--json")
    listeners.append(listener)
    listener.start()
    event = {
        "stream": {"kind": "call", "id": "listen"},
        "type": "listen.heard",
        "data": {"large": 12345678901234567890},
    }
    others = [event | {"type": "call.other"}, event | {"data": {"large": 12345678901234567889}}]
    requests.post(f"{server.base_url}/v1/events", json=[*others, event], headers=server.headers, timeout=20)
    eventually(lambda: receiver.came, 20, about=lambda: listener.text)
    eventually(lambda: '"status": 204' in listener.text, 5)
    assert listener.end(signal.SIGINT) == 0
    assert (len(receiver.came), receiver.unsigned) == (1, [])
    cursor = receiver.headers[0]["webhook-feed-cursor"]
    page = requests.get(
        f"{server.base_url}/v1/feed", params={"after": cursor}, headers=server.headers, timeout=20
    ).json()
    assert receiver.came[0] in [entry["event"]["id"] for entry in page["data"]]
    told = json.loads(next(line for line in listener.text.splitlines() if line.startswith("{")))
    assert (told["webhook_id"], told["type"], told["status"], told["attempts"]) == (
        receiver.came[0],
        "listen.heard",
        204,
        1,
    )
    assert os.listdir(tmp_path / "state" / "twofold")
