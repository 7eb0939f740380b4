"""The demo's customer: a webhook receiver on this machine that verifies what it gets and writes it down."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from app.client.books.bookkeeper import Receiver

LARGEST_BODY = 2**20  # four times the largest event


class DemoReceiver:
    """An HTTP server on a free port of 127.0.0.1. It answers 503 until it has a page in the books."""

    def __init__(self) -> None:
        self.page: Receiver | None = None
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """Where webhooks are to be sent."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/webhooks"

    def __enter__(self) -> DemoReceiver:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """The status to answer a webhook with: 204 for one that verifies."""
        if self.page is None:
            return 503
        return 204 if self.page.got(headers, body) else 400


class _Server(ThreadingHTTPServer):
    owner: DemoReceiver
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a sender that was killed in the middle of a request is part of what the demo is for."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"  # connections are kept, as by a real receiver
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
        self.send_response(self.server.owner.take(dict(self.headers), body))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the books say it all."""
