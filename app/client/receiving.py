"""A small HTTP server for trying webhooks out: it hands each POST to a function and answers what that says."""

from __future__ import annotations

import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

LARGEST_BODY = 2**20  # four times the largest event
BACKLOG = 128  # a worker opens many connections at once; the standard library's 5 would refuse some

Take = Callable[[dict[str, str], bytes], int]
"""Takes a webhook's headers (names in lower case) and its body; returns the status to answer with."""


class WebhookServer(ThreadingHTTPServer):
    """Receives on 127.0.0.1. port: 0 for any free one; take: called for each complete POST, from several threads.

    Raises OSError when the port is taken. serve_forever() runs it, shutdown() ends it.
    """

    daemon_threads = True
    request_queue_size = BACKLOG

    def __init__(self, port: int, take: Take) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.take = take

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing of a sender that was killed in the middle of a request: that is no fault of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: WebhookServer
    protocol_version = "HTTP/1.1"  # connections are kept, as by a real receiver
    disable_nagle_algorithm = True  # or each answer waits for the sender's delayed acknowledgment, some 40 ms

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or int(length) > LARGEST_BODY:
            self.send_error(413)
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True  # cut off: not a webhook
            return
        self.send_response(self.server.take({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: whoever takes the webhooks tells of them."""
