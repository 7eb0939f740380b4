"""What is told of the zoo: its table as data and as lines, and over HTTP with what each receiver has seen so far."""

from __future__ import annotations

import json
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from app.zoo.receiver import Expected, Receiver
from app.zoo.serve import Zoo


def row(receiver: Receiver, port: int) -> dict[str, Any]:
    """A receiver as JSON has it."""
    return {
        "name": receiver.name,
        "group": receiver.group,
        "summary": receiver.summary,
        "wire": receiver.wire,
        "url": receiver.url(port),
        "body_bytes": receiver.body_bytes,
        "pause_seconds": receiver.pause_seconds,
        "expected": [_accepted(one) for one in receiver.expected],
    }


def _accepted(expected: Expected | None) -> list[dict[str, Any]]:
    """All results of one POST that are good."""
    if expected is None:
        return []
    return [{"outcome": expected.outcome, "status_code": expected.status_code}, *_accepted(expected.also)]


def outcomes(receiver: Receiver) -> str:
    """What is expected of the POSTs to a receiver, in words."""
    return ", then ".join(map(str, receiver.expected))


def lines(rows: Iterable[tuple[Receiver, int]]) -> list[str]:
    """The table of receivers and their ports for a terminal."""
    return [f"{receiver.url(port):<58} {receiver.summary} → {outcomes(receiver)}" for receiver, port in rows]


def described(zoo: Zoo, url: str) -> dict[str, Any]:
    """The whole zoo as JSON, counts included. `url`: the guide's own."""
    return {
        "guide": url,
        "names": f"127.0.0.1:{zoo.name_server.port}",
        "authority_pem": zoo.authority_pem,
        "receivers": [
            row(port.receiver, port.number)
            | {
                "connections": port.tally.connections,
                "requests": port.tally.requests,
                "bytes_sent": port.tally.bytes_sent,
            }
            for port in zoo.ports
        ],
    }


class Guide(ThreadingHTTPServer):
    """Tells over HTTP what each receiver has seen so far, and which certificate to trust."""

    daemon_threads = True

    def __init__(self, port: int, zoo: Zoo) -> None:
        """Raises OSError when the port is taken."""
        super().__init__(("127.0.0.1", port), _Handler)
        self._zoo = zoo
        self.url = f"http://127.0.0.1:{self.server_port}/"

    def page(self, path: str) -> tuple[str, bytes] | None:
        """Content type and body of a page, None when there is none."""
        if path == "/":
            return "application/json", json.dumps(described(self._zoo, self.url)).encode()
        if path == "/authority.pem":
            return "application/x-pem-file", self._zoo.authority_pem.encode()
        return None


class _Handler(BaseHTTPRequestHandler):
    server: Guide

    def do_GET(self) -> None:
        page = self.server.page(self.path)
        if page is None:
            self.send_error(404)
            return
        kind, body = page
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the standard output is for the table."""
