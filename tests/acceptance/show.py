"""A producer, viewers and a webhook receiver around a running product, and the books about them."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any

import httpx
import requests
from standardwebhooks import Webhook

from app.client.books.bookkeeper import Bookkeeper, Viewer
from app.client.books.records import StreamName, members
from app.client.stream import Stream
from app.demo.plan import RecordedEvent
from app.demo.producer import Producer, Tally
from app.demo.receiver import DemoReceiver
from tests.processes import RunningServer, eventually

# Every fifth payload is one that a careless reader or writer of JSON would change.
TRICKY = b'{"b":1,"a":1.0,"n":12345678901234567890,"e":1e400,"s":"\\u2028\xc3\xa9\xf0\x9f\x98\x80"}'


class Show:
    """One stream of a product, watched from outside. As a context it ends what it started."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.books = Bookkeeper()
        self.tally = Tally()
        self.stream: StreamName = ("note", f"s_{uuid.uuid4().hex}")
        self.live = f"{server.base_url}/v1/streams/{self.stream[0]}/{self.stream[1]}/live"
        self._over = threading.Event()
        self._stack = ExitStack()
        self._http = self._stack.enter_context(
            httpx.Client(base_url=server.base_url, headers=server.headers, timeout=10, trust_env=False)
        )

    def __enter__(self) -> Show:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._stack.close()

    def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """The parsed answer of one request that must have this status."""
        answer = self._http.request(method, path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json() if answer.content else None

    def open(self) -> None:
        """Make the stream, so that it can be watched before its first event."""
        self.ask("PUT", f"/v1/streams/{self.stream[0]}/{self.stream[1]}", {}, 201)

    def receive(self) -> None:
        """Register a webhook and write down what it gets."""
        receiver = self._stack.enter_context(DemoReceiver())
        made = self.ask("POST", "/v1/endpoints", {"url": receiver.url, "stream_kinds": [self.stream[0]]}, 201)
        receiver.page = self.books.receiver("webhook", Webhook(made["secret"]).verify, shared=True)

    def watch(self, name: str) -> None:
        """Follow the stream from its beginning, over every cut, and write down what it shows."""
        stream = Stream(self.live, headers=self.server.headers, last_event_id="0", first_wait_seconds=0.1)
        page = self.books.viewer(name, self.stream)
        thread = threading.Thread(target=follow, args=(stream, page), name=name)
        thread.start()
        self._stack.callback(thread.join, 10)
        self._stack.callback(stream.close)

    @contextmanager
    def posting(self, count: int, per_second: float) -> Iterator[threading.Thread]:
        """Post so many events at this rate in the background; at the end of the block all are answered."""
        events = [
            RecordedEvent(0.0, "note.added", TRICKY if number % 5 == 0 else b'{"n":%d,"x":1.50}' % number)
            for number in range(count)
        ]
        when = [number / per_second for number in range(count)]
        producer = Producer(self._http, self.books, self.tally, self._over.wait, lambda: None)
        thread = threading.Thread(target=producer.play, args=(self.stream, uuid.uuid4().hex, events, when))
        thread.start()
        yield thread
        thread.join(60)
        assert not thread.is_alive()

    def settle(self, seconds: float) -> None:
        """Wait until everything acknowledged is everywhere, and check the books."""
        eventually(self.books.is_complete, seconds, poll_seconds=0.1, about="everything acknowledged is everywhere")
        assert self.books.findings() == []

    def committed(self) -> list[int]:
        """The seqs that the log holds, by the API."""
        found: list[int] = []
        kind, id = self.stream
        while True:
            query = f"stream_kind={kind}&stream_id={id}&limit=250&after_seq={found[-1] if found else 0}"
            page = requests.get(
                f"{self.server.base_url}/v1/events?{query}", headers=self.server.headers, timeout=10
            ).json()["data"]
            if not page:
                return found
            found += [event["seq"] for event in page]


def follow(stream: Stream, page: Viewer) -> None:
    """Write down every event of a stream until it is closed."""
    for event in stream:
        body = event.data.encode()
        parts = dict(members(body))
        page.saw(
            seq=int(event.id), event_id=json.loads(parts["id"]), type=json.loads(parts["type"]), data=parts["data"]
        )
