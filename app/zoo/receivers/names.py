"""Receivers that do harm by their address or their name, which the zoo's own name server knows."""

from __future__ import annotations

from app.zoo.name_server import GONE, MANY, MIXED, PRIVATE, REBINDS, SILENT, UNABLE
from app.zoo.receiver import (
    BLOCKED_ADDRESS,
    CONNECT_ERROR,
    DNS_ERROR,
    SUCCESS,
    TIMEOUT,
    Expected,
    Group,
    Listening,
    Receiver,
)
from app.zoo.steps import Close, ReadRequest, Send

OK = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"


def _name(
    name: str,
    summary: str,
    host: str,
    expected: tuple[Expected, ...],
    *,
    listening: Listening = Listening.ACCEPTS,
) -> Receiver:
    steps = (ReadRequest(), Send(OK), Close())
    return Receiver(name, summary, steps, expected, Group.NAME, host=host, listening=listening)


def _address(name: str, summary: str, address: str) -> Receiver:
    return Receiver(name, summary, (), BLOCKED_ADDRESS, Group.NAME, address=address)


NAMES = (
    _name("name-silent", "has a name whose server does not answer", SILENT, TIMEOUT),
    _name("name-gone", "has a name that does not exist", GONE, DNS_ERROR),
    _name("name-unable", "has a name whose server says that it cannot answer", UNABLE, DNS_ERROR),
    _name(
        "name-with-many-addresses",
        "has a name of 60 addresses, and nobody listens at any of them",
        MANY,
        CONNECT_ERROR,
        listening=Listening.REFUSES,
    ),
    _name("name-private", "has a name with an address of a private network", PRIVATE, BLOCKED_ADDRESS),
    _name("name-mixed", "has a name with a private address and one that serves", MIXED, SUCCESS),
    _name(
        "name-rebinds",
        "has a name that has moved to a private network by the second look",
        REBINDS,
        SUCCESS,
    ),
    _address("address-private", "is at an address of a private network", "http://10.0.0.1"),
    _address("address-metadata", "is at a cloud's metadata", "http://169.254.169.254"),
    _address("address-as-number", "is at a private address, written as a number", "http://167772161"),
    _address("address-in-hex", "is at a private address, written in hexadecimal", "http://0x0a000001"),
    _address("address-mapped", "is at a private address, written as IPv6", "http://[::ffff:10.0.0.1]"),
)
