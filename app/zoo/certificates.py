"""The zoo's certificates: made anew for each run, the private keys only in memory but for the moment of loading."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.zoo.wire import Wire

DAY = datetime.timedelta(days=1)


class Certificate(StrEnum):
    """What a TLS receiver shows."""

    GOOD = "good"
    SELF_SIGNED = "self-signed"
    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"
    WRONG_HOST = "for another host"


class Certificates:
    """An authority and what it has signed. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contexts: dict[Handshake, ssl.SSLContext] = {}
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("Twofold zoo")
        self._authority = (
            _builder(self._name, self._name, self._key, -DAY, DAY * 365)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_AUTHORITY_USAGE, critical=True)
            .sign(self._key, hashes.SHA256())
        )

    @property
    def authority_pem(self) -> str:
        """What a sender has to trust, as PEM."""
        return self._authority.public_bytes(serialization.Encoding.PEM).decode()

    def context(self, handshake: Handshake) -> ssl.SSLContext:
        """The server side of such a handshake."""
        with self._lock:
            if handshake not in self._contexts:
                self._contexts[handshake] = self._make_context(handshake)
            return self._contexts[handshake]

    def _make_context(self, handshake: Handshake) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if handshake.protocols:
            context.set_alpn_protocols(list(handshake.protocols))
        if handshake.asks_for_certificate:
            context.verify_mode = ssl.CERT_REQUIRED
        context.num_tickets = handshake.tickets
        with TemporaryDirectory(prefix="twofold-zoo-") as directory:
            # The only way in that the standard library has.
            pem = Path(directory, "certificate.pem")
            pem.touch(mode=0o600)
            pem.write_bytes(self._issue(handshake.certificate))
            context.load_cert_chain(pem)
        return context

    def _issue(self, kind: Certificate) -> bytes:
        """A private key and its certificate as PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        own = kind is Certificate.SELF_SIGNED
        begins = DAY * 30 if kind is Certificate.NOT_YET_VALID else -DAY * 60
        ends = -DAY * 30 if kind is Certificate.EXPIRED else DAY * 365
        issuer, signer = (_name("localhost"), key) if own else (self._name, self._key)
        hosts: list[x509.GeneralName] = [
            x509.DNSName("localhost"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        ]
        if kind is Certificate.WRONG_HOST:
            hosts = [x509.DNSName("elsewhere.invalid")]
        certificate = (
            _builder(_name("localhost"), issuer, key, begins, ends)
            .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(signer, hashes.SHA256())
        )
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return secret + certificate.public_bytes(serialization.Encoding.PEM)


_AUTHORITY_USAGE = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    begins: datetime.timedelta,
    ends: datetime.timedelta,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )


@dataclass(frozen=True, slots=True)
class Handshake:
    """The step that starts TLS. `protocols`: what ALPN offers. `tickets`: how many session tickets follow it (TLS 1.3).

    `asks_for_certificate`: of the sender, and refuses it for having none; in TLS 1.3 it learns that after its request.
    """

    certificate: Certificate = Certificate.GOOD
    protocols: tuple[str, ...] = ("http/1.1",)
    asks_for_certificate: bool = False
    tickets: int = 2

    def act(self, wire: Wire) -> None:
        wire.start_tls(wire.tls_context(self))

    def __str__(self) -> str:
        tickets = f" and {self.tickets:,} session tickets" if self.tickets != 2 else ""
        asks = ", asks for a client certificate" if self.asks_for_certificate else ""
        return f"shakes hands ({self.certificate} certificate, {' '.join(self.protocols)}{tickets}{asks})"
