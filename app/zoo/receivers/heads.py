"""Receivers whose answer has a head that never comes, never ends or is no head."""

from __future__ import annotations

from app.zoo.answers import EMPTY, STATUS_LINE
from app.zoo.receiver import PROTOCOL_ERROR, SUCCESS, TIMEOUT, Expected, Group, Receiver, Step
from app.zoo.steps import Close, Drip, Flood, ReadRequest, Send, Stall, answer_each

SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def _head(name: str, summary: str, expected: tuple[Expected, ...], *steps: Step) -> Receiver:
    return Receiver(name, summary, (ReadRequest(), *steps), expected, Group.HEAD)


def _whole(name: str, summary: str, expected: tuple[Expected, ...], answer: bytes) -> Receiver:
    """An answer that ends: the connection can be used again."""
    return Receiver(name, summary, answer_each(Send(answer)), expected, Group.HEAD)


def _not_http(name: str, summary: str, answer: bytes) -> Receiver:
    """It keeps the connection open: what came decides, not that it ends."""
    return _head(name, summary, PROTOCOL_ERROR, Send(answer), Stall())


def _odd(name: str, summary: str, headers: bytes) -> Receiver:
    """Odd, but an answer all the same."""
    return _whole(name, summary, SUCCESS, STATUS_LINE + headers + EMPTY)


HEADS = (
    _head(
        "half-status-line",
        "sends half a status line and nothing more",
        TIMEOUT,
        Send(b"HTTP/1.1 20"),
        Stall(),
    ),
    _head(
        "half-status-line-closes",
        "sends half a status line and closes",
        PROTOCOL_ERROR,
        Send(b"HTTP/1.1 20"),
        Close(),
    ),
    _head(
        "half-head",
        "sends a status line and half a header and nothing more",
        TIMEOUT,
        Send(STATUS_LINE + b"X-Half: "),
        Stall(),
    ),
    _head(
        "half-head-closes",
        "closes inside the head",
        PROTOCOL_ERROR,
        Send(STATUS_LINE + b"Content-Type: text/plain\r\n"),
        Close(),
    ),
    _head("drips-status-line", "sends its status line one byte a second", TIMEOUT, Drip(STATUS_LINE + EMPTY)),
    _head(
        "drips-header",
        "sends a header one byte a second, without end",
        TIMEOUT,
        Send(STATUS_LINE + b"X-Slow: "),
        Drip(b"a"),
    ),
    _head(
        "drips-headers",
        "sends a header each tenth of a second, without end",
        TIMEOUT,
        Send(STATUS_LINE),
        Drip(b"X-Slow: yes\r\n", 0.1, 13),
    ),
    _not_http("garbage", "answers with bytes that are no text", b"\x00\xff\xfe\x80\r\n\r\n"),
    _not_http("ssh", "greets as an SSH server does", b"SSH-2.0-OpenSSH_9.6\r\n"),
    _not_http("smtp", "greets as a mail server does", b"220 mail.example ESMTP ready\r\n"),
    _not_http("http-0.9", "answers as HTTP/0.9, without a head", b"<html><body>ok</body></html>\r\n"),
    _not_http("icy", "answers as a radio stream does (ICY)", b"ICY 200 OK\r\n\r\n"),
    _not_http("http-9.1", "answers in a version that does not exist", b"HTTP/9.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    _not_http("status-of-two-digits", "answers with a status of two digits", b"HTTP/1.1 20 OK\r\n" + EMPTY),
    _not_http("status-000", "answers with the status 000", b"HTTP/1.1 000 Nothing\r\n" + EMPTY),
    _not_http("status-in-words", "answers with a status in words", b"HTTP/1.1 fine OK\r\n" + EMPTY),
    _head(
        "first-line-without-end",
        "sends a first line that never ends and is no status line",
        PROTOCOL_ERROR,
        Flood(b"x"),
    ),
    _head(
        "reason-without-end",
        "sends a status line whose words never end",
        PROTOCOL_ERROR,
        Send(b"HTTP/1.1 200 "),
        Flood(b"OK "),
    ),
    _whole(
        "header-of-100-kib",
        "sends one header of 100 KiB",
        PROTOCOL_ERROR,
        STATUS_LINE + b"X-Large: " + b"a" * 100 * 1024 + b"\r\n" + EMPTY,
    ),
    _head(
        "header-without-end",
        "sends a header that never ends",
        PROTOCOL_ERROR,
        Send(STATUS_LINE + b"X-Large: "),
        Flood(b"a"),
    ),
    _whole(
        "head-of-1-mib",
        "sends a head of 1 MiB",
        PROTOCOL_ERROR,
        STATUS_LINE + (b"X-Large: " + b"a" * 1013 + b"\r\n") * 1024 + EMPTY,
    ),
    _whole(
        "headers-10000",
        "sends 10,000 headers",
        PROTOCOL_ERROR,
        STATUS_LINE + b"".join(b"X-%d: a\r\n" % number for number in range(10_000)) + EMPTY,
    ),
    _head(
        "headers-without-end", "sends headers without end", PROTOCOL_ERROR, Send(STATUS_LINE), Flood(b"X-Many: a\r\n")
    ),
    _head(
        "interim-without-end",
        "sends 102 Processing without end",
        PROTOCOL_ERROR,
        Flood(b"HTTP/1.1 102 Processing\r\n\r\n"),
    ),
    _head(
        "interim-drips",
        "sends 102 Processing each tenth of a second, without end",
        TIMEOUT,
        Drip(b"HTTP/1.1 102 Processing\r\n\r\n", 0.1, 27),
    ),
    _head(
        "continue-only", "sends 100 Continue and nothing more", TIMEOUT, Send(b"HTTP/1.1 100 Continue\r\n\r\n"), Stall()
    ),
    _head(
        "continue-closes",
        "sends 100 Continue and closes",
        PROTOCOL_ERROR,
        Send(b"HTTP/1.1 100 Continue\r\n\r\n"),
        Close(),
    ),
    _whole(
        "early-hints",
        "sends 103 Early Hints, then 200",
        SUCCESS,
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + STATUS_LINE + EMPTY,
    ),
    _head(
        "switches-protocols",
        "answers 101 to a request that asked for no other protocol, and says nothing more",
        TIMEOUT,
        Send(SWITCHING),
        Stall(),
    ),
    _head(
        "switches-protocols-closes",
        "answers 101 to a request that asked for no other protocol, speaks that and closes",
        PROTOCOL_ERROR,
        Send(SWITCHING + b"\x81\x02hi"),
        Close(),
    ),
    _not_http("nul", "sends a NUL in a header", STATUS_LINE + b"X-Nul: a\x00b\r\n" + EMPTY),
    _not_http("lone-cr", "sends a lone CR in a header", STATUS_LINE + b"X-Lone: a\rX-Hidden: b\r\n" + EMPTY),
    _not_http("no-colon", "sends a header without a colon", STATUS_LINE + b"no colon\r\n" + EMPTY),
    _odd("folded-header", "folds a header over two lines", b"X-Folded: a\r\n b\r\n"),
    _odd("not-ascii", "sends a header in bytes that are not ASCII", b"X-Bytes: \x80\xff\xc3\xa9\r\n"),
    _odd("no-name", "sends a header without a name", b": nobody\r\n"),
    _odd(
        "cookies-500", "sets 500 cookies", b"".join(b"Set-Cookie: c%d=1; Path=/\r\n" % number for number in range(500))
    ),
    _odd("other-service", "says that it is found elsewhere", b'Alt-Svc: h3="10.0.0.1:443", h2="10.0.0.1:443"\r\n'),
    _odd("offers-upgrade", "offers HTTP/2 without TLS", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
    _whole("lf-only", "ends its lines by LF alone", SUCCESS, b"HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
)
