"""Commands run in this process, with what they print; and a server that answers as it is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.cli.main import main

Run = Callable[..., "Ended"]


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _nothing_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No profile, no local run, no database and no server of whoever runs the tests."""
    for name in ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "TWOFOLD_URL", "TWOFOLD_API_KEY", "TWOFOLD_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TWOFOLD_CONFIG", str(tmp_path / "profiles.json"))
    monkeypatch.setenv("TWOFOLD_VAR", str(tmp_path / "var"))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs one command: run("keys", "list") -> Ended."""

    def one(*argv: str) -> Ended:
        capsys.readouterr()
        status = main(argv)
        shown = capsys.readouterr()
        return Ended(status, shown.out, shown.err)

    return one


@dataclass
class OddServer:
    """Answers requests in turn as `answers` says: (status, headers, body) each, the last one for ever.

    asked: method, path, headers and body of what came.
    """

    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""

    def next_answer(self) -> tuple[int, dict[str, str], bytes]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.fixture
def odd_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OddServer]:
    """A server whose answers the test chooses; commands ask it."""
    odd = OddServer()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            odd.asked.append((self.command, self.path, dict(self.headers), body))
            status, headers, text = odd.next_answer()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        do_GET = do_POST = do_DELETE = do_PATCH = answer

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        odd.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("TWOFOLD_URL", odd.url)
        monkeypatch.setenv("TWOFOLD_API_KEY", "pk_odd")
        yield odd
        server.shutdown()
