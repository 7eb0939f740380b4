"""The API as gunicorn serves it: what a test client cannot show."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import requests

from tests.processes import RunningServer

MIB = 2**20


def ask(server: RunningServer, method: str, path: str, **options: object) -> requests.Response:
    headers = {"Authorization": f"Bearer {server.keys.workspace_key}", **options.pop("headers", {})}  # type: ignore[dict-item]
    return requests.request(method, server.base_url + path, headers=headers, timeout=20, **options)  # type: ignore[arg-type]


def test_a_chunked_body_is_read_and_an_endless_one_is_refused(server: RunningServer) -> None:
    body = json.dumps({"url": "http://127.0.0.1:9/"}).encode()
    json_type = {"Content-Type": "application/json"}
    made = ask(server, "POST", "/v1/endpoints", data=iter([body[:5], body[5:]]), headers=json_type)
    assert made.status_code == 201
    ask(server, "DELETE", f"/v1/endpoints/{made.json()['id']}")
    refused = ask(server, "POST", "/v1/endpoints", data=(b" " * MIB for _ in range(3)), headers=json_type)
    assert refused.status_code == 413
    assert refused.json()["code"] == "too_large"


def test_a_body_that_stops_short_is_a_problem_of_the_callers(server: RunningServer) -> None:
    host, port = server.base_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as sock:
        sock.sendall(
            b"POST /v1/endpoints HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
            + f"Authorization: Bearer {server.keys.workspace_key}\r\n\r\n".encode()
            + b'{"url":'
        )
        sock.shutdown(socket.SHUT_WR)
        answer = sock.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer
    assert "Traceback" not in server.web.log_text()


def test_a_burst_of_repeats_of_one_request_has_one_effect(server: RunningServer) -> None:
    body = {"name": "burst", "scopes": ["publish"]}
    with ThreadPoolExecutor(32) as pool:
        answers = list(
            pool.map(
                lambda _: ask(server, "POST", "/v1/keys", json=body, headers={"Idempotency-Key": "burst"}), range(64)
            )
        )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    listed = ask(server, "GET", "/v1/keys").json()["data"]
    assert [key["name"] for key in listed].count("burst") == 1


def test_no_query_string_and_no_key_reaches_the_log(server: RunningServer) -> None:
    ask(server, "GET", "/v1/streams?kind=swordfish")
    ask(server, "GET", "/v1/nothing?token=swordfish")
    log = server.web.log_text()
    assert "/v1/streams" in log
    assert "swordfish" not in log
    assert server.keys.workspace_key not in log
