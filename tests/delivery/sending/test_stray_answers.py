"""A receiver that sends more than one answer to a request gets nobody else's attempt wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network
from pathlib import Path
from socket import socket

import pytest

from app.delivery.sending.sender import Request, Sender
from tests.delivery.sending.scripted_server import ScriptedServer, Seen
from tests.delivery.sending.test_guard import LOOPBACK_IP, certificate

LOOPBACK = (ip_network("127.0.0.0/8"),)
ROUNDS = 12
STRAY = b"HTTP/1.1 200 OK\r\nX-Request: stray\r\nContent-Length: 2\r\n\r\nok"


def answer_to(body: bytes) -> bytes:
    """An answer that names the request which it belongs to; each third one is a failure."""
    status = b"500 No" if int(body) % 3 == 0 else b"200 OK"
    return b"HTTP/1.1 %b\r\nX-Request: %b\r\nContent-Length: 2\r\n\r\nok" % (status, body)


def stray_after(seconds: float | None, sent: threading.Semaphore) -> Callable[[ScriptedServer, socket, Seen], bytes]:
    """A script whose every answer is followed by a stray one: in the same piece (None), or so much later; sent: counts
    those."""

    def script(_server: ScriptedServer, connection: socket, seen: Seen) -> bytes:
        if seconds is None:
            return answer_to(seen.body) + STRAY
        threading.Timer(seconds, send_stray, (connection, sent)).start()
        return answer_to(seen.body)

    return script


def send_stray(connection: socket, sent: threading.Semaphore) -> None:
    with suppress(OSError):  # closed by the sender meanwhile, as it should be
        connection.sendall(STRAY)
    sent.release()


CASES = [("http", None), ("http", 0.01), ("http", 0.1), ("https", None), ("https", 0.1)]


@pytest.mark.parametrize(("scheme", "seconds"), CASES)
def test_a_stray_answer_belongs_to_nobody(scheme: str, seconds: float | None, tmp_path: Path) -> None:
    """Of 28 attempts of a trial 24 took answers that were not theirs, and 6 failures counted as delivered."""
    ca_file, context = certificate(tmp_path, LOOPBACK_IP) if scheme == "https" else (None, None)
    sent = threading.Semaphore(0)
    sender = Sender(LOOPBACK, total_seconds=5, ca_file=ca_file)
    try:
        with ScriptedServer(stray_after(seconds, sent), tls=context) as server:
            for number in range(ROUNDS):
                sender.add(Request(number, server.url, (), str(number).encode()))
                [result] = sender.poll(10)
                assert dict(result.response_headers).get("X-Request") == str(number), result
                assert result.outcome == ("http_error" if number % 3 == 0 else "success")
                if seconds is not None:  # the stray answer is to be there before the next request
                    assert sent.acquire(timeout=10)
                    time.sleep(0.01)
    finally:
        sender.close()
