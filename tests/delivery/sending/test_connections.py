"""Many transfers at once, over connections and handles that are used again and share nothing but that."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from socket import create_server, socket

import pytest

from app.delivery.sending.sender import Request, Result, Sender, standing_seconds
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen, answering, then_stall
from tests.delivery.sending.test_guard import LOOPBACK_IP, certificate
from tests.processes import eventually

LOOPBACK = (ip_network("127.0.0.0/8"),)


@pytest.fixture
def sender() -> Iterator[Sender]:
    made = Sender(LOOPBACK, total_seconds=10)
    yield made
    made.close()


def post(sender: Sender, *requests: Request) -> list[Result]:
    """Send all at once; the results in the order of the requests."""
    for request in requests:
        sender.add(request)
    results: dict[object, Result] = {}
    until = time.monotonic() + 20
    while sender.in_flight and time.monotonic() < until:
        results |= {result.key: result for result in sender.poll(1)}
    return [results[request.key] for request in requests]


def test_requests_one_after_the_other_share_one_connection(sender: Sender) -> None:
    with ScriptedServer(answering(OK)) as server:
        for number in range(20):
            [result] = post(sender, Request(number, server.url, (), b"{}"))
            assert (result.outcome, result.remote_address) == ("success", "127.0.0.1")
    assert (server.connections, len(server.seen)) == (1, 20)


def test_what_is_too_late_when_its_connection_is_there_is_not_sent(sender: Sender) -> None:
    """As when this process stood still after it had begun."""
    with ScriptedServer(answering(OK)) as server:
        for number in range(2):  # over a new connection, and over one that is there
            [late] = post(sender, Request(number, server.url, (), b"late", send_until=standing_seconds() - 1))
            assert (late.withheld, late.outcome, late.unanswered) == (True, "protocol_error", False)
            [sent] = post(sender, Request(number, server.url, (), b"{}", send_until=standing_seconds() + 60))
            assert (sent.withheld, sent.outcome) == (False, "success")
    assert [seen.body for seen in server.seen] == [b"{}", b"{}"]


def test_requests_share_a_connection_while_hundreds_of_others_hang(sender: Sender) -> None:
    with create_server(("127.0.0.1", 0), backlog=4096) as hanging, ScriptedServer(answering(OK)) as server:
        for number in range(900):
            sender.add(Request(f"hangs {number}", f"http://127.0.0.1:{hanging.getsockname()[1]}/", (), b"{}"))
        for number in range(20):
            sender.add(Request(number, server.url, (), b"{}"))
            results: list[Result] = []
            until = time.monotonic() + 20
            while not results and time.monotonic() < until:
                results = sender.poll(1)
            assert [result.key for result in results] == [number]
    assert (server.connections, len(server.seen)) == (1, 20)


def test_nothing_of_a_request_is_left_for_the_next(sender: Sender) -> None:
    replies = [
        OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b; Path=/\r\nRetry-After: 5\r\nX-Only: first\r\n\r\n"),
        b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 4\r\n\r\nbody",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    ]
    with ScriptedServer(answering(*replies)) as server:
        secret = (("Authorization", "Bearer secret"), ("Content-Type", "text/plain"), ("X-Mine", "1"))
        [first] = post(sender, Request(1, server.url + "?one", secret, b"x" * 100_000))
        [second] = post(sender, Request(2, server.url + "?two", (("X-Yours", "2"),), b"{}"))
        [third] = post(sender, Request(3, server.url, (), b""))
    assert server.connections == 1
    common = ["Accept: */*", f"Host: 127.0.0.1:{server.port}", "User-Agent: Twofold/1.0 (webhooks)"]
    json = "Content-Type: application/json"
    assert sorted(server.seen[1].head) == sorted(
        ["POST /hook?two HTTP/1.1", *common, json, "Content-Length: 2", "X-Yours: 2"]
    )
    assert sorted(server.seen[2].head) == sorted(["POST /hook HTTP/1.1", *common, json, "Content-Length: 0"])
    assert [seen.body for seen in server.seen[1:]] == [b"{}", b""]
    assert (first.retry_after, second.retry_after, third.retry_after) == ("5", None, None)
    assert (second.status_code, second.response_body) == (401, b"body")
    assert (third.status_code, third.response_body, third.response_headers) == (204, b"", [])


def test_a_handle_that_failed_serves_the_next_request(sender: Sender) -> None:
    urls = ["http://10.0.0.1/", "http://127.0.0.1:1/", "http://no-such-host.invalid/", "ftp://x/"]
    outcomes = ["blocked_address", "connect_error", "dns_error", "protocol_error"]
    with ScriptedServer(answering(OK)) as server:
        for url, outcome in zip(urls, outcomes, strict=True):
            assert [result.outcome for result in post(sender, Request(1, url, (), b"{}"))] == [outcome]
            [result] = post(sender, Request(2, server.url, (), b"{}"))
            assert (result.outcome, result.error, result.remote_address) == ("success", None, "127.0.0.1")


def test_a_thousand_requests_with_200_in_flight(sender: Sender) -> None:
    waiting, most = 0, 0
    lock = threading.Lock()

    def script(server: ScriptedServer, _connection: socket, seen: Seen) -> bytes:
        nonlocal waiting, most
        with lock:
            waiting += 1
            most = max(most, waiting)
        server.over.wait(0.005)  # it has work to do
        with lock:
            waiting -= 1
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(seen.body), seen.body)

    files = len(os.listdir("/proc/self/fd"))
    results: list[Result] = []
    with ScriptedServer(script) as server:
        added, until = 0, time.monotonic() + 30
        while len(results) < 1000 and time.monotonic() < until:
            while added < 1000 and sender.in_flight < 200:
                sender.add(Request(added, server.url, (("X-Number", str(added)),), b"body %d" % added))
                added += 1
            results += sender.poll(1)
        connections = server.connections
        sender.close()
    assert sorted(result.key for result in results) == list(range(1000))  # type: ignore[type-var]
    assert {result.outcome for result in results} == {"success"}
    assert all(result.response_body == b"body %d" % result.key for result in results)  # type: ignore[str-bytes-safe]
    assert all(seen.body == f"body {seen.header('x-number')}".encode() for seen in server.seen)
    assert 1 < most <= 200
    assert connections <= 200
    assert len(os.listdir("/proc/self/fd")) <= files


def test_servers_that_hang_do_not_hold_up_the_others() -> None:
    sender = Sender(LOOPBACK, total_seconds=1)
    with ScriptedServer(then_stall(b"")) as hanging, ScriptedServer(answering(OK)) as server:
        for number in range(100):
            sender.add(Request(("hanging", number), hanging.url, (), b"{}"))
        done: list[Result] = []
        for number in range(100):
            sender.add(Request(number, server.url, (), b"{}"))
            done += sender.poll(0.5)
        quick = [result for result in done if result.outcome == "success"]
        assert len(quick) >= 99
        assert sorted(result.duration_seconds for result in quick)[90] < 0.2
        until = time.monotonic() + 10
        while sender.in_flight and time.monotonic() < until:
            done += sender.poll(1)
        sender.close()
    assert len([result for result in done if result.outcome == "timeout"]) == 100
    assert len(done) == 200


def test_a_connection_that_the_server_closed_meanwhile_is_replaced(sender: Sender) -> None:
    def script(_server: ScriptedServer, connection: socket, _seen: Seen) -> None:
        connection.sendall(OK)  # promises to stay, and closes

    with ScriptedServer(script) as server:
        for number in range(20):
            [result] = post(sender, Request(number, server.url, (), b"{}"))
            assert result.outcome == "success"
            eventually(lambda: server.closed == server.connections)
    assert (server.connections, len(server.seen)) == (20, 20)


@pytest.mark.parametrize("protocols", [None, ["http/1.1"]], ids=["without TLS", "TLS"])
def test_requests_to_a_new_receiver_do_not_wait_for_its_first_answer(
    protocols: list[str] | None, tmp_path: Path
) -> None:
    ca_file, context = None, None
    if protocols:
        ca_file, context = certificate(tmp_path, LOOPBACK_IP)
        context.set_alpn_protocols(protocols)
    sender = Sender(LOOPBACK, ca_file=ca_file)
    with ScriptedServer(then_stall(b""), tls=context) as server:
        for number in range(3):
            sender.add(Request(number, server.url, (), b"{}"))
        until = time.monotonic() + 5
        while len(server.seen) < 3 and time.monotonic() < until:
            sender.poll(0.02)
        sender.close()
        assert len(server.seen) == 3
