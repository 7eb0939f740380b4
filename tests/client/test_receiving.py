"""The receiver for trying things out: it takes complete POSTs, one after the other, and survives everything else."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from app.client.receiving import LARGEST_BODY, Take, WebhookServer
from tests.processes import eventually

Start = Callable[[Take], int]


@pytest.fixture
def start() -> Iterator[Start]:
    servers: list[WebhookServer] = []

    def begin(take: Take) -> int:
        server = WebhookServer(0, take)
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        return server.server_port

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


def test_each_post_is_answered_as_told_on_one_connection(start: Start) -> None:
    taken: list[tuple[str, bytes]] = []

    def take(headers: dict[str, str], body: bytes) -> int:
        taken.append((headers["webhook-id"], body))
        return 204 if body else 400

    connection = http.client.HTTPConnection("127.0.0.1", start(take), timeout=5)
    for body, status in ((b"{}", 204), (b"", 400)):
        connection.request("POST", "/", body, {"Webhook-Id": "evt_1"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    assert taken == [("evt_1", b"{}"), ("evt_1", b"")]
    connection.close()


@pytest.mark.parametrize("length", [None, "x", "-1", "²", str(LARGEST_BODY + 1)])
def test_a_body_without_a_usable_length_is_not_read(start: Start, length: str | None) -> None:
    port = start(lambda headers, body: pytest.fail("was taken"))
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        header = "" if length is None else f"Content-Length: {length}\r\n"
        connection.sendall(f"POST / HTTP/1.1\r\nHost: x\r\n{header}\r\n".encode("latin-1"))
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


def test_a_sender_that_is_cut_off_is_no_webhook_and_disturbs_nobody(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    taken: list[bytes] = []
    port = start(lambda headers, body: taken.append(body) or 204)  # type: ignore[func-returns-value]
    for left in (b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf", b""):
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(left)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(1) == b""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("POST", "/", b"whole")
    assert connection.getresponse().status == 204
    connection.close()
    eventually(lambda: taken == [b"whole"])
    assert capfd.readouterr().err == ""
