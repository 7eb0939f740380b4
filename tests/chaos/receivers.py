"""The customers: one HTTP server, whose paths answer as a scenario wants; each POST is written down before."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from app.client.books.bookkeeper import Receiver
from app.client.books.records import StreamName, members, stream_of

LARGEST_BODY = 2**20


@dataclass
class Order:
    """What a customer checks whose endpoint keeps order: that nothing of a stream comes before all that is before it
    was taken. What comes again may. broken: in words."""

    broken: list[str] = field(default_factory=list)
    _taken: dict[StreamName, int] = field(default_factory=dict)  # the last one's number
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def came(self, body: bytes) -> None:
        """A POST is here, and is not answered yet."""
        stream, seq = _place(body)
        with self._lock:
            last = self._taken.get(stream, 0)
            if seq > last + 1:
                self.broken.append(f"seq {seq} of {stream[1]} came when {last} was the last one taken")
                self._taken[stream] = seq - 1  # the next one is told for itself

    def took(self, body: bytes) -> None:
        """It is to be answered 204."""
        stream, seq = _place(body)
        with self._lock:
            self._taken[stream] = max(seq, self._taken.get(stream, 0))


def _place(body: bytes) -> tuple[StreamName, int]:
    return stream_of(body), int(json.loads(dict(members(body))["seq"]))


@dataclass
class Customer:
    """One endpoint's receiver.

    answer: the status for a webhook, asked with the sender's port; it may wait, or kill the sender. Only what is
    answered 204 goes into the books. posts: how many POSTs of each event came, whatever they were answered; taken: how
    many of them were answered 204; changed: ids that came with different bytes. refuses: bodies that are answered 500
    whatever else it answers; order: of an endpoint that keeps it.
    """

    page: Receiver | None = None
    answer: Callable[[int], int] = lambda port: 204
    refuses: Callable[[bytes], bool] = lambda body: False
    order: Order | None = None
    posts: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    changed: set[str] = field(default_factory=set)
    _bytes: dict[str, bytes] = field(default_factory=dict)

    def take(self, headers: dict[str, str], body: bytes, port: int) -> int:
        """Write a POST down; the status to answer."""
        id, digest = headers.get("webhook-id", ""), hashlib.sha256(body).digest()
        self.posts[id] += 1
        if self._bytes.setdefault(id, digest) != digest:
            self.changed.add(id)
        if self.order:
            self.order.came(body)
        status = self.answer(port) if self.page else 503
        status = 500 if self.refuses(body) else status
        if status == 204 and self.page and not self.page.got(headers, body):
            return 400
        if status == 204 and self.order:
            self.order.took(body)
        self.taken[id] += status == 204
        return status


class Receivers:
    """An HTTP server on 127.0.0.1; `add` gives a customer a path of its own."""

    def __init__(self) -> None:
        self.customers: dict[str, Customer] = {}
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def add(self, name: str) -> tuple[Customer, str]:
        """A customer and the URL to register."""
        customer = self.customers[f"/{name}"] = Customer()
        return customer, f"http://127.0.0.1:{self.port}/{name}"

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    owner: Receivers
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: senders that are killed in the middle of a request are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LARGEST_BODY:
            self.send_error(413)
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True  # cut off: not a webhook
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.send_response_only(self.server.owner.customers[self.path].take(headers, body, self.client_address[1]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the books say it all."""
