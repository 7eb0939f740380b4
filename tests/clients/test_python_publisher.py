"""The publisher posts everything once, in order, over whatever the server says, and tells what it could not send."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from tests.client.sse_server import serving
from tests.processes import ROOT, free_port
from twofold import EventRefused, NotSent, Publisher, QueueFull, Unsent

SECONDS = 20.0
Judge = Callable[[int, list[dict[str, Any]]], tuple[int, Any, dict[str, str]]]


class Server:
    """Takes posts. events: all that was posted, request by request."""

    def __init__(self, judge: Judge | None = None) -> None:
        self.requests: list[list[dict[str, Any]]] = []
        self._judge = judge or (lambda count, events: stored(events))

    def __call__(self, request: BaseHTTPRequestHandler, count: int) -> None:
        events = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        self.requests.append(events)
        status, answer, headers = self._judge(count, events)
        body = json.dumps(answer).encode()
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        request.wfile.write(body)

    @property
    def keys(self) -> list[list[str]]:
        return [[event["idempotency_key"] for event in events] for events in self.requests]


def stored(events: list[dict[str, Any]]) -> tuple[int, Any, dict[str, str]]:
    return 202, {"data": [{"id": f"evt_{event['idempotency_key']}", "seq": 1} for event in events]}, {}


def publish(publisher: Publisher, count: int) -> list[Any]:
    return [publisher.publish("call", "c", "a", {"n": n}, idempotency_key=f"k{n}") for n in range(count)]


def test_what_waits_goes_in_one_request_and_each_event_is_answered() -> None:
    first = threading.Event()

    def judge(count: int, events: list[dict[str, Any]]) -> tuple[int, Any, dict[str, str]]:
        assert first.wait(SECONDS)
        return stored(events)

    server = Server(judge)
    with serving(server) as url, Publisher(url, "pk") as publisher:
        futures = publish(publisher, 1200)
        first.set()
        assert [future.result(SECONDS)["id"] for future in futures] == [f"evt_k{n}" for n in range(1200)]
        assert publisher.waiting == 0
    assert [key for keys in server.keys for key in keys] == [f"k{n}" for n in range(1200)]
    assert len(server.requests) <= 4


def test_the_same_key_goes_again_until_it_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twofold.publisher.FIRST_WAIT_SECONDS", 0.001)

    def judge(count: int, events: list[dict[str, Any]]) -> tuple[int, Any, dict[str, str]]:
        failures = [
            (503, {"status": 503}, {}),
            (429, {}, {"Retry-After": "0"}),
            (202, {"data": []}, {}),
            (502, "<", {}),
        ]
        return failures[count] if count < len(failures) else stored(events)

    server = Server(judge)
    with serving(server) as url, Publisher(url, "pk") as publisher:
        future = publisher.publish("call", "c", "a", {})
        assert future.result(SECONDS)["seq"] == 1
    assert len(server.requests) == 5
    assert len({keys[0] for keys in server.keys}) == 1


def test_what_is_put_off_comes_before_what_is_published_later() -> None:
    def judge(count: int, events: list[dict[str, Any]]) -> tuple[int, Any, dict[str, str]]:
        status, answer, headers = stored(events)
        if count == 0:
            publisher.publish("call", "c", "a", {}, idempotency_key="later")
            answer["data"][0] = {"status": 503, "code": "unavailable"}
        return status, answer, headers

    server = Server(judge)
    with serving(server) as url, Publisher(url, "pk") as publisher:
        assert publisher.publish("call", "c", "a", {}, idempotency_key="k").result(SECONDS)["id"] == "evt_k"
    assert server.keys == [["k"], ["k", "later"]]


def test_a_refused_event_fails_alone() -> None:
    def judge(count: int, events: list[dict[str, Any]]) -> tuple[int, Any, dict[str, str]]:
        if any(event["idempotency_key"] == "k2" for event in events) and len(events) > 1:
            return 413, {"code": "too_large"}, {}
        if events[0]["idempotency_key"] == "k2":
            return 413, {"code": "too_large", "detail": "split it"}, {}
        status, answer, headers = stored(events)
        answer["data"] = [
            {"status": 409, "code": "stream_ended"} if event["idempotency_key"] == "k3" else one
            for event, one in zip(events, answer["data"], strict=True)
        ]
        return status, answer, headers

    with serving(Server(judge)) as url, Publisher(url, "pk") as publisher:
        futures = publish(publisher, 6)
        for number, (status, code) in {2: (413, "too_large"), 3: (409, "stream_ended")}.items():
            with pytest.raises(EventRefused) as refused:
                futures[number].result(SECONDS)
            assert (refused.value.status, refused.value.code) == (status, code)
            assert refused.value.idempotency_key == f"k{number}"
        assert [futures[number].result(SECONDS)["seq"] for number in (0, 1, 4, 5)] == [1] * 4


def test_a_wrong_key_refuses_everything_at_once() -> None:
    server = Server(lambda count, events: (401, {"code": "unauthorized"}, {}))
    with serving(server) as url, Publisher(url, "pk") as publisher:
        for future in publish(publisher, 3):
            with pytest.raises(EventRefused, match="unauthorized"):
                future.result(SECONDS)


def test_a_full_queue_says_so_and_a_close_tells_what_is_unsent() -> None:
    told: list[Unsent] = []
    publisher = Publisher(f"http://127.0.0.1:{free_port()}", "pk", most_waiting=2, on_unsent=told.extend)
    futures = publish(publisher, 2)
    with pytest.raises(QueueFull):
        publisher.publish("call", "c", "a", {}, timeout_seconds=0.01)
    assert not publisher.flush(0.01)
    unsent = publisher.close(0.01)
    assert unsent == told
    assert [one.idempotency_key for one in unsent] == ["k0", "k1"]
    assert json.loads(unsent[0].event)["data"] == {"n": 0}
    for future in futures:
        with pytest.raises(NotSent):
            future.result(0)
    assert publisher.close() == []
    with pytest.raises(RuntimeError, match="closed"):
        publisher.publish("call", "c", "a", {})


PROGRAM = """
from twofold import Publisher
publisher = Publisher("{url}", "pk", exit_seconds={seconds})
for n in range(3):
    publisher.publish("call", "c", "a", {{"n": n}})
"""


@pytest.mark.parametrize("there", [True, False])
def test_the_end_of_a_program_waits_for_the_queue_in_bounded_time_and_tells_the_rest(there: bool) -> None:
    server = Server()
    with serving(server) as url:
        text = PROGRAM.format(url=url if there else f"http://127.0.0.1:{free_port()}", seconds=10 if there else 0.05)
        env = {"PYTHONPATH": str(ROOT / "clients/python")}
        done = subprocess.run([sys.executable, "-c", text], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert sum(map(len, server.requests)) == (3 if there else 0)
    assert ("3 events were not sent" in done.stderr) == (not there)
