"""Receivers whose answer has a body without end, without measure or without sense. The status has decided by then."""

from __future__ import annotations

import zlib

from app.zoo.receiver import SUCCESS, Expected, Group, Receiver, Step, http_error
from app.zoo.steps import Close, Drip, Flood, ReadRequest, Send, Stall, answer_each

OPEN = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BOMB_BYTES = 10 * 2**20


def _body(name: str, summary: str, head: bytes, *steps: Step, expected: tuple[Expected, ...] = SUCCESS) -> Receiver:
    return Receiver(name, summary, (ReadRequest(), Send(head), *steps), expected, Group.BODY)


def _whole(name: str, summary: str, answer: bytes, expected: tuple[Expected, ...] = SUCCESS) -> Receiver:
    """An answer that ends: the connection can be used again."""
    return Receiver(name, summary, answer_each(Send(answer)), expected, Group.BODY)


def _chunked(name: str, summary: str, *steps: Step) -> Receiver:
    return _body(name, summary, CHUNKED, *steps)


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(data) + packer.flush()


_BOMB = _gzip(_gzip(bytes(BOMB_BYTES)))


def _accepts(name: str, summary: str, value: bytes) -> Receiver:
    """Says how many events of a batch it accepts: of what is no batch, that means nothing."""
    body = b'{"accepted": %b}' % value
    return _whole(name, summary, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


BODIES = (
    _accepts("accepts-one", "accepts the first event of each batch", b"1"),
    _accepts("accepts-none", "accepts no event of a batch", b"0"),
    _accepts("accepts-less-than-none", "accepts -1 events of a batch", b"-1"),
    _accepts("accepts-too-many", "accepts more events than there are in a batch", b"1" + b"0" * 30),
    _accepts("accepts-digits", "accepts a number of events that has 10,000 digits", b"9" * 10_000),
    _accepts("accepts-true", "accepts `true` events of a batch", b"true"),
    _accepts("accepts-nothing-said", "accepts a number of events that is no JSON", b""),
    _body(
        "accepts-and-closes",
        "closes before it has said how many events it accepts",
        b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{"accepted',
        Close(),
    ),
    _body("body-without-end", "sends a body without end", OPEN, Flood(b"x" * 1024)),
    _body("drips-body", "sends its body one byte a second, without end", OPEN, Drip(b"x")),
    _body(
        "stalls-in-body",
        "stops in the middle of its body",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        Stall(),
    ),
    _body(
        "error-without-end",
        "answers 500 with a body without end",
        b"HTTP/1.1 500 Internal Server Error\r\n\r\n",
        Flood(b"Traceback (most recent call last):\n"),
        expected=http_error(500),
    ),
    _whole(
        "error-of-100-kib",
        "answers 500 with a body of 100 KiB",
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 102400\r\n\r\n" + b"x" * 102_400,
        http_error(500),
    ),
    _chunked("chunks-without-end", "sends chunks of one byte without end", Flood(b"1\r\nx\r\n")),
    _chunked("chunk-extension-without-end", "sends a chunk extension that never ends", Send(b"5;x="), Flood(b"a")),
    _chunked("chunk-size-without-end", "sends a chunk size of zeros without end", Flood(b"0")),
    _chunked(
        "chunk-size-no-number", "sends a chunk size that is no number", Send(b"zz\r\nhello\r\n0\r\n\r\n"), Stall()
    ),
    _chunked("chunk-size-negative", "sends a negative chunk size", Send(b"-1\r\nhello\r\n0\r\n\r\n"), Stall()),
    _chunked("chunk-size-too-large", "sends a chunk size beyond 64 bits", Send(b"FFFFFFFFFFFFFFFFF\r\nhello"), Stall()),
    _chunked(
        "chunk-without-line-end", "sends a chunk that is longer than it said", Send(b"2\r\nokay\r\n0\r\n\r\n"), Stall()
    ),
    _chunked("chunk-closes", "closes inside a chunk", Send(b"5\r\nab"), Close()),
    _chunked(
        "trailers-without-end", "sends trailers without end", Send(b"2\r\nok\r\n0\r\n"), Flood(b"X-Trailer: a\r\n")
    ),
    _chunked("trailer-without-end", "sends one trailer that never ends", Send(b"2\r\nok\r\n0\r\nX: "), Flood(b"a")),
    _chunked("last-chunk-missing", "sends its body and never the last chunk", Send(b"2\r\nok\r\n"), Stall()),
    _whole(
        "gzip-bomb",
        "sends 10 MiB of zeros, packed twice into a few hundred bytes",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip, gzip\r\nContent-Length: %d\r\n\r\n" % len(_BOMB) + _BOMB,
    ),
    _whole(
        "gzip-broken",
        "says that its body is packed, which it is not",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
    ),
)
