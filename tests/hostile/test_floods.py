"""Floods and slow senders: each ends as it should, and nobody else notices.

`make test` has them all at once and in small numbers, judged by what is answered. `make test-load` has one after the
other in great numbers, judged by how long others wait; not counted is what the machine itself stood still.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest
import requests

from tests.conftest import StartServer
from tests.hostile.attack import attacks
from tests.processes import ROOT, RunningServer
from tests.stalls import Stalls
from tests.web.live.watching import Stage

NOTICED_SECONDS = 1.0  # what another caller may wait meanwhile, at the 99th percentile, on a machine of one's own
ATTACK_SECONDS = 6.0
CONTROL_SECONDS = 3.0
TRIES = 3  # of an attack by which others were held up
LARGEST_ANSWER = 128 * 1024  # bytes; 4 MB of unknown fields were once answered with 76 MB
PAUSE_SECONDS = 0.02  # between two requests of another caller
FEW = {"idle": 200, "heads": 100, "bodies": 50, "nested": 1, "unknown": 1, "pings": 10, "pongs": 10, "fragments": 10}
MOST_SECONDS = 60.0  # until every body that does not come has been refused: it has 10 s, and a busy machine more
REQUESTS = 40  # of others, meanwhile
# What the attackers are told. Idle connections and heads that do not end are closed without an answer.
TOLD = {
    "idle": set(),
    "heads": set(),
    "bodies": {"408"},
    "nested": {"400"},
    "unknown": {"202"},  # with a refusal for each event of the batch
    "pings": {"101", "1008"},
    "pongs": {"101", "1008"},
    "fragments": {"101", "1008"},
}


@dataclass
class Bystander:
    """Somebody with another key, of another workspace. waits: when each request began and ended, by what it was."""

    server: RunningServer
    key: str
    waits: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {"/healthz": [], "another key": []})

    def ask(self) -> None:
        """One request that needs no key, and one that reads and writes PostgreSQL."""
        event = {"stream": {"kind": "note", "id": "bystander"}, "type": "note.added", "data": {}}
        headers = {"Authorization": f"Bearer {self.key}"}
        began = time.monotonic()
        assert requests.get(f"{self.server.base_url}/healthz", timeout=30).status_code == 200
        between = time.monotonic()
        posted = requests.post(f"{self.server.base_url}/v1/events", json=event, headers=headers, timeout=30)
        assert posted.status_code == 202, posted.text
        self.waits["/healthz"].append((began, between))
        self.waits["another key"].append((between, time.monotonic()))

    def ask_for(self, seconds: float) -> dict[str, float]:
        """Ask again and again; the 99th percentile of each, without the machine's own stalls."""
        until = time.monotonic() + seconds
        self.waits = {name: [] for name in self.waits}
        with Stalls() as stalls:
            while time.monotonic() < until:
                self.ask()
                time.sleep(PAUSE_SECONDS)
        return {name: self._percentile(waits, stalls) for name, waits in self.waits.items()}

    def _percentile(self, waits: list[tuple[float, float]], stalls: Stalls) -> float:
        found = sorted(ended - began - stalls.between(began, ended) for began, ended in waits)
        return found[len(found) * 99 // 100]


@pytest.fixture
def server(start_server: StartServer) -> RunningServer:
    return start_server()


@pytest.fixture
def bystander(server: RunningServer) -> Bystander:
    platform = {"Authorization": f"Bearer {server.platform_key}"}
    made = requests.post(f"{server.base_url}/v1/workspaces", json={"name": "other"}, headers=platform, timeout=10)
    named = platform | {"X-Workspace": made.json()["id"]}
    wanted = {"name": "other", "scopes": ["publish"]}
    key = requests.post(f"{server.base_url}/v1/keys", json=wanted, headers=named, timeout=10).json()["key"]
    return Bystander(server, key)


@contextmanager
def attack(server: RunningServer, name: str, path: str, connections: int, seconds: float) -> Iterator[Any]:
    """An attack that is under way."""
    arguments = [name, server.base_url, server.workspace_key, path, str(connections), str(seconds)]
    command = [sys.executable, "-m", "tests.hostile.attack", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


def outcome(name: str, process: Any) -> dict[str, Any]:
    """What became of an attack, once it is over. One that comes back whenever it is sent away is ended here."""
    if attacks("", "")[name].again:
        process.terminate()
    found: dict[str, Any] = json.loads(process.stdout.read())
    return found


def workers(server: RunningServer) -> set[int]:
    return {child.pid for child in psutil.Process(server.pid).children()}


def websocket_path(server: RunningServer) -> str:
    stage = Stage(server)
    stage.ask("PUT", stage.path, json={}, status=201)
    return f"{stage.path}/ws"


def check(name: str, found: dict[str, Any], connections: int) -> None:
    """Every connection was ended by the server, and told why. Of those that come back some are still under way."""
    if attacks("", "")[name].again:
        connections = 1
    assert found["ended"] >= connections, (name, found)
    assert found["largest"] < LARGEST_ANSWER, (name, found)
    assert {what for what, count in found["seen"].items() if count} <= TOLD[name], (name, found)
    if "1008" in TOLD[name]:
        assert found["seen"]["1008"] == connections, (name, found)
    elif TOLD[name]:
        assert sum(found["seen"].values()) >= connections, (name, found)


def test_all_floods_at_once_end_as_they_should_and_hold_nobody_up(server: RunningServer, bystander: Bystander) -> None:
    path, before = websocket_path(server), workers(server)
    with ExitStack() as stack:
        processes = {
            name: stack.enter_context(attack(server, name, path, few, MOST_SECONDS)) for name, few in FEW.items()
        }
        for _ in range(REQUESTS):
            bystander.ask()
        still = {name for name, process in processes.items() if process.poll() is None}
        assert {"nested", "unknown"} <= still, "others were answered before the attacks were over"
        for name, process in processes.items():
            check(name, outcome(name, process), FEW[name])
    assert workers(server) == before


@pytest.mark.load
@pytest.mark.parametrize("name", list(attacks("", "")))
def test_nobody_waits_for_a_flood(
    server: RunningServer, bystander: Bystander, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A product that holds others up does so each time; a machine whose neighbours are loud does not."""
    path, before = websocket_path(server), workers(server)
    connections = attacks("", "")[name].connections
    for _ in range(TRIES):
        control = bystander.ask_for(CONTROL_SECONDS)
        with attack(server, name, path, connections, MOST_SECONDS) as process:
            meanwhile = bystander.ask_for(ATTACK_SECONDS)
            found = outcome(name, process)
        with capsys.disabled():
            figures = [f"{what} p99 {meanwhile[what]:.3f} s (without: {control[what]:.3f})" for what in meanwhile]
            print(f"\n{name}, {connections} connections: {', '.join(figures)}; {found}")
        check(name, found, connections)
        assert workers(server) == before
        if max(meanwhile.values()) < NOTICED_SECONDS:
            return
    raise AssertionError(f"others waited each time, at last {meanwhile}")
