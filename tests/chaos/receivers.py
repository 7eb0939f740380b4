"""The customers: one HTTP server, whose paths answer as a scenario wants; each POST is written down before."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from app.client.books.bookkeeper import Receiver

LARGEST_BODY = 2**20


@dataclass
class Customer:
    """One endpoint's receiver.

    answer: the status for a webhook, asked with the sender's port; it may wait, or kill the sender. Only what is
    answered 204 goes into the books. posts: how many POSTs of each event came, whatever they were answered; taken: how
    many of them were answered 204; changed: ids that came with different bytes.
    """

    page: Receiver | None = None
    answer: Callable[[int], int] = lambda port: 204
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
        status = self.answer(port) if self.page else 503
        if status == 204 and self.page and not self.page.got(headers, body):
            return 400
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
