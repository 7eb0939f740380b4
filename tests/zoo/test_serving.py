"""`twofold zoo`: what it prints and serves, and that it catches a sender that does wrong."""

from __future__ import annotations

import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
import requests

from app.cli.main import main
from app.zoo.name_server import INSIDE, LOOPBACK, MANY, MIXED, PRIVATE, REBINDS, NameServer, answer
from app.zoo.receiver import SUCCESS, Group, Receiver
from app.zoo.receivers import RECEIVERS
from app.zoo.receivers.connections import CONNECTIONS
from app.zoo.serve import Zoo
from app.zoo.steps import Close, ClosePort, ReadRequest, Send
from tests.processes import eventually
from tests.zoo.running import RunningZoo, question

MOST_REDIRECTS = 5


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningZoo]:
    """Shared by the tests here: what its receivers have seen grows with each."""
    running = RunningZoo(tmp_path_factory.mktemp("zoo"))
    yield running
    running.stop()


@pytest.fixture
def client() -> Iterator[requests.Session]:
    """A sender that nobody has made careful."""
    with requests.Session() as session:
        session.trust_env = False
        session.max_redirects = MOST_REDIRECTS
        yield session


def test_the_list_names_each_receiver_with_its_outcome(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "--list", "--port", "5000"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(RECEIVERS)
    assert "http://127.0.0.1:5004/refuses" in lines[3]
    assert lines[3].endswith("nobody listens on its port → connect_error")


def test_the_list_is_to_be_had_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "--list", "--json"]) == 0
    receivers = {row["name"]: row for row in json.loads(capsys.readouterr().out)["receivers"]}
    assert receivers["unavailable"]["expected"] == [[{"outcome": "http_error", "status_code": 503}]]
    assert receivers["closes-unanswered"]["wire"] == "reads a request, closes"


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["zoo", "--port", str(port - 1)]) == 1
    assert f"port {port} cannot be used" in capsys.readouterr().err


def test_the_guide_counts_what_came(zoo: RunningZoo, client: requests.Session) -> None:
    before = zoo.seen()["internal-error"]
    for _ in range(3):
        assert client.post(zoo.receivers["internal-error"]["url"], data=b"{}").status_code == 500
    after = zoo.seen()["internal-error"]
    assert after["requests"] - before["requests"] == 3
    assert after["connections"] - before["connections"] == 1
    assert after["bytes_sent"] > before["bytes_sent"]


def test_the_guide_gives_the_certificate_to_trust(zoo: RunningZoo, client: requests.Session) -> None:
    pem = client.get(f"{zoo.table['guide']}authority.pem").text
    assert pem == zoo.table["authority_pem"]
    assert client.get(f"{zoo.table['guide']}other").status_code == 404
    client.verify = str(zoo.authority)
    assert client.post(zoo.receivers["healthy-tls"]["url"], data=b"{}").text == "ok"


def test_a_request_in_chunks_is_read_and_one_that_asks_first_is_told_to_go_on(
    zoo: RunningZoo, client: requests.Session
) -> None:
    url = zoo.receivers["healthy"]["url"]
    assert client.post(url, data=iter([b"one", b"two"])).status_code == 200
    assert client.post(url, data=b"{}").status_code == 200  # on the same connection: nothing was left of the first
    _, _, address, _ = url.split("/")
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_a_sender_that_follows_redirects_is_caught(zoo: RunningZoo, client: requests.Session) -> None:
    with pytest.raises(requests.TooManyRedirects):
        client.post(zoo.receivers["redirect-to-itself"]["url"], data=b"{}")
    assert zoo.seen()["redirect-to-itself"]["requests"] == MOST_REDIRECTS + 1


def test_a_sender_that_takes_a_stray_answer_is_caught(zoo: RunningZoo) -> None:
    """It reads what comes next, as a client does that keeps connections and does not look at them before use."""
    address = zoo.receivers["stray-answer"]["url"].split("/")[2]
    host, _, port = address.partition(":")
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=5) as connection, connection.makefile("rb") as answers:
        connection.sendall(request)
        assert answers.readline() == b"HTTP/1.1 503 Service Unavailable\r\n"
        assert answers.read(len(b"Content-Length: 4\r\n\r\nbusy")).endswith(b"busy")
        connection.sendall(request)
        assert answers.readline() == b"HTTP/1.1 200 OK\r\n"


def test_a_port_that_was_closed_opens_again(client: requests.Session) -> None:
    steps = (ReadRequest(), ClosePort(0.3), Send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), Close())
    with Zoo(receivers=[Receiver("shy", "answers once in a while", steps, SUCCESS, Group.CONNECTION)]) as zoo:
        url = zoo.ports[0].receiver.url(zoo.ports[0].number)
        assert client.post(url, data=b"{}").status_code == 200
        with pytest.raises(requests.ConnectionError):
            client.post(url, data=b"{}")

        def answers() -> bool:
            with suppress(requests.ConnectionError):
                return client.post(url, data=b"{}").status_code == 200
            return False

        eventually(answers)


def test_closing_ends_every_connection_and_frees_the_ports() -> None:
    zoo = Zoo(receivers=[receiver for receiver in CONNECTIONS if receiver.name in ("never-answers", "never-reads")])
    numbers = [port.number for port in zoo.ports]
    with ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection((LOOPBACK, number), 5)) for number in numbers]
        eventually(lambda: all(port.tally.connections for port in zoo.ports))
        zoo.close()
        assert [connection.recv(1) for connection in connections] == [b"", b""]
        for number in numbers:
            stack.enter_context(socket.create_server((LOOPBACK, number)))


def test_each_certificate_fails_for_its_own_reason(zoo: RunningZoo) -> None:
    reasons = {}
    for name in ("self-signed", "expired", "not-yet-valid", "wrong-host"):
        _, _, address, _ = zoo.receivers[name]["url"].split("/")
        host, _, port = address.partition(":")
        context = ssl.create_default_context(cafile=str(zoo.authority))
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            with pytest.raises(ssl.SSLCertVerificationError) as raised:
                context.wrap_socket(connection, server_hostname=host)
            reasons[name] = raised.value.verify_message
    assert reasons["self-signed"] in ("self-signed certificate", "self signed certificate")
    assert reasons["expired"] == "certificate has expired"
    assert reasons["not-yet-valid"] == "certificate is not yet valid"
    assert "IP address mismatch" in reasons["wrong-host"]


def test_the_name_server_knows_the_names_of_the_zoo(zoo: RunningZoo) -> None:
    assert zoo.look_up(PRIVATE) == [INSIDE]
    assert zoo.look_up(MIXED) == [INSIDE, LOOPBACK]
    assert len(zoo.look_up(MANY)) == 60
    assert [zoo.look_up(REBINDS) for _ in range(3)] == [[LOOPBACK], [INSIDE], [INSIDE]]
    with pytest.raises(OSError, match="answered 3"):
        zoo.look_up("example.com")


def test_the_name_server_has_no_addresses_of_version_6() -> None:
    ipv6 = answer(question(MIXED, of_type=28), asked_before=False)
    assert ipv6 is not None
    assert ipv6[3] & 15 == 0
    assert ipv6[6:8] == bytes(2)


def test_the_name_server_survives_what_is_no_query() -> None:
    server = NameServer(0)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(5)
            for nonsense in (b"", b"x", b"\xff" * 300, question(PRIVATE)):
                asking.sendto(nonsense, (LOOPBACK, server.port))
            assert asking.recv(512).endswith(socket.inet_aton(INSIDE))
    finally:
        server.close()


def test_a_zoo_is_made_quickly() -> None:
    """Its certificates and ports are made when they are first needed, or in no time."""
    began = time.monotonic()
    Zoo().close()
    assert time.monotonic() - began < 2
