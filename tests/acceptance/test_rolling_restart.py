"""1,000 viewers of all contracts while the web processes are replaced: where a contract replays, nothing is missed."""

from __future__ import annotations

import asyncio
import itertools
import re
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import psutil
import pytest
import requests

from tests.acceptance.crowd import Viewer, until
from tests.conftest import StartServer
from tests.processes import RunningServer

VIEWERS = 1000
STREAMS = 10  # of each contract
EVENTS_PER_SECOND = 40.0
BEFORE_SECONDS = 3.0  # of events, before the restart and after it
BACK_SECONDS = 10.0
ANSWER_SECONDS = 5.0  # for a post: somebody is there to accept it all the time, however long the new processes take
CONNECT_AT_ONCE = 100  # at the start; whoever comes back does not wait
OPEN_FILES = 4096
T = TypeVar("T")

# contract -> (kind, id, live path, mint path, type, its data, the event that ends it, the one that follows)
KINDS: dict[str, dict[str, Any]] = {
    "serveka": {
        "kind": "bot", "id": "bot_{0}", "path": "/sse/bot_{0}", "mint": "/api/v1/bots/bot_{0}/subscribe",
        "type": "transcript_segment", "data": {"speaker": "A", "text": "B", "timestamp": 1, "is_final": True},
        "end": ("bot_status", {"status": "completed", "timestamp": 1}),
        "late": ("recording_ready", {"recording_url": "https://recordings.example.com/r_1.mp4"}),
    },
    "voicebip": {
        "kind": "call", "id": "call_{0}", "path": "/v1/calls/call_{0}/transcript", "resumes": False,
        "type": "call.transcript", "data": {"role": "user", "text": "A"}, "end": ("call.ended", {}),
    },
    "voicebip_ws": {
        "kind": "call", "id": "call_{0}", "path": "/v1/calls/call_{0}/events", "resumes": False, "websocket": True,
    },
    "atoms": {
        "kind": "call", "id": "atom_{0}", "path": "/atoms/v1/events?callId=atom_{0}", "resumes": False,
        "type": "user_transcription", "data": {"user_transcription_text": "A"}, "end": ("call_end", {}),
    },
    "aitronos": {
        "kind": "session", "id": "mbsess_{0}", "path": "/v1/meeting-buddy/sessions/mbsess_{0}/stream",
        "type": "status", "data": {"session_id": "mbsess", "status": "active", "timestamp": "t"},
        "end": ("status", {"session_id": "mbsess", "status": "completed", "timestamp": "t"}),
    },
    "canonical": {
        "kind": "note", "id": "note_{0}", "path": "/v1/streams/note/note_{0}/live",
        "type": "note.added", "data": {"text": "A"},
    },
}  # fmt: skip


class Producer:
    """Posts numbered events, each until it is answered, over whatever happens to the server."""

    def __init__(self, server: RunningServer) -> None:
        self.count: Counter[str] = Counter()  # acknowledged, by stream
        self.slowest_seconds = 0.0
        self.repeated = 0
        self._server = server
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.headers.update(server.headers)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def ask(self, method: str, path: str, body: Any) -> None:
        answer = self._http.request(method, self._server.base_url + path, json=body, timeout=10)
        assert answer.status_code in (200, 201, 202), answer.text

    def open(self) -> None:
        for part, number in itertools.product(KINDS.values(), range(STREAMS)):
            self.ask("PUT", f"/v1/streams/{part['kind']}/{part['id'].format(number)}", {})

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def end_all(self) -> None:
        """End every stream with its last, numbered event."""
        for part, number in itertools.product(KINDS.values(), range(STREAMS)):
            if "end" in part:
                self._post(part, number, *part["end"])
                if "late" in part:
                    self._post(part, number, *part["late"])
            elif "type" in part:
                self.ask("POST", f"/v1/streams/{part['kind']}/{part['id'].format(number)}/end", None)

    def _run(self) -> None:
        posting = [part for part in KINDS.values() if "type" in part]
        at = time.monotonic()
        for number, part in itertools.cycle(itertools.product(range(STREAMS), posting)):
            at = max(at + 1 / EVENTS_PER_SECOND, time.monotonic() - 1)
            if self._stop.wait(max(0.0, at - time.monotonic())):
                return
            self._post(part, number, part["type"], part["data"])

    def _post(self, part: dict[str, Any], number: int, type: str, data: dict[str, Any]) -> None:
        stream = part["id"].format(number)
        n = self.count[stream] + 1
        event = {
            "stream": {"kind": part["kind"], "id": stream}, "type": type, "data": {**data, "n": n},
            "idempotency_key": f"n-{n}",
        }  # fmt: skip
        began = time.monotonic()
        while True:
            try:
                self.ask("POST", "/v1/events", event)
                break
            except requests.RequestException:
                self.repeated += 1
                assert time.monotonic() - began < 30
                self._stop.wait(0.1)
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
        self.count[stream] = n


@pytest.fixture
def _open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, hard))


def crowd() -> list[Viewer]:
    """As many viewers of each contract, spread over its streams."""
    made = []
    for number, (name, part) in zip(range(VIEWERS), itertools.cycle(KINDS.items()), strict=False):
        one = number // len(KINDS) % STREAMS
        mint = part["mint"].format(one) if "mint" in part else None
        flags = {flag: part[flag] for flag in ("websocket", "resumes") if flag in part}
        stops = number // len(KINDS) % 2 == 0  # every other one of each contract
        made.append(Viewer(name, part["path"].format(one), part["id"].format(one), mint, stops_at_end=stops, **flags))
    return made


def worker_pids(server: RunningServer) -> set[int]:
    return {child.pid for child in psutil.Process(server.pid).children()}


@pytest.mark.load
@pytest.mark.usefixtures("_open_files")
def test_a_rolling_restart_loses_nobody_and_nothing(
    start_server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server = start_server(WEB_CONCURRENCY="2")
    producer = Producer(server)
    producer.open()
    viewers = crowd()
    began = time.monotonic()
    seconds = asyncio.run(restart_under(server, producer, viewers))
    seconds["all"] = time.monotonic() - began
    with capsys.disabled():
        print("\n" + told(viewers, producer, seconds))
    check(server, viewers, producer)
    server.stop()


async def restart_under(server: RunningServer, producer: Producer, viewers: list[Viewer]) -> dict[str, float]:
    """The whole play. Returns how long its parts took."""
    gate = asyncio.Semaphore(CONNECT_AT_ONCE)
    began = time.monotonic()
    tasks = [asyncio.create_task(viewer.follow(server, gate)) for viewer in viewers]
    await until_all(viewers, lambda viewer: viewer.opened.is_set(), 60)
    seconds = {"connect": time.monotonic() - began}
    producer.start()
    await asyncio.sleep(BEFORE_SECONDS)
    old, began = worker_pids(server), time.monotonic()
    server.web.send_signal(signal.SIGHUP)
    await until_all(viewers, lambda viewer: viewer.outages or viewer.ended, 60)
    seconds["until everybody was back"] = time.monotonic() - began
    await until(lambda: not old & worker_pids(server), 30, lambda: "the old web processes are still there")
    seconds["until the old had gone"] = time.monotonic() - began
    assert len(worker_pids(server)) == 2
    await asyncio.sleep(BEFORE_SECONDS)
    await asyncio.to_thread(producer.stop)
    await asyncio.to_thread(producer.end_all)
    await until_all(tasks, lambda task: task.done(), 40)
    for task in tasks:
        await task
    return seconds


async def until_all(parts: list[T], look: Callable[[T], object], seconds: float) -> None:
    def lacking() -> int:
        return sum(not look(part) for part in parts)

    await until(lambda: not lacking(), seconds, lambda: f"{lacking()} of {len(parts)} are lacking")


def missed(viewer: Viewer, producer: Producer) -> int:
    return producer.count[viewer.stream] - len(set(viewer.numbers))


def spread(values: list[float]) -> str:
    half, nearly_all = values[len(values) // 2], values[len(values) * 99 // 100]
    return f"p50 {half:.1f} s, p99 {nearly_all:.1f} s, at most {values[-1]:.1f} s"


def told(viewers: list[Viewer], producer: Producer, seconds: dict[str, float]) -> str:
    """The figures."""
    back = sorted(max(viewer.outages, default=0.0) for viewer in viewers)
    served = sorted(max(viewer.outages, default=0.0) - viewer.retry_seconds for viewer in viewers)
    lines = [
        f"{len(viewers)} viewers, {producer.count.total()} events; "
        + ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items()),
        f"back within {spread(back)}; without the wait that they were told: {spread(served)}",
        f"sent away: {dict(Counter(len(viewer.outages) for viewer in viewers))} (times: viewers)",
        f"posts: {producer.repeated} repeated, the slowest took {producer.slowest_seconds:.2f} s",
    ]
    for name in KINDS:
        own = [viewer for viewer in viewers if viewer.contract == name]
        lines.append(
            f"{name}: {len(own)} viewers, {sum(missed(v, producer) for v in own)} events missed of"
            f" {sum(producer.count[v.stream] for v in own)}, ended by {dict(Counter(v.ended for v in own))}"
        )
    return "\n".join(lines)


def check(server: RunningServer, viewers: list[Viewer], producer: Producer) -> None:
    """What has to be true."""
    for viewer in viewers:
        assert viewer.numbers == sorted(set(viewer.numbers)), f"{viewer.contract}: out of order or twice"
        assert viewer.refusals == []
        assert viewer.outages, f"{viewer.contract}: took the reload for the end of the stream"
        assert max(viewer.outages) < BACK_SECONDS
        assert len(viewer.outages) == 1, f"{viewer.contract}: sent away more than once by one reload"
        if viewer.resumes:
            assert missed(viewer, producer) == 0, f"{viewer.contract} {viewer.stream}"
        else:
            assert viewer.numbers[-1] >= producer.count[viewer.stream] - 1, "it is live again"
    assert producer.repeated == 0
    assert producer.slowest_seconds < ANSWER_SECONDS
    log = server.web.log_text()
    assert not re.findall(r"Traceback|\[ERROR\]|\[CRITICAL\]|\[WARNING\]", log)
