"""One attempt sends one request, whatever the receiver does to the connection. What that costs is told, not hidden."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.delivery.sending.sender import Request, Result, Sender
from tests.delivery.sending.http2_server import (
    HTTP_1_1_REQUIRED,
    REFUSED_STREAM,
    Http2Server,
    go_away,
    ok,
    refuse,
)
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen, answering, then_close
from tests.delivery.sending.test_connections import LOOPBACK, post
from tests.delivery.sending.test_guard import LOCALHOST, LOOPBACK_IP, certificate
from tests.processes import eventually

CLOSED = "the connection was closed before an answer came"


@pytest.fixture
def trusted(tmp_path: Path) -> tuple[str, ssl.SSLContext]:
    return certificate(tmp_path, LOCALHOST, LOOPBACK_IP)


@pytest.fixture
def sender(trusted: tuple[str, ssl.SSLContext]) -> Iterator[Sender]:
    made = Sender(LOOPBACK, total_seconds=10, ca_file=trusted[0])
    yield made
    made.close()


def deliver(sender: Sender, url: str) -> list[Result]:
    """An attempt, and another one if the first says so."""
    results = post(sender, Request(1, url, (), b"{}"))
    if results[0].again:
        results += post(sender, Request(1, url, (), b"{}", own_connection=True))
    return results


def reset(connection: socket.socket) -> None:
    """Have the connection end with a reset when it is closed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("how", [lambda connection: None, reset], ids=["closed", "reset"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_request_that_was_read_is_not_sent_again_in_secret(
    sender: Sender,
    trusted: tuple[str, ssl.SSLContext],
    with_tls: bool,
    how: Callable[[socket.socket], None],
    host: str,
) -> None:
    """The receiver answers the first request on each connection, reads the second and hangs up."""

    def script(server: ScriptedServer, connection: socket.socket, seen: Seen) -> bytes | None:
        if [one.connection for one in server.seen].count(seen.connection) == 1:
            return OK
        how(connection)
        return None

    with ScriptedServer(script, tls=trusted[1] if with_tls else None) as server:
        deliveries = [deliver(sender, server.url.replace("127.0.0.1", host)) for _ in range(20)]
    attempts = [result for results in deliveries for result in results]
    assert len(server.seen) == len(attempts)
    assert all(results[-1].outcome == "success" for results in deliveries)
    lost = [result for result in attempts if result.again]
    assert len(lost) >= 6  # every third attempt meets it
    for result in lost:
        assert (result.outcome, result.status_code, result.error) == ("protocol_error", None, CLOSED)
        assert result.unanswered


def test_a_request_that_was_read_is_not_sent_again_over_another_connection_that_is_there(sender: Sender) -> None:
    both = threading.Barrier(2)

    def script(server: ScriptedServer, _connection: socket.socket, _seen: Seen) -> bytes | None:
        if len(server.seen) > 2:
            return None
        both.wait(10)
        return OK

    with ScriptedServer(script) as server:
        post(sender, *(Request(number, server.url, (), b"{}") for number in (1, 2)))
        assert server.connections == 2
        [result] = post(sender, Request(3, server.url, (), b"{}"))
    assert (result.again, result.unanswered, len(server.seen)) == (True, True, 3)


def test_a_receiver_that_is_gone_after_it_read_the_request_is_no_connect_error(sender: Sender) -> None:
    def script(server: ScriptedServer, connection: socket.socket, _seen: Seen) -> bytes | None:
        if len(server.seen) == 1:
            return OK
        server.stop_listening()
        return None

    with ScriptedServer(script) as server:
        first, second = deliver(sender, server.url)[0], post(sender, Request(1, server.url, (), b"{}"))[0]
    assert (first.outcome, len(server.seen)) == ("success", 2)
    assert (second.outcome, second.error, second.again) == ("protocol_error", CLOSED, True)


def test_a_new_connection_that_is_closed_without_an_answer_is_no_reason_to_go_again(sender: Sender) -> None:
    with ScriptedServer(lambda *_: None) as server:
        [result] = post(sender, Request(1, server.url, (), b"{}"))
    assert (result.outcome, result.again, len(server.seen)) == ("protocol_error", False, 1)
    assert result.unanswered


def test_only_a_request_that_was_sent_and_met_silence_is_unanswered(sender: Sender) -> None:
    def outcome(url: str) -> tuple[str, bool]:
        [result] = post(sender, Request(1, url, (), b"{}"))
        return result.outcome, result.unanswered

    with ScriptedServer(then_close(b"HTTP/1.1 200 OK\r\n")) as server:
        assert outcome(server.url) == ("protocol_error", False)
    assert outcome(server.url) == ("connect_error", False)
    with ScriptedServer(answering(OK)) as server:
        assert outcome(server.url) == ("success", False)


def test_a_request_with_its_own_connection_shares_it_with_none(sender: Sender) -> None:
    with ScriptedServer(answering(OK)) as server:
        for own_connection in (False, False, True, True, False):
            [result] = post(sender, Request(1, server.url, (), b"{}", own_connection=own_connection))
            assert (result.outcome, result.again) == ("success", False)
    assert [seen.connection for seen in server.seen] == [1, 1, 2, 3, 1]


@pytest.mark.parametrize(
    "refusal",
    [
        lambda stream: refuse(stream, REFUSED_STREAM),
        lambda stream: refuse(stream, HTTP_1_1_REQUIRED),
        lambda stream: go_away(0),
        lambda stream: go_away(stream - 2) if stream > 1 else refuse(stream, REFUSED_STREAM),
    ],
    ids=["refused stream", "HTTP/1.1 required", "go away", "go away in the middle"],
)
def test_a_refused_http2_request_is_sent_once_and_then_by_http1(
    sender: Sender, trusted: tuple[str, ssl.SSLContext], refusal: Callable[[int], bytes]
) -> None:
    with Http2Server(lambda _server, _connection, stream: refusal(stream), answering(OK), tls=trusted[1]) as server:
        for _ in range(3):
            refused, delivered = deliver(sender, server.url)
            assert (refused.outcome, refused.status_code, refused.error) == ("protocol_error", None, CLOSED)
            assert (delivered.outcome, delivered.again) == ("success", False)
    assert (len(server.streams), len(server.seen)) == (3, 3)


def test_a_refused_http2_request_leaves_its_neighbours_alone(
    sender: Sender, trusted: tuple[str, ssl.SSLContext]
) -> None:
    """Every fourth stream is refused, in the midst of others on the same connection."""

    def answer(_server: Http2Server, _connection: socket.socket, stream: int) -> bytes:
        return refuse(stream, REFUSED_STREAM) if stream % 8 == 7 else ok(stream)

    with Http2Server(answer, answering(OK), tls=trusted[1]) as server:
        [first] = post(sender, Request(0, server.url, (), b"{}"))
        results = post(sender, *(Request(number, server.url, (), b"{}") for number in range(1, 40)))
    assert (first.outcome, server.connections) == ("success", 1)
    assert len(server.streams) == 40
    assert [result.again for result in results].count(True) == 10
    assert all(result.outcome == "success" or result.again for result in results)


def test_an_http2_connection_that_was_closed_meanwhile_is_replaced(
    sender: Sender, trusted: tuple[str, ssl.SSLContext]
) -> None:
    def answer(_server: Http2Server, connection: socket.socket, stream: int) -> None:
        connection.sendall(ok(stream))

    with Http2Server(answer, answering(OK), tls=trusted[1]) as server:
        for _ in range(5):
            [result] = post(sender, Request(1, server.url, (), b"{}"))
            assert (result.outcome, result.again) == ("success", False)
            eventually(lambda: server.closed == server.connections)
    assert (server.connections, len(server.streams)) == (5, 5)


def test_what_may_be_the_rest_of_an_earlier_answer_is_no_last_word(sender: Sender) -> None:
    """On a connection that was used before; on a new one it is the receiver's own."""

    def script(_server: ScriptedServer, _connection: socket.socket, seen: Seen) -> bytes:
        return OK if seen.connection == 1 and seen.body == b"1" else b"t of an answer\r\n"

    with ScriptedServer(script) as server:
        results = [post(sender, Request(1, server.url, (), body))[0] for body in (b"1", b"2", b"3")]
    assert [(result.outcome, result.again) for result in results] == [
        ("success", False),
        ("protocol_error", True),
        ("protocol_error", False),
    ]
    assert results[1].error == results[2].error == "the answer is not HTTP: it does not begin with a status line"
