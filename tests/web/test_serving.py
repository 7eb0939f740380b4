"""The web process as it is served: tokens in a query reach no log, paths cannot forge one, TLS is refused."""

from __future__ import annotations

import socket
import subprocess
from urllib.parse import urlsplit

import pytest
import requests

from tests.processes import ROOT, RunningServer, environment, eventually, free_port

TOKEN = "eyJhbGciOiJIUzI1NiJ9.very-secret.c2ln"


def said_by(server: RunningServer, request: bytes) -> bytes:
    """The answer to these bytes."""
    with socket.create_connection(("127.0.0.1", urlsplit(server.base_url).port or 0), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def logged_with(server: RunningServer, mark: str) -> str:
    """What the web process has logged, once that has `mark` in it."""
    return eventually(lambda: mark in server.web.log_text() and server.web.log_text())


@pytest.mark.parametrize("query", [f"token={TOKEN}", f"after_seq=1&token={TOKEN}", f"token=%65{TOKEN}"])
def test_a_token_in_a_query_is_not_logged(server: RunningServer, query: str) -> None:
    path = f"/healthz/{free_port()}"
    requests.get(f"{server.base_url}{path}?{query}", timeout=10)
    assert TOKEN not in logged_with(server, path)


@pytest.mark.parametrize(
    "request_line",
    [
        f"GET /x?token={TOKEN} HTTP/9.9",
        f"GET /x?token={TOKEN}",
        f"get /x?token={TOKEN} HTTP/1.1",
        f"GET /x?token={TOKEN}\x01 HTTP/1.1",
        f"GET x?token={TOKEN} HTTP/1.1",
    ],
)
def test_a_token_in_a_request_that_cannot_be_read_is_not_logged(server: RunningServer, request_line: str) -> None:
    answer = said_by(server, f"{request_line}\r\nHost: x\r\n\r\n".encode())
    assert b" 4" in answer.split(b"\r\n")[0]
    path = f"/after-that/{free_port()}"
    requests.get(server.base_url + path, timeout=10)
    assert TOKEN not in logged_with(server, path)


def test_a_path_cannot_forge_a_line_of_the_log(server: RunningServer) -> None:
    said_by(server, b"GET /a%0A127.0.0.1%20GET%20/forged HTTP/1.0\r\nHost: x\r\n\r\n")
    assert "\n127.0.0.1 GET /forged" not in logged_with(server, "/a%0A127.0.0.1%20GET%20/forged")


def test_tls_is_refused_in_so_many_words() -> None:
    done = subprocess.run(
        ["gunicorn", "-c", "gunicorn.conf.py", "--certfile", "cert.pem", "--keyfile", "key.pem", "app:create_app()"],
        cwd=ROOT,
        env=environment({"PORT": str(free_port())}),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "Twofold does not serve TLS itself" in done.stderr
    assert "Traceback" not in done.stderr
