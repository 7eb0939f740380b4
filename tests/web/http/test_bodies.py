"""Bodies that do not come, come slowly or make no sense hold nobody up, and nothing of them is read as a request."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
import requests

from app.web.http.bodies import START_SECONDS
from tests.processes import RunningServer

JSON = "application/json"
EVENT = b'{"stream":{"kind":"call","id":"bodies"},"type":"note","data":{}}'


def connect(
    server: RunningServer, body_headers: str, body: bytes, *, key: str | None = None, form: str = JSON
) -> socket.socket:
    """A connection on which the head of a POST and the beginning of its body have been sent."""
    address = urlsplit(server.base_url)
    sock = socket.create_connection((address.hostname, address.port), timeout=START_SECONDS + 10)
    head = (
        f"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: {form}\r\n"
        f"Authorization: Bearer {server.workspace_key if key is None else key}\r\n{body_headers}\r\n\r\n"
    )
    sock.sendall(head.encode() + body)
    return sock


def everything(sock: socket.socket) -> bytes:
    """What comes until the other side closes."""
    answer = b""
    try:
        while piece := sock.recv(65536):
            answer += piece
    except ConnectionResetError:
        pass
    return answer


NEXT = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ("Transfer-Encoding: chunked", b"5\r\nhello\r\nnonsense\r\n\r\n" + NEXT),
        ("Transfer-Encoding: chunked", b"-5\r\n" + NEXT),
        ("Transfer-Encoding: chunked", b"40\r\n" + EVENT + b"\r\n0\r\nContent-Length: 5\r\n\r\n" + NEXT),
    ],
    ids=["a bad size", "a negative size", "a forbidden trailer"],
)
def test_a_malformed_body_is_refused_and_its_connection_closed(
    server: RunningServer, headers: str, body: bytes
) -> None:
    with connect(server, headers, body) as sock:
        answer = everything(sock)
    assert answer.startswith(b"HTTP/1.1 400 "), answer
    assert answer.count(b"HTTP/1.1 ") == 1, "what came after the body was taken for a request"


@pytest.mark.parametrize("form", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize("more", [0, 1, 5000])
def test_nothing_is_stored_of_a_body_that_is_cut(server: RunningServer, form: str, more: int) -> None:
    stream = f"cut_{form[12:]}_{more}"
    body = EVENT.replace(b"bodies", stream.encode()) + b"\n"
    body = body * 3 if form == "application/x-ndjson" else body  # whole lines
    with connect(server, f"Content-Length: {len(body) + more}", body, form=form) as sock:
        sock.shutdown(socket.SHUT_WR)
        answer = everything(sock)
    headers = {"Authorization": f"Bearer {server.workspace_key}"}
    found = requests.get(f"{server.base_url}/v1/streams/call/{stream}", headers=headers, timeout=10)
    if more:
        assert answer.startswith(b"HTTP/1.1 400 "), answer
        assert b"\r\nConnection: close\r\n" in answer
        assert b"shorter than its announced length" in answer
        assert found.status_code == 404
    else:
        assert answer.startswith(b"HTTP/1.1 202 "), answer
        assert found.status_code == 200


def test_a_stranger_is_refused_before_the_body_and_cannot_hold_the_connection(server: RunningServer) -> None:
    began = time.monotonic()
    with connect(server, "Content-Length: 4000000", b"{", key="sk_unknown") as sock:
        answer = everything(sock)
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"\r\nConnection: close\r\n" in answer  # or a client would send its next request here
    assert time.monotonic() - began < START_SECONDS  # the answer at once, then a moment for the client to read it


def test_a_compressed_body_is_refused(server: RunningServer) -> None:
    headers = {"Authorization": f"Bearer {server.workspace_key}", "Content-Encoding": "gzip"}
    answer = requests.post(f"{server.base_url}/v1/events", headers=headers, json={}, timeout=10)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert "gzip" in answer.json()["detail"]


def test_bodies_that_do_not_come_end_by_themselves_and_hold_up_nobody(server: RunningServer) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(server, "Content-Length: 100", b"{")) for _ in range(100)]
        assert requests.get(f"{server.base_url}/healthz", timeout=5).status_code == 200
        answers = [everything(sock) for sock in slow]
    assert {answer.split(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 408 REQUEST TIMEOUT"}


def test_one_key_cannot_have_any_number_of_bodies_arriving(server: RunningServer) -> None:
    with ExitStack() as stack:
        for _ in range(16):
            stack.enter_context(connect(server, "Content-Length: 4194304", b"{"))
        with connect(server, "Content-Length: 4194304", b"{") as sock:
            assert everything(sock).startswith(b"HTTP/1.1 429 ")


def test_a_doubled_slash_is_another_path(server: RunningServer) -> None:
    with socket.create_connection((urlsplit(server.base_url).hostname, urlsplit(server.base_url).port), 10) as sock:
        sock.sendall(b"GET //metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert everything(sock).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"nonsense\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 20_000 + b"\r\n\r\n", 431, "headers_too_large"),
    ],
    ids=["no request line", "a header without end"],
)
def test_what_the_server_refuses_itself_has_the_form_of_every_error(
    server: RunningServer, raw: bytes, status: int, code: str
) -> None:
    with socket.create_connection((urlsplit(server.base_url).hostname, urlsplit(server.base_url).port), 10) as sock:
        sock.sendall(raw)
        head, _, body = everything(sock).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Type: application/problem+json" in head
    assert (json.loads(body)["status"], json.loads(body)["code"]) == (status, code)


def test_a_connection_is_kept_behind_requests_without_a_body_and_with_one_that_was_read(server: RunningServer) -> None:
    last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with connect(server, f"Content-Length: {len(EVENT)}", EVENT + NEXT + last) as sock:
        assert everything(sock).count(b"HTTP/1.1 20") == 3
