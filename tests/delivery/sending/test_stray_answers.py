"""A receiver that sends answers nobody asked for: none of them is taken for the answer to the next request."""

from __future__ import annotations

import select
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from socket import socket

import pytest

from app.delivery.sending.sender import Request, Result, Sender
from tests.delivery.sending.scripted_server import ScriptedServer, Seen
from tests.delivery.sending.test_connections import LOOPBACK
from tests.delivery.sending.test_guard import LOOPBACK_IP, certificate
from tests.processes import eventually

STRAY = b"HTTP/1.1 200 OK\r\nX-For: nobody\r\nContent-Length: 5\r\n\r\nstray"
HALF = len(STRAY) // 2


def head(seen: Seen, length: int = 2) -> bytes:
    """Every honest answer refuses the delivery and says which one."""
    return b"HTTP/1.1 500 No\r\nX-For: %b\r\nContent-Length: %d\r\n\r\n" % (seen.body, length)


def chunked(seen: Seen) -> bytes:
    return b"HTTP/1.1 500 No\r\nX-For: %b\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n" % seen.body


# What is sent for a request, piece by piece, each in a segment and TLS record of its own.
SHAPES: dict[str, Callable[[Seen], tuple[bytes, ...]]] = {
    "with the whole answer": lambda seen: (head(seen) + b"ok" + STRAY,),
    "with a head that has no body": lambda seen: (head(seen, 0) + STRAY,),
    "with the end of the body": lambda seen: (head(seen), b"ok" + STRAY),
    "with the last byte of the body": lambda seen: (head(seen) + b"o", b"k" + STRAY),
    "with the last record of a large body": lambda seen: (head(seen, 40_000), b"x" * 30_000, b"x" * 10_000 + STRAY),
    "after the answer": lambda seen: (head(seen) + b"ok", STRAY),
    "after the body": lambda seen: (head(seen), b"ok", STRAY),
    "with the last chunk": lambda seen: (chunked(seen), b"0\r\n\r\n" + STRAY),
    "after the last chunk": lambda seen: (chunked(seen), b"0\r\n\r\n", STRAY),
    "twice": lambda seen: (head(seen), b"ok" + STRAY, STRAY),
    "in halves": lambda seen: (head(seen), b"ok" + STRAY[:HALF], STRAY[HALF:]),
    "as an interim answer": lambda seen: (head(seen), b"ok" + b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "as something else": lambda seen: (head(seen), b"ok" + b"no answer at all\r\n"),
}


class StrayServer(ScriptedServer):
    """Counts the requests that it has answered, strays included."""

    answered = 0


def all_at_once(shape: Callable[[Seen], tuple[bytes, ...]]) -> Callable[[ScriptedServer, socket, Seen], bytes]:
    def script(server: ScriptedServer, connection: socket, seen: Seen) -> bytes:
        assert isinstance(server, StrayServer)
        with suppress(OSError):  # whoever has noticed hangs up
            for piece in shape(seen):
                connection.sendall(piece)
        server.answered += 1
        return b""

    return script


def later(seconds: float) -> Callable[[ScriptedServer, socket, Seen], bytes]:
    """Sends the stray answer after this time, unless the next request comes before."""

    def script(server: ScriptedServer, connection: socket, seen: Seen) -> bytes:
        assert isinstance(server, StrayServer)
        connection.sendall(head(seen) + b"ok")
        if not select.select([connection], [], [], seconds)[0]:
            connection.sendall(STRAY)
        server.answered += 1
        return b""

    return script


@pytest.fixture(params=[None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["plain", "TLS 1.2", "TLS 1.3"])
def tls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str | None, ssl.SSLContext | None]:
    if request.param is None:
        return None, None
    ca_file, context = certificate(tmp_path, LOOPBACK_IP)
    context.minimum_version = context.maximum_version = request.param
    return ca_file, context


@pytest.fixture
def sender(tls: tuple[str | None, ssl.SSLContext | None]) -> Iterator[Sender]:
    made = Sender(LOOPBACK, total_seconds=10, ca_file=tls[0])
    yield made
    made.close()


def deliver(sender: Sender, server: StrayServer, number: int) -> list[Result]:
    """One delivery: an attempt, and another one if the first says so. Returns when all that follows it was sent."""
    results: list[Result] = []
    while not results or results[-1].again:
        sender.add(Request(number, server.url, (), str(number).encode(), own_connection=bool(results)))
        results += sender.poll(20)
        eventually(lambda: server.answered == len(server.seen))
    return results


def check(sender: Sender, server: StrayServer, count: int) -> None:
    attempts = 0
    for number in range(count):
        results = deliver(sender, server, number)
        attempts += len(results)
        for result in results[:-1]:  # it had been sent before the stray answer was found
            assert (result.outcome, result.status_code, result.response_headers) == ("protocol_error", None, [])
        assert (results[-1].status_code, dict(results[-1].response_headers)["X-For"]) == (500, str(number))
    assert len(server.seen) <= attempts  # fewer when a connection was given up before the receiver had read from it
    assert attempts <= count + 1  # a receiver that was caught gets no second chance to spoil an attempt


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_attempt_gets_its_own_answer(
    sender: Sender,
    tls: tuple[str | None, ssl.SSLContext | None],
    shape: Callable[[Seen], tuple[bytes, ...]],
) -> None:
    with StrayServer(all_at_once(shape), tls=tls[1]) as server:
        check(sender, server, 10)


@pytest.mark.parametrize(("seconds", "count"), [(0.01, 10), (0.1, 5), (0.9, 3), (1.1, 3)])
def test_a_stray_answer_that_comes_between_two_requests_is_none(
    sender: Sender, tls: tuple[str | None, ssl.SSLContext | None], seconds: float, count: int
) -> None:
    with StrayServer(later(seconds), tls=tls[1]) as server:
        check(sender, server, count)
        assert len(server.seen) == server.connections == count


def test_many_deliveries_at_once_get_their_own_answers(
    sender: Sender, tls: tuple[str | None, ssl.SSLContext | None]
) -> None:
    with StrayServer(all_at_once(SHAPES["with the end of the body"]), tls=tls[1]) as server:
        results: dict[object, Result] = {}
        waiting = [Request(number, server.url, (), str(number).encode()) for number in range(300)]
        while waiting or sender.in_flight:
            while waiting and sender.in_flight < 20:
                sender.add(waiting.pop())
            results |= {result.key: result for result in sender.poll(1)}
    assert all(
        result.again if result.status_code is None else dict(result.response_headers)["X-For"] == str(key)
        for key, result in results.items()
    )
    assert len(results) == 300
    assert len(server.seen) <= 300


def test_an_honest_receiver_keeps_its_connection(sender: Sender, tls: tuple[str | None, ssl.SSLContext | None]) -> None:
    with StrayServer(all_at_once(lambda seen: (head(seen), b"o", b"k")), tls=tls[1]) as server:
        check(sender, server, 20)
    assert (server.connections, len(server.seen)) == (1, 20)
