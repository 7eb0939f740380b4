"""Receivers behind TLS: bad certificates, handshakes that fail or never end, what comes after them."""

from __future__ import annotations

from app.core.webhook.retry import Outcome
from app.zoo.answers import BUSY, OK
from app.zoo.certificates import Certificate, Handshake
from app.zoo.receiver import PROTOCOL_ERROR, SUCCESS, TIMEOUT, TLS_ERROR, Expected, Group, Receiver, Step
from app.zoo.steps import Close, Drip, EndTls, Flood, ReadRequest, Send, Stall, WaitForRequest

REFUSED = Expected(Outcome.HTTP_ERROR, 503)
# A sender may find the stray answer only when it has sent its request: it must not believe it, and knows no other.
REFUSED_OR_UNKNOWN = Expected(Outcome.HTTP_ERROR, 503, also=Expected(Outcome.PROTOCOL_ERROR))
# Records in plain text: type, version 1.2, length, and an alert's level and number (RFC 8446, 5.1 and 6).
HANDSHAKE_FAILURE = bytes.fromhex("15030300020228")
PROTOCOL_VERSION = bytes.fromhex("15030300020246")
WARNING = bytes.fromhex("1503030002015a")
CHANGE_CIPHER_SPEC = bytes.fromhex("140303000101")
# The beginning of a handshake record of 16 KiB with one ServerHello that fills it.
SERVER_HELLO = bytes.fromhex("1603034000 02003ffc 0303")
NO_RECORD = b"\xde\xad\xbe\xef" * 16


def _tls(name: str, summary: str, expected: tuple[Expected, ...], *steps: Step, scheme: str = "https") -> Receiver:
    return Receiver(name, summary, steps, expected, Group.TLS, scheme=scheme)


def _certificate(name: str, summary: str, certificate: Certificate) -> Receiver:
    return _tls(name, summary, TLS_ERROR, Handshake(certificate), ReadRequest(), Send(OK), Close())


TLS = (
    _certificate("self-signed", "shows a certificate that it has signed itself", Certificate.SELF_SIGNED),
    _certificate("expired", "shows a certificate that expired a month ago", Certificate.EXPIRED),
    _certificate("not-yet-valid", "shows a certificate of next month", Certificate.NOT_YET_VALID),
    _certificate("wrong-host", "shows a certificate for another host", Certificate.WRONG_HOST),
    _tls("handshake-stalls", "never answers the handshake", TIMEOUT, WaitForRequest(), Stall()),
    _tls(
        "handshake-drips",
        "answers the handshake one byte a second",
        TIMEOUT,
        WaitForRequest(),
        Send(SERVER_HELLO, raw=True),
        Drip(b"\x00", raw=True),
    ),
    _tls("handshake-closes", "closes when the handshake begins", TLS_ERROR, WaitForRequest(), Close()),
    _tls(
        "handshake-refused",
        "answers the handshake with an alert",
        TLS_ERROR,
        WaitForRequest(),
        Send(HANDSHAKE_FAILURE, raw=True),
        Close(),
    ),
    _tls(
        "old-tls",
        "speaks no version of TLS that is still good",
        TLS_ERROR,
        WaitForRequest(),
        Send(PROTOCOL_VERSION, raw=True),
        Close(),
    ),
    _tls(
        "handshake-garbage",
        "answers the handshake with what is no TLS record",
        TLS_ERROR,
        WaitForRequest(),
        Send(NO_RECORD, raw=True),
        Stall(),
    ),
    _tls(
        "handshake-without-end",
        "answers the handshake with records that mean nothing, without end",
        TLS_ERROR,
        WaitForRequest(),
        Flood(CHANGE_CIPHER_SPEC, raw=True),
    ),
    _tls(
        "warnings-without-end",
        "answers the handshake with warnings without end",
        TLS_ERROR,
        WaitForRequest(),
        Flood(WARNING, raw=True),
    ),
    _tls("plain-on-tls-port", "answers in plain text on its TLS port", TLS_ERROR, WaitForRequest(), Send(OK), Close()),
    _tls(
        "tls-on-plain-port",
        "speaks TLS on its plain port",
        PROTOCOL_ERROR,
        Handshake(),
        scheme="http",
    ),
    _tls(
        "wants-client-certificate",
        "shakes hands, then refuses the sender for having no certificate",
        TLS_ERROR,
        Handshake(asks_for_certificate=True),
        ReadRequest(),
        Send(OK),
        Close(),
    ),
    _tls(
        "record-garbage",
        "sends what is no TLS record in place of its answer",
        PROTOCOL_ERROR,
        Handshake(),
        ReadRequest(),
        Send(NO_RECORD, raw=True),
        Stall(),
    ),
    _tls(
        "record-garbage-in-body",
        "sends what is no TLS record in the middle of its body",
        SUCCESS,
        Handshake(),
        ReadRequest(),
        Send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"),
        Send(NO_RECORD, raw=True),
        Stall(),
    ),
    _tls(
        "ends-tls-unanswered",
        "ends TLS in good order in place of its answer",
        PROTOCOL_ERROR,
        Handshake(),
        ReadRequest(),
        EndTls(),
        Stall(),
    ),
    _tls(
        "cuts-tls",
        "closes in the middle of its body without ending TLS",
        SUCCESS,
        Handshake(),
        ReadRequest(),
        Send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf"),
        Close(),
    ),
    _tls(
        "tickets-1000",
        "sends 1,000 session tickets after the handshake, a quarter of a megabyte before its answer",
        (Expected(Outcome.SUCCESS, 200, also=Expected(Outcome.PROTOCOL_ERROR)),),
        Handshake(tickets=1_000),
        ReadRequest(),
        Send(OK),
        Stall(),
    ),
    _tls(
        "tls-body-without-end",
        "sends a body without end in records of one byte",
        SUCCESS,
        Handshake(),
        ReadRequest(),
        Send(b"HTTP/1.1 200 OK\r\n\r\n"),
        Flood(b"x", together=1),
    ),
    _tls(
        "tls-stray-answer",
        "answers 503, and sends a 200 that nobody asked for in the same TLS record",
        (REFUSED, REFUSED_OR_UNKNOWN, REFUSED),
        Handshake(),
        ReadRequest(),
        Send(BUSY + OK),
        ReadRequest(),
        Send(BUSY + OK),
        Stall(),
    ),
    _tls(
        "tls-stray-record",
        "answers 503, and sends a 200 that nobody asked for in a TLS record of its own",
        (REFUSED, REFUSED_OR_UNKNOWN, REFUSED_OR_UNKNOWN),
        Handshake(),
        ReadRequest(),
        Send(BUSY),
        Send(OK),
        ReadRequest(),
        Send(BUSY),
        Send(OK),
        Stall(),
    ),
    _tls(
        "wrong-protocol",
        "agrees on HTTP/2 and answers in HTTP/1.1",
        PROTOCOL_ERROR,
        Handshake(protocols=("h2",)),
        WaitForRequest(),
        Send(OK),
        Stall(),
    ),
)
