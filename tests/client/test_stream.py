"""The stream client survives cuts, waits when it should, and stops when it should."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler

import pytest
import requests

from app.client.stream import LONGEST_WAIT_SECONDS, Stream, StreamRefused, pause_seconds
from tests.client.sse_server import frame, send, serving, start_stream

TEXTS = ["first 😀", "second \u2028 line", "third", "fourth שלום", "fifth"]
WHOLE = b"".join(frame(number, text) for number, text in enumerate(TEXTS, 1))


def after(request: BaseHTTPRequestHandler) -> bytes:
    """What a server that can resume has left to say."""
    last = int(request.headers.get("Last-Event-ID", 0))
    return b"".join(frame(number, text) for number, text in enumerate(TEXTS, 1) if number > last)


def test_cut_at_every_byte_nothing_is_missing_and_nothing_comes_twice() -> None:
    cuts = iter(range(len(WHOLE) + 1))

    def script(request: BaseHTTPRequestHandler, count: int) -> None:
        rest = after(request)
        start_stream(request, 200 if rest else 204)
        fresh = "Last-Event-ID" not in request.headers
        send(request, rest[: next(cuts, len(WHOLE))] if fresh else rest)

    expected = [("note", str(number), text) for number, text in enumerate(TEXTS, 1)]
    with serving(script) as url:
        for cut in range(len(WHOLE) + 1):
            with Stream(url, first_wait_seconds=0) as stream:
                assert [(event.type, event.id, event.data) for event in stream] == expected, f"cut at byte {cut}"


def test_chunked_and_plain_answers_are_read_as_they_arrive() -> None:
    seen_first = threading.Event()

    def script(request: BaseHTTPRequestHandler, count: int) -> None:
        if count == 2:
            return start_stream(request, 204)
        if count == 1:
            request.protocol_version = "HTTP/1.1"
        request.send_response(200)
        request.send_header("Content-Type", "text/event-stream")
        if count == 1:
            request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        seen_first.clear()
        for number in (1, 2):
            text = frame(10 * count + number, "x")
            send(request, b"%x\r\n%s\r\n" % (len(text), text) if count == 1 else text)
            assert number == 2 or seen_first.wait(5), "the first event was held back until more came"
        if count == 1:
            send(request, b"0\r\n\r\n")

    ids = []
    with serving(script) as url, Stream(url, first_wait_seconds=0) as stream:
        for event in stream:
            ids.append(event.id)
            seen_first.set()
    assert ids == ["1", "2", "11", "12"]


def test_it_sends_the_given_credentials_and_the_given_cursor() -> None:
    got = {}

    def script(request: BaseHTTPRequestHandler, count: int) -> None:
        got.update(request.headers)
        start_stream(request, 204)

    with serving(script) as url:
        assert list(Stream(url, headers={"Authorization": "Bearer pk_1"}, last_event_id="41")) == []
    assert got["Authorization"] == "Bearer pk_1"
    assert got["Last-Event-ID"] == "41"
    assert got["Accept"] == "text/event-stream"


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_an_answer_that_will_not_change_is_raised(status: int) -> None:
    def script(request: BaseHTTPRequestHandler, count: int) -> None:
        request.send_response(status)
        request.end_headers()
        send(request, b'{"code":"nope"}')

    with serving(script) as url, pytest.raises(StreamRefused, match="nope") as refused:
        list(Stream(url))
    assert refused.value.status == status


def test_a_bad_address_is_raised() -> None:
    with pytest.raises(requests.exceptions.MissingSchema):
        list(Stream("localhost/no/scheme"))


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again_when_it_said(status: int) -> None:
    asked = []

    def script(request: BaseHTTPRequestHandler, count: int) -> None:
        asked.append(time.monotonic())
        request.send_response(204 if count else status)
        request.send_header("Retry-After", "1")
        request.end_headers()

    with serving(script) as url, Stream(url, first_wait_seconds=0) as stream:
        assert list(stream) == []
        assert stream.reconnects == 1
    assert asked[1] - asked[0] >= 1


def test_waits_grow_with_failures_in_a_row_up_to_a_bound() -> None:
    pauses = [pause_seconds(0.1, failures, 0, chance=0) for failures in range(1, 12)]
    assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
    assert pauses[-1] == LONGEST_WAIT_SECONDS
    assert pause_seconds(0.1, 1000, 0, chance=0.999) < LONGEST_WAIT_SECONDS * 1.25
    assert pause_seconds(0.1, 1, 60, chance=0.5) == 60
    assert pause_seconds(0.25, 99, 0, chance=0, longest_seconds=5) == 5


def test_the_server_sets_the_wait() -> None:
    asked = []

    def script(request: BaseHTTPRequestHandler, count: int) -> None:
        asked.append(time.monotonic())
        start_stream(request, 204 if count else 200)
        send(request, b"retry: 300\n\n" + frame(1, "x"))

    with serving(script) as url, Stream(url, first_wait_seconds=0) as stream:
        assert len(list(stream)) == 1
    assert asked[1] - asked[0] >= 0.3


def test_it_waits_for_a_server_that_is_not_there_yet() -> None:
    with serving(lambda request, count: None) as url:
        pass  # now nobody listens there
    stream = Stream(url, first_wait_seconds=0)
    reader = threading.Thread(target=lambda: list(stream))
    reader.start()
    deadline = time.monotonic() + 5
    while stream.reconnects < 3 and time.monotonic() < deadline:
        threading.Event().wait(0.005)
    stream.close()
    reader.join(timeout=5)
    assert not reader.is_alive()
    assert stream.reconnects >= 3


def test_a_silent_connection_is_given_up_and_opened_again() -> None:
    release = threading.Event()

    def script(request: BaseHTTPRequestHandler, count: int) -> None:
        start_stream(request, 204 if count else 200)
        if not count:
            send(request, frame(1, "x"))
            release.wait(10)

    with serving(script) as url, Stream(url, first_wait_seconds=0, silence_seconds=1) as stream:
        try:
            assert [event.id for event in stream] == ["1"]
        finally:
            release.set()
    assert stream.reconnects >= 1  # a busy machine may be silent once more


def test_close_from_another_thread_wakes_the_reader() -> None:
    reading, release = threading.Event(), threading.Event()

    def script(request: BaseHTTPRequestHandler, count: int) -> None:
        start_stream(request)
        send(request, frame(1, "x"))
        release.wait(10)

    with serving(script) as url:
        stream = Stream(url)

        def read() -> None:
            for _ in stream:
                reading.set()

        reader = threading.Thread(target=read)
        reader.start()
        assert reading.wait(5)
        stream.close()
        reader.join(timeout=5)
        release.set()
    assert not reader.is_alive()
    assert stream.last_event_id == "1"


def test_breaking_off_closes_the_connection_and_keeps_the_cursor() -> None:
    def script(request: BaseHTTPRequestHandler, count: int) -> None:
        start_stream(request)
        send(request, WHOLE)

    with serving(script) as url, Stream(url) as stream:
        for event in stream:
            if event.id == "3":
                break
    assert stream.last_event_id == "3"
