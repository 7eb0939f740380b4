"""The demo's producer loses nothing when the server fails, and its viewer comes back after a cut."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

from app.client.books.bookkeeper import Bookkeeper
from app.demo.plan import DemoView, RecordedEvent
from app.demo.producer import Producer, Tally, groups
from app.demo.viewer import DemoViewer, ViewAddress
from tests.client.sse_server import frame, send, serving, start_stream

CALL = ("call", "call_1")
EVENTS = [RecordedEvent(0.0, "call.note", b'{ "n": %d, "float": 1.0 }' % n) for n in range(1, 21)]


class Ledger:
    """A server side that takes events in the three forms, and fails as told before or after it took them."""

    def __init__(self, faults: dict[int, str]) -> None:
        self.taken: dict[str, tuple[int, bytes]] = {}
        self._faults = faults

    def __call__(self, request: BaseHTTPRequestHandler, count: int) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        fault = self._faults.get(count, "")
        if fault == "before":
            return
        if fault == "503":
            request.send_response(503)
            request.end_headers()
            return
        answer, status = self._answer(body, request.headers["Content-Type"])
        if fault == "after":
            return
        request.send_response(status)
        request.end_headers()
        send(request, answer[: len(answer) // 2] if fault == "half" else answer)

    def _answer(self, body: bytes, content_type: str) -> tuple[bytes, int]:
        if content_type == "application/x-ndjson":
            return b"\n".join(self._take(line) for line in body.split(b"\n") if line) + b"\n", 202
        if body.startswith(b"["):
            return b'{"data":[%s]}' % b",".join(self._take(json.dumps(one).encode()) for one in json.loads(body)), 202
        answer = self._take(body)
        return answer, json.loads(answer).get("status", 202)

    def _take(self, raw: bytes) -> bytes:
        event = json.loads(raw)
        if event["data"]["n"] == 13:
            return b'{"status":422,"code":"unlucky","detail":"no"}'
        seq, _ = self.taken.setdefault(event["idempotency_key"], (len(self.taken) + 1, raw))
        return json.dumps({"id": f"evt_{seq}", "seq": seq}).encode()


def play(ledger: Ledger) -> tuple[Bookkeeper, Tally]:
    books, tally = Bookkeeper(), Tally()
    last = threading.Event()
    with serving(ledger) as url, httpx.Client(base_url=url, trust_env=False) as http:
        producer = Producer(http, books, tally, threading.Event().wait, last.set)
        producer.play(CALL, "run", EVENTS, [0.0] * len(EVENTS))
    assert last.is_set()
    return books, tally


def test_every_event_is_posted_and_its_answer_written_down() -> None:
    books, tally = play(Ledger({}))
    assert [post.seq for post in books.posts() if not post.refused] == list(range(1, 20))
    assert (tally.refused, tally.retried, tally.unanswered) == (1, 0, 0)
    assert [post.key for post in books.posts() if post.refused] == ["run-13"]
    assert tally.reasons == ["422 unlucky: no"]
    assert len(tally.acknowledgment_seconds) == tally.requests


@pytest.mark.parametrize("fault", ["before", "after", "503", "half"])
def test_what_was_not_answered_is_posted_again_under_the_same_key(fault: str) -> None:
    ledger = Ledger({0: fault, 3: fault, 7: fault})
    books, tally = play(ledger)
    assert tally.retried == 3
    assert len(ledger.taken) == 19, "an event was taken twice"
    assert sorted(post.seq for post in books.posts() if not post.refused) == list(range(1, 20))
    assert books.findings() == []


def test_all_three_forms_are_used_and_nothing_is_left_out() -> None:
    found = list(groups(100))
    assert {form for form, _, _ in found} == {"object", "array", "ndjson"}
    assert [n for _, first, last in found for n in range(first, last)] == list(range(100))


def view(**fields: Any) -> DemoView:
    return DemoView(
        **{"name": "v", "reader": "httpx-sse", "path": "/live", "frame": "envelope", "resumes": True, **fields}
    )


def watch(url: str, books: Bookkeeper, shown: DemoView, *, mint: str | None = None, ended: bool = True) -> DemoViewer:
    page = books.viewer(shown.name, CALL)
    viewer = DemoViewer(shown, ViewAddress(url, "pk_1", "/live", mint), page, lambda: ended, threading.Event())
    viewer.start()
    viewer.join(timeout=10)
    assert not viewer.is_alive()
    return viewer


def envelope(n: int) -> str:
    return f'{{"id":"evt_{n}","type":"call.note","stream":{{}},"seq":{n},"data":{{"n":{n}}}}}'


@pytest.fixture
def books() -> Bookkeeper:
    found = Bookkeeper()
    for n in (1, 2, 3):
        found.posting(f"key {n}", CALL, "call.note", b'{"n":%d}' % n)
        found.acknowledged(f"key {n}", f"evt_{n}", n)
    return found


@pytest.mark.parametrize("reader", ["httpx-sse", "lines"])
def test_a_viewer_that_is_cut_goes_on_where_it_was(books: Bookkeeper, reader: str) -> None:
    cursors = []

    def script(request: BaseHTTPRequestHandler, count: int) -> None:
        cursors.append(request.headers.get("Last-Event-ID"))
        start_stream(request, 204 if count == 3 else 200)
        send(request, b": keepalive\n\n" + frame(count + 1, envelope(count + 1)) + b"event: note\nid: 99\ndata: {")

    with serving(script) as url:
        viewer = watch(url, books, view(reader=reader))
    assert cursors == [None, "1", "2", "3"]
    assert books.findings() == []
    assert (viewer.reconnects, viewer.faults, viewer.over.is_set()) == (2, [], True)


def test_a_viewer_that_is_cut_before_the_first_event_asks_for_all_of_them(books: Bookkeeper) -> None:
    cursors = []

    def script(request: BaseHTTPRequestHandler, count: int) -> None:
        cursors.append(request.headers.get("Last-Event-ID"))
        start_stream(request, 204 if count else 200)

    with serving(script) as url:
        watch(url, books, view())
    assert cursors == [None, "0"]


def test_payload_and_flat_frames_are_read_and_openings_are_no_events(books: Bookkeeper) -> None:
    def script(request: BaseHTTPRequestHandler, count: int) -> None:
        start_stream(request, 204 if count else 200)
        for n in (1, 2, 3):
            send(request, f'event: call.note\nid: {n}\ndata: {{"n":{n}}}\n\n'.encode())
        send(request, b'event: close\ndata: {"reason":"session_ended"}\n\n')

    def flat(request: BaseHTTPRequestHandler, count: int) -> None:
        start_stream(request, 400 if count else 200)
        send(request, b'data: {"event_type":"sse_init","call_id":"call_1"}\n\n')
        for n in (1, 2, 3):
            send(request, f'data: {{"event_type":"call.note","event_id":"evt_{n}","n":{n}}}\n\n'.encode())

    with serving(script) as url:
        assert watch(url, books, view(frame="payload", control=("close",))).faults == []
    with serving(flat) as url:
        shown = view(name="f", frame="flat", added=("event_type", "event_id"), control=("sse_init",), resumes=False)
        assert watch(url, books, shown).faults == []
    assert books.findings() == []


def test_a_contract_without_replay_is_excused_for_what_a_cut_took(books: Bookkeeper) -> None:
    def script(request: BaseHTTPRequestHandler, count: int) -> None:
        start_stream(request, 404 if count == 2 else 200)
        send(request, frame(0, envelope(3 if count else 1)))

    with serving(script) as url:
        viewer = watch(url, books, view(resumes=False))
    assert books.findings() == []
    assert books.counts()["v"].arrived == 2
    assert viewer.over.is_set()


def test_a_minted_url_and_token_are_used_and_minted_again_for_each_connect(books: Bookkeeper) -> None:
    seen = []

    def script(request: BaseHTTPRequestHandler, count: int) -> None:
        if request.command == "POST":
            seen.append((request.path, request.headers["X-API-Key"]))
            host = request.headers["Host"]
            request.send_response(200)
            request.end_headers()
            send(request, json.dumps({"url": f"http://{host}/sse/1", "token": f"token {count}"}).encode())
            return
        seen.append((request.path, request.headers["Authorization"]))
        start_stream(request, 204 if count == 3 else 200)

    with serving(script) as url:
        watch(url, books, view(mint="/mint"), mint="/mint")
    assert seen == [("/mint", "pk_1"), ("/sse/1", "Bearer token 0"), ("/mint", "pk_1"), ("/sse/1", "Bearer token 2")]


def test_a_refusal_before_the_end_and_an_unreadable_frame_are_faults(books: Bookkeeper) -> None:
    def refuse(request: BaseHTTPRequestHandler, count: int) -> None:
        start_stream(request, 401)

    def garble(request: BaseHTTPRequestHandler, count: int) -> None:
        start_stream(request, 204 if count else 200)
        send(request, frame(1, "{not json"))

    with serving(refuse) as url:
        viewer = watch(url, books, view(), ended=False)
        assert viewer.faults == ["the view was refused with status 401"]
        assert viewer.opened.is_set()
        assert not viewer.over.is_set()
    with serving(garble) as url:
        assert "cannot be read" in watch(url, books, view()).faults[0]
