"""A small real HTTP server that sends what a test tells it to, and cuts where the test tells it to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Script = Callable[[BaseHTTPRequestHandler, int], None]
"""Answers one request. Its second argument counts the requests from 0."""


@contextmanager
def serving(script: Script) -> Iterator[str]:
    """The base URL of a server on a free port; it is closed at the end of the block."""
    count = iter(range(1_000_000))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.close_connection = True
            script(self, next(count))

        do_POST = do_PUT = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)


def start_stream(request: BaseHTTPRequestHandler, status: int = 200) -> None:
    """Status and headers of an event stream that ends with its connection."""
    request.send_response(status)
    request.send_header("Content-Type", "text/event-stream")
    request.end_headers()


def send(request: BaseHTTPRequestHandler, data: bytes) -> None:
    request.wfile.write(data)
    request.wfile.flush()


def frame(number: int, data: str) -> bytes:
    return f"event: note\nid: {number}\ndata: {data}\n\n".encode()
