"""Where the sender refuses to go: judged at the socket, whatever the name says and whatever the environment wants."""

from __future__ import annotations

import datetime
import ipaddress
import resource
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.core.webhook.addresses import Network
from app.delivery.sending.sender import Request, Result, Sender
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering

V4, V6 = ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128")


def post(url: str, *allow: Network, ca_file: str | None = None) -> Result:
    sender = Sender(allow, total_seconds=5, ca_file=ca_file)
    try:
        sender.add(Request(1, url, (), b"{}"))
        [result] = sender.poll(10)
        return result
    finally:
        sender.close()


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ("127.0.0.1", "127.0.0.1 is loopback"),
        ("localhost", "127.0.0.1 is loopback"),
        ("a.localhost", "127.0.0.1 is loopback"),
        ("LOCALHOST.", "127.0.0.1 is loopback"),
        ("127.1", "127.0.0.1 is loopback"),
        ("2130706433", "127.0.0.1 is loopback"),
        ("0x7f000001", "127.0.0.1 is loopback"),
        ("0177.0.0.1", "127.0.0.1 is loopback"),
        ("0", "0.0.0.0 is this network"),
        ("[::ffff:127.0.0.1]", "is loopback"),
        ("[::ffff:7f00:1]", "is loopback"),
        ("[::1]", "::1 is not a global unicast address"),
        ("[::]", ":: is not a global unicast address"),
    ],
)
def test_nothing_on_this_machine_is_reached(host: str, reason: str) -> None:
    with ScriptedServer(answering(OK)) as v4, ScriptedServer(answering(OK), host="::1") as v6:
        results = [post(f"http://{host}:{server.port}/") for server in (v4, v6)]
    assert [result.outcome for result in results] == ["blocked_address"] * 2
    for result in results:
        assert reason in (result.error or "")
        assert (result.status_code, result.remote_address) == (None, None)
    assert v4.connections == v6.connections == 0


@pytest.mark.parametrize(
    "host", ["10.0.0.1", "169.254.169.254", "192.168.1.1", "[fd00:ec2::254]", "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::]"]
)
def test_private_networks_are_not_tried(host: str) -> None:
    result = post(f"http://{host}/")
    assert result.outcome == "blocked_address"
    assert result.duration_seconds < 1


@pytest.mark.parametrize(
    ("listening", "allow", "error"),
    [
        ("127.0.0.1", [V4], None),
        ("127.0.0.1", [V4, V6], None),
        ("::1", [V6], None),
        ("::1", [V4, V6], None),
        ("127.0.0.1", [V6], "connect_error"),  # the allowed one was tried
        ("127.0.0.1", [], "blocked_address"),
    ],
)
def test_of_the_addresses_of_a_name_only_the_allowed_are_tried(
    listening: str, allow: list[Network], error: str | None
) -> None:
    with ScriptedServer(answering(OK), host=listening) as server:
        result = post(f"http://localhost:{server.port}/", *allow)
    assert result.outcome == (error or "success")
    assert server.connections == (0 if error else 1)
    if not error:
        assert result.remote_address == listening


def test_an_ipv6_receiver_is_reached() -> None:
    with ScriptedServer(answering(OK), host="::1") as server:
        result = post(server.url, V6)
    assert (result.outcome, result.remote_address) == ("success", "::1")


@pytest.mark.parametrize(
    "variable", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy", "HTTPS_PROXY"]
)
def test_a_proxy_of_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    with ScriptedServer(answering(OK)) as proxy, ScriptedServer(answering(OK)) as server:
        monkeypatch.setenv(variable, proxy.url)
        assert post(server.url, V4).outcome == "success"
        assert post("https://10.0.0.1/", V4).outcome == "blocked_address"
    assert (proxy.connections, server.connections) == (0, 1)


def test_a_netrc_file_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".netrc").write_text("default login secret password secret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    with ScriptedServer(answering(OK)) as server:
        post(server.url, V4)
    assert server.seen[0].header("authorization") is None


def test_without_a_socket_to_be_had_it_is_a_connect_error() -> None:
    sender = Sender([V4])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ScriptedServer(answering(OK)) as server:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            sender.add(Request(1, server.url, (), b"{}"))
            [result] = sender.poll(10)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        sender.close()
    assert (result.outcome, server.connections) == ("connect_error", 0)


def certificate(directory: Path, *names: x509.GeneralName, days: int = 1) -> tuple[str, ssl.SSLContext]:
    """A self-signed certificate as a file, and a server's context with it."""
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=10))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    chain = directory / "certificate.pem"
    chain.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    return str(chain), context


LOCALHOST, LOOPBACK_IP = x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))


def test_a_certificate_that_is_trusted_and_fits_is_accepted(tmp_path: Path) -> None:
    ca_file, context = certificate(tmp_path, LOCALHOST, LOOPBACK_IP)
    with ScriptedServer(answering(OK), tls=context) as server:
        for host in ("127.0.0.1", "localhost"):
            result = post(f"https://{host}:{server.port}/", V4, ca_file=ca_file)
            assert (result.outcome, result.error) == ("success", None)


@pytest.mark.parametrize(
    ("names", "days", "trusted"),
    [
        ((LOCALHOST, LOOPBACK_IP), 1, False),  # self-signed
        ((LOCALHOST,), 1, True),  # for another name
        ((LOCALHOST, LOOPBACK_IP), -1, True),  # out of date
    ],
)
def test_any_other_certificate_is_a_tls_error(
    tmp_path: Path, names: tuple[x509.GeneralName, ...], days: int, trusted: bool
) -> None:
    ca_file, context = certificate(tmp_path, *names, days=days)
    with ScriptedServer(answering(OK), tls=context) as server:
        result = post(f"https://127.0.0.1:{server.port}/", V4, ca_file=ca_file if trusted else None)
    assert (result.outcome, result.status_code, server.seen) == ("tls_error", None, [])
    assert result.error


def old_tls(context: ssl.SSLContext) -> None:
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_1


def client_certificates_only(context: ssl.SSLContext) -> None:
    context.verify_mode = ssl.CERT_REQUIRED


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize("change", [old_tls, client_certificates_only])
def test_a_server_that_will_not_agree_is_a_tls_error(tmp_path: Path, change: Callable[[ssl.SSLContext], None]) -> None:
    ca_file, context = certificate(tmp_path, LOOPBACK_IP)
    change(context)
    with ScriptedServer(answering(OK), tls=context) as server:
        assert post(server.url, V4, ca_file=ca_file).outcome == "tls_error"


def test_https_to_a_server_that_speaks_plain_http_is_a_tls_error() -> None:
    def greet(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            connection.recv(65_536)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=greet, args=(listener,))
        thread.start()
        result = post(f"https://127.0.0.1:{listener.getsockname()[1]}/", V4)
        thread.join(5)
    assert (result.outcome, result.status_code) == ("tls_error", None)
