"""`twofold listen`: what arrives is printed with the verdict on its signature, and a forgery is refused."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
import requests

from app.cli.listen import Listener
from app.cli.main import main
from app.client.receiving import LARGEST_BODY
from app.core.webhook.signing import new_secret, sign
from tests.processes import free_port

SECRET, OTHER = new_secret(b"s" * 32), new_secret(b"o" * 32)
EVENT = {"id": "evt_1", "type": "call.barge_in", "stream": {"kind": "call", "id": "call_1"}, "seq": 7}
BODY = json.dumps(EVENT).encode()

Start = Callable[[Sequence[str]], str]


@pytest.fixture
def start() -> Iterator[Start]:
    servers: list[Listener] = []

    def begin(secrets: Sequence[str]) -> str:
        server = Listener(0, secrets, None)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


def post(url: str, secret: str, body: bytes = BODY) -> int:
    now = int(time.time())
    headers = {"webhook-id": "evt_1", "webhook-timestamp": str(now)}
    headers["webhook-signature"] = sign([secret], "evt_1", now, body)
    return requests.post(url, data=body, headers=headers, timeout=5).status_code


def test_a_genuine_webhook_is_taken_and_shown(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert post(start([OTHER, SECRET]), SECRET) == 204
    shown = capsys.readouterr().out
    assert "call.barge_in call/call_1 seq 7 evt_1: verified\n" in shown
    assert BODY.decode() in shown


def test_a_repeat_is_named_as_one(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    url = start([SECRET])
    post(url, SECRET)
    post(url, SECRET)
    assert "evt_1, again: verified" in capsys.readouterr().out


def test_a_forged_webhook_is_refused(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert post(start([SECRET]), OTHER) == 400
    assert "NOT VERIFIED" in capsys.readouterr().out


def test_without_a_secret_webhooks_are_taken_and_marked(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert post(start([]), SECRET) == 204
    assert "not verified (no secret known" in capsys.readouterr().out


def test_a_body_that_is_not_an_event_is_shown_too(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    assert post(start([SECRET]), SECRET, b"[1]") == 400
    assert "3 bytes" in capsys.readouterr().out


def test_what_a_stranger_sends_cannot_command_the_terminal(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    forged = json.dumps({**EVENT, "type": "\x1b[2J"}).encode() + b"\x1b[2J"
    assert post(start([SECRET]), OTHER, forged) == 400
    assert "\x1b" not in capsys.readouterr().out


def test_webhooks_are_to_be_had_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    with Listener(0, [SECRET], None, as_json=True) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        post(f"http://127.0.0.1:{server.server_port}/", SECRET)
        server.shutdown()
    told = json.loads(capsys.readouterr().out)
    assert (told["webhook_id"], told["repeat"], told["accepted"], told["verdict"]) == ("evt_1", False, True, "verified")
    assert told["body"] == BODY.decode()


def test_a_body_beyond_the_limit_is_not_read(start: Start) -> None:
    response = requests.post(start([SECRET]), headers={"Content-Length": str(LARGEST_BODY + 1)}, timeout=5)
    assert response.status_code == 413


def test_a_taken_port_is_named(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    port = int(start([]).rsplit(":")[-1].strip("/"))
    assert main(["listen", "--port", str(port)]) == 1
    assert f"twofold: port {port} cannot be used (Address already in use); choose another: --port {port + 1}\n" in (
        capsys.readouterr().err
    )
    assert free_port() != port
