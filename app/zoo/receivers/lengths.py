"""Receivers that lie about how long their answer is. Where a complete head can be read, its status decides."""

from __future__ import annotations

from app.zoo.answers import STATUS_LINE
from app.zoo.receiver import PROTOCOL_ERROR, SUCCESS, Expected, Group, Receiver, Step
from app.zoo.steps import Close, ReadRequest, Send, Stall


def _length(
    name: str, summary: str, headers: bytes, body: bytes, last: Step, expected: tuple[Expected, ...] = SUCCESS
) -> Receiver:
    answer = STATUS_LINE + headers + b"\r\n\r\n" + body
    return Receiver(name, summary, (ReadRequest(), Send(answer), last), expected, Group.LENGTH)


LENGTHS = (
    _length("length-too-long", "promises more than it sends, and stalls", b"Content-Length: 100", b"half", Stall()),
    _length(
        "length-too-long-closes", "promises more than it sends, and closes", b"Content-Length: 100", b"half", Close()
    ),
    _length("length-too-short", "sends more than it promised", b"Content-Length: 2", b"ok and more", Stall()),
    _length(
        "length-twice", "gives its length twice, the same", b"Content-Length: 2\r\nContent-Length: 2", b"ok", Stall()
    ),
    _length(
        "length-twice-different",
        "gives two different lengths",
        b"Content-Length: 2\r\nContent-Length: 200",
        b"ok",
        Close(),
        PROTOCOL_ERROR,
    ),
    _length("length-negative", "gives a negative length", b"Content-Length: -5", b"hello", Stall(), PROTOCOL_ERROR),
    _length(
        "length-no-number", "gives a length that is no number", b"Content-Length: 5x", b"hello", Stall(), PROTOCOL_ERROR
    ),
    _length(
        "length-astronomic",
        "gives a length of 30 digits",
        b"Content-Length: 100000000000000000000000000000",
        b"ok",
        Close(),
    ),
    _length(
        "length-and-chunked",
        "gives a length and sends chunks",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked",
        b"2\r\nok\r\n0\r\n\r\n",
        Stall(),
    ),
    _length(
        "chunked-twice",
        "says twice that it sends chunks",
        b"Transfer-Encoding: chunked, chunked",
        b"2\r\nok\r\n0\r\n\r\n",
        Close(),
    ),
    _length(
        "encoding-unknown",
        "sends in a transfer encoding that does not exist",
        b"Transfer-Encoding: rot13",
        b"bx",
        Close(),
        PROTOCOL_ERROR,
    ),
)
