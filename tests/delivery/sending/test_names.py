"""Host names: nobody waits for another one's name servers, and each request goes where its own look-up said."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from ipaddress import ip_network

import pytest

from app.delivery.sending.resolver import KEPT_SECONDS, Resolver
from app.delivery.sending.sender import Request, Result, Sender
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.processes import eventually

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


class Names:
    """What name servers say: "silent…" nothing, until the test is over; others what `addresses` has for them."""

    def __init__(self) -> None:
        self.addresses: dict[str, list[str]] = {}
        self.asked: Counter[str] = Counter()
        self.waiting = 0
        self.over = threading.Event()

    def look_up(self, name: str) -> list[str]:
        self.asked[name] += 1
        if name.startswith("silent"):
            self.waiting += 1
            self.over.wait(30)
            raise OSError("no answer")
        return self.addresses.get(name, ["127.0.0.1"])


@pytest.fixture
def names() -> Iterator[Names]:
    found = Names()
    yield found
    found.over.set()


@pytest.fixture
def make(names: Names) -> Iterator[Callable[..., Sender]]:
    made: list[Sender] = []

    def go(connect_seconds: float = 5, threads: int = 128, clock: Callable[[], float] = time.monotonic) -> Sender:
        resolver = Resolver(names.look_up, threads=threads, clock=clock)
        made.append(Sender(LOOPBACK, 10, connect_seconds, resolver=resolver))
        return made[-1]

    yield go
    for sender in made:
        sender.close()


def results(sender: Sender, count: int) -> list[Result]:
    """The next ones."""
    found: list[Result] = []
    until = time.monotonic() + 20
    while len(found) < count and time.monotonic() < until:
        found += sender.poll(0.1)
    return found


def post(sender: Sender, url: str) -> Result:
    sender.add(Request(1, url, (), b"{}"))
    [result] = results(sender, 1)
    return result


def test_forty_names_without_an_answer_keep_nobody_waiting(make: Callable[..., Sender], names: Names) -> None:
    sender = make(connect_seconds=2)
    with ScriptedServer(answering(OK)) as server:
        for number in range(40):
            sender.add(Request(f"silent {number}", f"http://silent{number}.example:{server.port}/", (), b"{}"))
        started = time.monotonic()
        for number in range(20):
            sender.add(Request(number, f"http://quick{number}.example:{server.port}/", (), b"{}"))
        quick = results(sender, 20)
        assert time.monotonic() - started < 1
        assert {result.key for result in quick} == set(range(20))
        assert {result.outcome for result in quick} == {"success"}
        silent = results(sender, 40)
    assert {result.outcome for result in silent} == {"timeout"}
    assert all("Resolving timed out" in (result.error or "") for result in silent)
    assert all(result.duration_seconds == pytest.approx(2, abs=0.4) for result in silent)
    assert sender.in_flight == 0


def test_no_number_of_silent_names_takes_the_threads_of_other_owners(make: Callable[..., Sender], names: Names) -> None:
    sender = make(threads=12)
    for owner in ("a", "b", "c"):
        for number in range(50):
            sender.add(Request(number, f"http://silent{number}.{owner}.example/", (), b"{}", owner))
    eventually(lambda: names.waiting >= 9, 5)
    with ScriptedServer(answering(OK)) as server:
        started = time.monotonic()
        for number in range(20):
            sender.add(Request("quick", f"http://quick{number}.example:{server.port}/", (), b"{}", "d"))
        assert [result.key for result in results(sender, 20)] == ["quick"] * 20
        assert time.monotonic() - started < 1
    shares = Counter(name.split(".")[1] for name in names.asked if name.startswith("silent"))
    assert len(shares) == 3
    assert max(shares.values()) <= 6  # one alone may have half, and was there first


def test_names_that_were_slow_do_not_keep_their_owners_other_names_waiting(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.delivery.sending.resolver.SLOW_SECONDS", 0.0)
    monkeypatch.setattr("app.delivery.sending.resolver.FAILURE_KEPT_SECONDS", 0.0)
    silent = [f"silent{number}.example" for number in range(6)]
    resolver = Resolver(names.look_up, threads=4)
    for name in silent:
        assert resolver.ask(name, "a") is None
    eventually(lambda: names.waiting == 2)
    names.over.set()
    answered: set[str] = set()
    eventually(lambda: answered.update(resolver.new_answers()) or answered == set(silent))  # type: ignore[func-returns-value]
    names.over.clear()
    for name in [*silent, "quick.example"]:
        resolver.ask(name, "a")
    eventually(lambda: "quick.example" in resolver.new_answers(), 2)
    resolver.close()


CLOSING = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


def test_a_burst_asks_once_and_a_later_answer_is_followed(make: Callable[..., Sender], names: Names) -> None:
    now = 0.0
    sender = make(clock=lambda: now)
    with ScriptedServer(answering(CLOSING)) as server:
        url = f"http://Moves.example:{server.port}/"
        for number in range(50):
            sender.add(Request(number, url, (), b"{}"))
        assert {result.remote_address for result in results(sender, 50)} == {"127.0.0.1"}
        assert names.asked == {"moves.example": 1}
        names.addresses["moves.example"] = ["10.0.0.1"]
        now += KEPT_SECONDS
        assert post(sender, url).error == "moves.example resolves to an address that is private"
        names.addresses["moves.example"] = ["10.0.0.1", "::1", "127.0.0.1"]
        now += KEPT_SECONDS
        result = post(sender, url)
        assert (result.outcome, result.remote_address) == ("success", "127.0.0.1")  # nobody listens at ::1


def test_each_request_goes_to_the_address_of_its_own_name(make: Callable[..., Sender], names: Names) -> None:
    sender = make()
    names.addresses = {"one.example": ["127.0.0.2"], "two.example.": ["127.0.0.3"], "six.example": ["::1%lo"]}
    with ScriptedServer(answering(CLOSING), host="0.0.0.0") as server, ScriptedServer(answering(OK), host="::1") as six:
        for name, address in [("one.example", "127.0.0.2"), ("TWO.example.", "127.0.0.3"), ("127.0.0.4", "127.0.0.4")]:
            result = post(sender, f"http://{name}:{server.port}/")
            assert (result.outcome, result.remote_address) == ("success", address)
        assert post(sender, f"http://six.example:{six.port}/").remote_address == "::1"
        hosts = [seen.header("host") for seen in server.seen]
        assert hosts == [f"{name}:{server.port}" for name in ("one.example", "TWO.example.", "127.0.0.4")]
    names.addresses = {"none.example": []}
    assert post(sender, "http://none.example/").outcome == "dns_error"


@pytest.mark.parametrize(
    ("addresses", "reasons"),
    [
        (["10.0.0.5"], "private"),
        (["10.0.0.5", "192.168.3.4"], "private"),
        (["10.0.0.5", "169.254.169.254"], "private or link-local, where clouds keep instance metadata"),
        (["fd00:ec2::254"], "not a global unicast address"),
    ],
)
def test_the_addresses_behind_an_internal_name_are_told_to_our_log_alone(
    make: Callable[..., Sender],
    names: Names,
    caplog: pytest.LogCaptureFixture,
    addresses: list[str],
    reasons: str,
) -> None:
    caplog.set_level(logging.INFO, "app.delivery.sending")
    names.addresses["internal.example"] = addresses
    result = post(make(), "https://internal.example/hook?token=secret")
    assert (result.outcome, result.remote_address) == ("blocked_address", None)
    assert result.error == f"internal.example resolves to an address that is {reasons}"
    for address in addresses:
        assert f"{address} is " in caplog.text
    assert "secret" not in caplog.text


def test_an_address_that_stands_in_the_url_is_told(make: Callable[..., Sender]) -> None:
    for host in ("10.0.0.5", "167772165", "0x0a000005"):
        assert post(make(), f"http://{host}/").error == "10.0.0.5 is private"


def test_the_time_to_connect_holds_for_the_look_up_and_the_connection_together(
    make: Callable[..., Sender], names: Names
) -> None:
    def slowly(name: str) -> list[str]:
        names.over.wait(0.6)
        return ["127.0.0.1"]

    sender = Sender(LOOPBACK, 10, 1, resolver=Resolver(slowly))
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):  # fill the queue: after that the kernel drops what asks to connect
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        result = post(sender, f"http://slow.example:{listener.getsockname()[1]}/")
    sender.close()
    assert result.outcome == "timeout"
    assert result.duration_seconds == pytest.approx(1, abs=0.2)


def test_closing_does_not_wait_for_name_servers(make: Callable[..., Sender], names: Names) -> None:
    files = len(os.listdir("/proc/self/fd"))
    sender = make()
    for number in range(40):
        sender.add(Request(number, f"http://silent{number}.example/", (), b"{}"))
    assert sender.poll(0.05) == []
    assert sender.in_flight == 40
    started = time.monotonic()
    sender.close()
    assert time.monotonic() - started < 0.5
    names.over.set()
    eventually(lambda: not [one for one in threading.enumerate() if one.name == "look-up"])
    assert (sender.in_flight, len(os.listdir("/proc/self/fd"))) == (0, files)
