"""PostgreSQL is replaced under a running server, by one that has less: a replica that takes over, a restored backup.

Every viewer goes on without a gap, or is told `reset` and where what it has seen ends; also when the new server has
gone beyond what the old one had before the viewer is back.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from app.client import Stream
from app.client.parse import StreamEvent
from app.local.embedded import EmbeddedPostgres
from tests.acceptance.another_server import BACKUP, REPLICA, Copied, Switch, promote
from tests.conftest import StartServer
from tests.processes import ROOT, RunningServer, eventually

SHARED, LOST, ANEW = 5, 4, 7  # events before the copy; of the future that is lost; on the new server
WAIT_SECONDS = 40


class Viewer:
    """Follows a live stream and keeps what it is shown."""

    def __init__(self, server: RunningServer, path: str, last_event_id: str = "") -> None:
        self.events: list[StreamEvent] = []
        self._stream = Stream(
            f"{server.base_url}{path}", headers=server.headers, last_event_id=last_event_id, first_wait_seconds=0.1
        )
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def wait_for(self, count: int) -> list[StreamEvent]:
        eventually(lambda: len(self.events) >= count, WAIT_SECONDS, about=f"{count} events, not {len(self.events)}")
        return self.events

    def close(self) -> None:
        self._stream.close()
        self._thread.join(20)

    def _follow(self) -> None:
        for event in self._stream:
            self.events.append(event)


def post(server: RunningServer, first: int, count: int) -> None:
    """Post events to one stream, each until it is acknowledged."""
    for number in range(first, first + count):
        body = {"stream": {"kind": "note", "id": "s"}, "type": "note.added", "data": {"n": number}}
        headers = {**server.headers, "Idempotency-Key": f"n{number}"}

        def acknowledged(body: object = body, headers: dict[str, str] = headers) -> bool:
            return requests.post(f"{server.base_url}/v1/events", json=body, headers=headers, timeout=20).ok

        eventually(acknowledged, WAIT_SECONDS, about="the event is accepted")


@pytest.fixture
def directory() -> Iterator[Path]:
    """A folder that PostgreSQL's user may pass."""
    made = Path(tempfile.mkdtemp(prefix="twofold-servers-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def primary(directory: Path) -> Iterator[EmbeddedPostgres]:
    engine = EmbeddedPostgres(directory / "primary", durable=False)
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture
def watch() -> Iterator[Callable[..., Viewer]]:
    viewers: list[Viewer] = []

    def start(*given: Any) -> Viewer:
        viewers.append(Viewer(*given))
        return viewers[-1]

    yield start
    for viewer in viewers:
        viewer.close()


@pytest.mark.load
@pytest.mark.parametrize("signal_file", [REPLICA, BACKUP], ids=["replica", "backup"])
def test_another_server_with_less(
    signal_file: str,
    directory: Path,
    primary: EmbeddedPostgres,
    start_server: StartServer,
    watch: Callable[..., Viewer],
) -> None:
    migrated = {**os.environ, "DATABASE_URL": primary.url}
    subprocess.run([sys.executable, "-m", "alembic", "upgrade", "head"], cwd=ROOT, env=migrated, check=True)
    switch = Switch(primary.url)
    server = start_server(DATABASE_URL=switch.url)
    copy = Copied(directory / "copy", durable=False)
    try:
        live, feed = "/v1/streams/note/s/live", "/v1/feed/live"
        post(server, 1, SHARED)
        one, all_of_it = watch(server, f"{live}?after_seq=0"), watch(server, f"{feed}?after=earliest")
        place = all_of_it.wait_for(SHARED)[1].id  # of the second event
        copy.take(primary.url, signal_file)
        post(server, SHARED + 1, LOST)
        one.wait_for(SHARED + LOST)
        all_of_it.wait_for(SHARED + LOST)

        primary.stop()
        copy.start()
        promote(copy)
        switch.lead_to(copy.url)
        post(server, 100, ANEW)

        shown = one.wait_for(SHARED + LOST + 1 + ANEW)
        numbers = [json.loads(event.data)["data"]["n"] for event in shown if event.type != "reset"]
        assert numbers == [*range(1, 1 + SHARED + LOST), *range(100, 100 + ANEW)]
        assert one.events[SHARED + LOST] == StreamEvent(
            "reset", f'{{"type":"reset","last_seq":{SHARED}}}', f"{SHARED}.1"
        )
        assert [event.id for event in one.events[-ANEW:]] == [f"{SHARED + 1 + n}.1" for n in range(ANEW)]

        told = all_of_it.wait_for(SHARED + LOST + 1 + ANEW)
        assert told[SHARED + LOST].type == "reset"
        assert [json.loads(event.data)["data"]["n"] for event in told[-ANEW:]] == [*range(100, 100 + ANEW)]
        # Whoever had seen nothing of what was lost goes on, and hears of nothing.
        for path, last_event_id in ((live, "2"), (feed, place)):
            calm = watch(server, path, last_event_id).wait_for(SHARED - 2 + ANEW)
            assert [json.loads(event.data)["data"]["n"] for event in calm] == [
                *range(3, SHARED + 1),
                *range(100, 100 + ANEW),
            ]
    finally:
        copy.stop()
        switch.close()
