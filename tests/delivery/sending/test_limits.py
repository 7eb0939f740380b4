"""What a receiver can make one attempt take: little, for a short time, whatever it sends and in whatever form."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from app.delivery.sending.sender import Request, Result, Sender
from tests.delivery.sending.http2_server import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    STATUS_200,
    WINDOW_UPDATE,
    Http2Server,
    frame,
    ok,
)
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen, answering, then_stall
from tests.delivery.sending.test_connections import LOOPBACK, post
from tests.delivery.sending.test_guard import LOOPBACK_IP, certificate
from tests.processes import eventually

TOTAL_SECONDS = 4.0
MOST_TAKEN_BYTES = 256 * 1024
MOST_GROWTH_BYTES = 5 * 2**20

OK_LINE = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK_LINE + b"Transfer-Encoding: chunked\r\n\r\n"

# What is sent first, what follows without end, and the status that stands in the log.
HTTP1_FLOODS: dict[str, tuple[bytes, bytes, int | None]] = {
    "an endless chunk extension": (CHUNKED + b"1;", b"x" * 65_536, 200),
    "endless chunk extensions": (CHUNKED, (b"1;" + b"x" * 900 + b"\r\na\r\n") * 70, 200),
    "many extensions of one chunk": (CHUNKED + b"1", b";a=b" * 16_384, 200),
    "chunks of one byte": (CHUNKED, b"1\r\nx\r\n" * 10_000, 200),
    "an endless chunk length": (CHUNKED, b"0" * 65_536, 200),
    "trailers": (CHUNKED + b"0\r\n", b"X-Trailer: aaaaaaaaaaaaaaa\r\n" * 2000, 200),
    "an endless trailer": (CHUNKED + b"0\r\nX: ", b"a" * 65_536, 200),
    "a body": (OK_LINE + b"\r\n", b"b" * 65_536, 200),
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2500, None),
    "an endless status line": (b"HTTP/1.1 200 ", b"a" * 65_536, None),
    "headers": (OK_LINE, b"a:\r\n" * 16_384, None),
    "an endless header": (OK_LINE + b"A: ", b"b" * 65_536, None),
    "folded lines of blanks": (OK_LINE + b"A: b\r\n", b" \r\n" * 16_384, None),
    "no HTTP": (b"", b"a" * 65_536, None),
    "blank lines": (b"", b"\r\n" * 32_768, None),
}

HEAD = frame(HEADERS, END_HEADERS, 1, STATUS_200)
HTTP2_FLOODS: dict[str, tuple[bytes, bytes, int | None]] = {
    "padding": (HEAD, frame(DATA, PADDED, 1, b"\xff" + bytes(255)) * 200, 200),
    "empty data": (HEAD, frame(DATA, 0, 1) * 5000, 200),
    "a body": (HEAD, frame(DATA, 0, 1, b"x" * 16_000) * 4, 200),
    "window updates": (HEAD, frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 5000, 200),
    "window updates of the stream": (HEAD, frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\1") * 5000, 200),
    "window updates before the head": (b"", frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 5000, None),
    "pings": (HEAD, frame(PING, 0, 0, b"12345678") * 3000, 200),
    "answers to no ping": (HEAD, frame(PING, ACK, 0, b"12345678") * 3000, 200),
    "settings": (HEAD, frame(SETTINGS, 0, 0) * 5000, 200),
    "priorities": (HEAD, frame(PRIORITY, 0, 1, b"\0\0\0\0\1") * 4000, 200),
    "unknown frames": (HEAD, frame(0x55, 0, 0, b"x" * 16_000) * 4, 200),
    "unknown frames before the head": (b"", frame(0x55, 0, 0, b"x" * 16_000) * 4, None),
    "goodbyes": (HEAD, frame(GOAWAY, 0, 0, b"\0\0\0\1\0\0\0\0" + b"x" * 100) * 500, 200),
    "refusals of other streams": (HEAD, frame(RST_STREAM, 0, 3, b"\0\0\0\1") * 3000, 200),
    "interim answers": (b"", frame(HEADERS, END_HEADERS, 1, b"\x08\x03103") * 4000, None),
    "continuations": (frame(HEADERS, 0, 1, STATUS_200), frame(CONTINUATION, 0, 1, STATUS_200 * 16) * 2000, None),
    "trailers": (HEAD, frame(HEADERS, END_HEADERS, 1, b"\x00\x01a\x01b") * 3000, 200),
}

TLS_FLOODS = {
    "changes of the cipher": b"\x14\x03\x03\x00\x01\x01" * 10_000,
    "warnings": b"\x15\x03\x03\x00\x02\x01\x5a" * 9000,
    "an endless handshake message": b"\x16\x03\x03\x40\x00" + b"\x02\xff\xff\xff" + bytes(16_380),
    "empty handshake records": b"\x16\x03\x03\x00\x00" * 12_000,
}


class Flood:
    """Sends without end to whoever has sent a request, and knows how much of it was taken."""

    def __init__(self, first: bytes, rest: bytes) -> None:
        self._first, self._rest = first, rest
        self.taken_bytes = 0

    def __call__(self, _server: object, connection: socket.socket, _request: object) -> None:
        before = acknowledged_bytes(connection)
        with suppress(OSError):
            connection.sendall(self._first)
            while True:
                connection.sendall(self._rest)
        self.taken_bytes += acknowledged_bytes(connection) - before


class HandshakeFlood(ScriptedServer):
    """Floods where a TLS handshake is expected."""

    def converse(self, connection: socket.socket, number: int) -> None:
        connection.recv(65_536)
        self.flood(self, connection, None)

    flood: Flood


def acknowledged_bytes(connection: socket.socket) -> int:
    """How much the other side's kernel has taken: tcpi_bytes_acked of linux/tcp.h."""
    information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
    return int(struct.unpack_from("=Q", information, 120)[0])


def resident_bytes() -> int:
    """Of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def trusted(tmp_path: Path) -> tuple[str, ssl.SSLContext]:
    return certificate(tmp_path, LOOPBACK_IP)


@pytest.fixture
def sender(trusted: tuple[str, ssl.SSLContext]) -> Iterator[Sender]:
    made = Sender(LOOPBACK, TOTAL_SECONDS, 2, ca_file=trusted[0])
    yield made
    made.close()


def check(sender: Sender, server: ScriptedServer, flood: Flood, url: str | None = None) -> Result:
    """Post once into a flood, and to a healthy receiver beside it."""
    before_bytes = resident_bytes()
    with server, ScriptedServer(answering(OK)) as healthy:
        started = time.monotonic()
        result, *others = post(
            sender,
            Request("flooded", url or server.url, (), b"{}"),
            *(Request(number, healthy.url, (), b"{}") for number in range(10)),
        )
        seconds = time.monotonic() - started
        grown_bytes = resident_bytes() - before_bytes
    assert {other.outcome for other in others} == {"success"}
    assert seconds < TOTAL_SECONDS + 0.5
    assert 0 < flood.taken_bytes < MOST_TAKEN_BYTES
    assert grown_bytes < MOST_GROWTH_BYTES
    assert not result.again
    return result


def judge(result: Result, status_code: int | None) -> None:
    assert (result.status_code, result.outcome) == (status_code, "success" if status_code else "protocol_error")
    assert result.error or (result.status_code and len(result.response_body) == 16 * 1024)  # or cut, as it may be


@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize(("first", "rest", "status_code"), HTTP1_FLOODS.values(), ids=HTTP1_FLOODS)
def test_an_http1_flood_is_broken_off(
    sender: Sender,
    trusted: tuple[str, ssl.SSLContext],
    first: bytes,
    rest: bytes,
    status_code: int | None,
    with_tls: bool,
) -> None:
    flood = Flood(first, rest)
    judge(check(sender, ScriptedServer(flood, tls=trusted[1] if with_tls else None), flood), status_code)


@pytest.mark.parametrize(("first", "rest", "status_code"), HTTP2_FLOODS.values(), ids=HTTP2_FLOODS)
def test_an_http2_flood_is_broken_off(
    sender: Sender, trusted: tuple[str, ssl.SSLContext], first: bytes, rest: bytes, status_code: int | None
) -> None:
    flood = Flood(first, rest)
    judge(check(sender, Http2Server(flood, answering(OK), tls=trusted[1]), flood), status_code)


@pytest.mark.parametrize("name", ["continuations", "settings"])
def test_a_flood_that_goes_on_after_the_result_is_cut(
    sender: Sender, trusted: tuple[str, ssl.SSLContext], name: str
) -> None:
    """libcurl would end TLS in good order, for which it reads on: 15 MB a second."""
    first, rest, _ = HTTP2_FLOODS[name]
    flood = Flood(first, rest)
    with Http2Server(flood, answering(OK), tls=trusted[1]) as server, ScriptedServer(answering(OK)) as healthy:
        post(sender, Request("flooded", server.url, (), b"{}"))

        def is_over() -> bool:
            [result] = post(sender, Request("healthy", healthy.url, (), b"{}"))
            return result.outcome == "success" and server.closed == server.connections

        eventually(is_over)
    assert 0 < flood.taken_bytes < MOST_TAKEN_BYTES


@pytest.mark.parametrize("records", TLS_FLOODS.values(), ids=TLS_FLOODS)
def test_a_flood_instead_of_a_handshake_is_broken_off(sender: Sender, records: bytes) -> None:
    server = HandshakeFlood(answering(OK))
    server.flood = flood = Flood(b"", records)
    result = check(sender, server, flood, server.url.replace("http:", "https:"))
    assert (result.status_code, result.remote_address) == (None, "127.0.0.1")
    assert result.outcome in ("tls_error", "protocol_error")


def test_a_connection_that_was_used_before_has_the_same_limits(sender: Sender) -> None:
    flood = Flood(CHUNKED + b"1;", b"x" * 65_536)

    def script(server: ScriptedServer, connection: socket.socket, seen: Seen) -> bytes | None:
        return OK if len(server.seen) <= 50 else flood(server, connection, seen)

    server = ScriptedServer(script)
    with server:
        for _ in range(50):
            post(sender, Request(1, server.url, (), b"{}"))
        [result] = post(sender, Request(1, server.url, (), b"{}"))
    assert (result.status_code, server.connections) == (200, 1)
    assert 0 < flood.taken_bytes < MOST_TAKEN_BYTES


def test_requests_that_share_a_connection_with_a_flood_do_not_leave_it_their_allowance(
    sender: Sender, trusted: tuple[str, ssl.SSLContext]
) -> None:
    """A hundred small answers over HTTP/2, while one more hangs on the same connection and is then flooded."""
    flood = Flood(frame(HEADERS, END_HEADERS, 3, STATUS_200), frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 5000)

    def answer(server: Http2Server, connection: socket.socket, stream: int) -> bytes | None:
        if stream == 3:
            return b""
        return ok(stream) if len(server.streams) < 102 else flood(server, connection, stream)

    with Http2Server(answer, answering(OK), tls=trusted[1]) as server:
        post(sender, Request("first", server.url, (), b"{}"))
        sender.add(Request("hangs", server.url, (), b"{}"))
        results: dict[object, Result] = {}
        for number in range(100):
            sender.add(Request(number, server.url, (), b"{}"))
            while number not in results and "hangs" not in results:
                results |= {result.key: result for result in sender.poll(1)}
        while sender.in_flight:
            results |= {result.key: result for result in sender.poll(1)}
    assert server.connections == 1
    assert results["hangs"].status_code == 200
    assert [results[number].outcome for number in range(99)] == ["success"] * 99
    assert 0 < flood.taken_bytes < 2 * MOST_TAKEN_BYTES  # two attempts were under way


def dribble(server: ScriptedServer, connection: socket.socket, _seen: Seen) -> None:
    with suppress(OSError):
        connection.sendall(CHUNKED)
        while not server.over.wait(0.05):
            connection.sendall(b"1\r\nx\r\n")


def dribble_frames(server: Http2Server, connection: socket.socket, stream: int) -> None:
    with suppress(OSError):
        connection.sendall(frame(HEADERS, END_HEADERS, stream, STATUS_200))
        while not server.over.wait(0.05):
            connection.sendall(frame(DATA, 0, stream, b"x"))


def test_a_body_has_two_seconds_once_the_head_is_complete(trusted: tuple[str, ssl.SSLContext]) -> None:
    sender = Sender(LOOPBACK, 15, ca_file=trusted[0])
    stalled = then_stall(OK_LINE + b"Content-Length: 10\r\n\r\nhalf")
    with (
        ScriptedServer(stalled) as plain,
        ScriptedServer(dribble) as dribbling,
        ScriptedServer(stalled, tls=trusted[1]) as secure,
        Http2Server(dribble_frames, answering(OK), tls=certificate_of(trusted)) as second,
    ):
        urls = [server.url for server in (plain, dribbling, secure, second)]
        results = post(sender, *(Request(url, url, (), b"{}") for url in urls))
        for result in results:
            assert (result.outcome, result.status_code) == ("success", 200)
            assert result.error == "the body of the answer was not complete: it took more than 2 seconds"
            assert 2 <= result.duration_seconds < 3
    sender.close()


def certificate_of(trusted: tuple[str, ssl.SSLContext]) -> ssl.SSLContext:
    """A context of its own with the same certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted[0])
    return context


def test_a_late_body_leaves_its_neighbours_on_the_connection_alone(trusted: tuple[str, ssl.SSLContext]) -> None:
    sender = Sender(LOOPBACK, 15, ca_file=trusted[0])

    def answer(_server: Http2Server, _connection: socket.socket, stream: int) -> bytes:
        return frame(HEADERS, END_HEADERS, stream, STATUS_200) if stream == 3 else ok(stream)

    with Http2Server(answer, answering(OK), tls=trusted[1]) as server:
        post(sender, Request("first", server.url, (), b"{}"))
        sender.add(Request("late", server.url, (), b"{}"))
        results: dict[object, Result] = {}
        number = 0
        while "late" not in results:
            number += 1
            sender.add(Request(number, server.url, (), b"{}"))
            while number not in results:
                results |= {result.key: result for result in sender.poll(1)}
        post(sender, Request("last", server.url, (), b"{}"))
    sender.close()
    assert "it took more than 2 seconds" in (results.pop("late").error or "")
    assert {result.error for result in results.values()} == {None}
    assert server.connections == 1
