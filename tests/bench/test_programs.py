"""The load programs, held against each other."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from bench import histogram, requests_sent
from bench.programs import Posting, Receiver, Viewers, post
from tests.processes import eventually

EVENTS = 40


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver(slow_ms=30) as found:
        yield found


def test_a_closed_loop_is_answered_and_counted(receiver: Receiver) -> None:
    answer = post(receiver.port, requests_sent.post_event("", path="/ok/1"), connections=4, count=EVENTS)
    assert (answer["answered"], answer["errors"], answer["status"][2]) == (EVENTS, 0, EVENTS)
    assert histogram.size(answer["latency"]) == EVENTS
    books = receiver.report()["labels"]["1"]
    assert (books["requests"], books["distinct"]) == (EVENTS, EVENTS)
    assert histogram.size(books["latency"]) == EVENTS
    assert receiver.report()["labels"] == {}


def test_lines_hold_an_event_each(receiver: Receiver) -> None:
    request = requests_sent.post_lines("key", 5, stream="s@STREAM@").replace(b"/v1/events", b"/ok/2")
    answer = post(receiver.port, request, connections=1, count=2, number=100)
    assert (answer["answered"], answer["events"]) == (2, 10)


def test_an_open_loop_keeps_its_rate_and_counts_from_when_a_request_was_due(receiver: Receiver) -> None:
    request = requests_sent.post_event("", path="/slow/3")
    answer = post(receiver.port, request, connections=1, rate=100, count=10, seconds=1)
    # One connection answers each 30 ms and a request is due each 10 ms: the last waits for nine before it.
    slowest = histogram.percentile(answer["latency"], 1.0)
    assert slowest is not None
    assert slowest >= 10 * 30 - 9 * 10 - 1
    assert answer["most_waiting"] > 0


def test_an_event_that_comes_twice_is_distinct_once(receiver: Receiver) -> None:
    for _ in range(2):
        post(receiver.port, requests_sent.post_event("", path="/fail/4"), count=3, number=7)
    books = receiver.report()["labels"]["4"]
    assert (books["requests"], books["distinct"]) == (6, 3)


def test_who_is_never_answered_is_counted_as_an_error(receiver: Receiver) -> None:
    request = requests_sent.post_event("", path="/hang/5")
    with Posting(receiver.port, request, rate=100, count=2, seconds=0.1, patience=0.2) as posting:
        assert posting.result()["errors"] == 2


FRAME = b'id: 1\ndata: {"data":{"sent_us":%d,"number":1000000001}}\n\n'


@pytest.mark.parametrize("cut", [1, 7, 30, 1000])
def test_viewers_count_frames_wherever_they_are_cut(cut: int) -> None:
    frames = b"".join(FRAME % (1_790_000_000_000_000 + number) for number in range(20))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        gate = threading.Event()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                gate.wait(10)
                for start in range(0, len(frames), cut):
                    connection.sendall(frames[start : start + cut])
                gate.clear()
                gate.wait(10)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        request = requests_sent.request("GET", "/live", "key")
        with Viewers(listener.getsockname()[1], request, 1) as viewers:
            viewers.report()
            gate.set()
            assert _seen(viewers, 20) == 20
        gate.set()
        thread.join(10)


def _seen(viewers: Viewers, count: int) -> int:
    eventually(lambda: viewers.look()["frames"] >= count, 10)
    return int(viewers.report()["frames"])
