"""Where the time of a request went: each part of it, and none for what there was no need of."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from app.delivery.sending.request import NO_PHASES, Phases
from app.delivery.sending.resolver import Resolver
from app.delivery.sending.sender import Request, Result, Sender
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen, answering
from tests.delivery.sending.test_connections import LOOPBACK, post
from tests.delivery.sending.test_guard import LOOPBACK_IP, certificate

ANSWER_SECONDS = 0.05
SHOP = "shop.example"


def look_up(name: str) -> list[str]:
    if name == SHOP:
        return ["127.0.0.1"]
    raise OSError("no such name")


@pytest.fixture
def trusted(tmp_path: Path) -> tuple[str, ssl.SSLContext]:
    return certificate(tmp_path, x509.DNSName(SHOP), LOOPBACK_IP)


@pytest.fixture
def sender(trusted: tuple[str, ssl.SSLContext]) -> Iterator[Sender]:
    made = Sender(LOOPBACK, total_seconds=10, ca_file=trusted[0], resolver=Resolver(look_up))
    yield made
    made.close()


def slowly(server: ScriptedServer, _connection: socket.socket, _seen: Seen) -> bytes:
    server.over.wait(ANSWER_SECONDS)
    return OK


def had(phases: Phases) -> tuple[bool, ...]:
    return tuple(part is not None for part in phases[:4])


def deliver(sender: Sender, url: str) -> Result:
    [result] = post(sender, Request(1, url, (), b"{}"))
    return result


@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("host", ["127.0.0.1", SHOP])
def test_the_parts_are_those_of_the_first_request_and_the_next_one_saves_most(
    sender: Sender, trusted: tuple[str, ssl.SSLContext], with_tls: bool, host: str
) -> None:
    named = host == SHOP
    with ScriptedServer(slowly, tls=trusted[1] if with_tls else None) as server:
        first, second = (deliver(sender, server.url.replace("127.0.0.1", host)) for _ in range(2))
    assert had(first.phases) == (named, True, with_tls, True)
    assert had(second.phases) == (named, False, False, True)
    assert (first.phases.reused, second.phases.reused) == (False, True)
    for result in (first, second):
        parts = [part for part in result.phases[:4] if part is not None]
        assert min(parts) >= 0
        assert result.phases.first_byte is not None
        assert result.phases.first_byte >= ANSWER_SECONDS * 0.9
        assert sum(parts) <= result.duration_seconds + 0.001


def test_what_a_request_did_not_come_to_has_no_time(sender: Sender) -> None:
    with ScriptedServer(answering(OK)) as server:
        closed = server.url
    assert deliver(sender, closed).phases == NO_PHASES
    with ScriptedServer(lambda *_: None) as server:  # hangs up when it has the request
        phases = deliver(sender, server.url).phases
    assert (had(phases), phases.reused) == ((False, True, False, False), False)
    refused = deliver(sender, "http://10.1.2.3/")
    assert (refused.outcome, refused.phases) == ("blocked_address", NO_PHASES)


def test_a_name_that_nobody_knows_took_its_look_up(sender: Sender) -> None:
    result = deliver(sender, "http://nobody.invalid/")
    assert result.outcome == "dns_error"
    assert result.phases == Phases(dns=result.duration_seconds)
