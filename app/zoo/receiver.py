"""What a receiver is: data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from app.core.webhook.retry import Outcome
from app.zoo.wire import Wire


class Step(Protocol):
    """Something that a receiver does on a connection. `str(step)` says it in words."""

    def act(self, wire: Wire) -> None:
        """Do it. Raises Gone or OSError when the sender has gone."""


class Group(StrEnum):
    """What a receiver does its harm with."""

    HEALTHY = "healthy"
    CONNECTION = "connection"
    HEAD = "head"
    LENGTH = "length"
    BODY = "body"
    STATUS = "status"
    REUSED = "re-used connection"
    TLS = "TLS"
    HTTP2 = "HTTP/2"
    NAME = "name"


class Listening(StrEnum):
    """How a receiver's port behaves before any step."""

    ACCEPTS = "accepts"
    FULL = "full"  # listens, and its queue of connections is full
    REFUSES = "refuses"  # the port is ours and nobody listens


@dataclass(frozen=True, slots=True)
class Expected:
    """What a good sender makes of one POST. `status_code` is set when a complete head of an answer came. `also`: what
    is as good, where that is a matter of luck or of how the sender is built."""

    outcome: Outcome
    status_code: int | None = None
    also: Expected | None = None

    def __str__(self) -> str:
        text = f"{self.outcome} {self.status_code}" if self.status_code else str(self.outcome)
        return f"{text} or {self.also}" if self.also else text


@dataclass(frozen=True, slots=True)
class Receiver:
    """One receiver. Its name is the path of its URL, too.

    `expected`: one for each POST; the POSTs of one receiver are sent one after the other, `pause_seconds` apart.
    `address`: the URL's scheme, host and port where these are not the zoo's own: nothing is served then.
    `host`: a name that the zoo's name server knows. `body_bytes`: the POST must be at least so large to show it.
    `receive_buffer`: the kernel's, in bytes; None: the system's default.
    """

    name: str
    summary: str
    steps: tuple[Step, ...]
    expected: tuple[Expected, ...]
    group: Group
    scheme: str = "http"
    host: str = "127.0.0.1"
    address: str | None = None
    listening: Listening = Listening.ACCEPTS
    pause_seconds: float = 0.0
    body_bytes: int = 2
    receive_buffer: int | None = None

    def url(self, port: int) -> str:
        """Where to POST."""
        return f"{self.address or f'{self.scheme}://{self.host}:{port}'}/{self.name}"

    @property
    def wire(self) -> str:
        """What it does on the wire, in words."""
        if self.address:
            return "nothing: it is not reached"
        if self.listening is not Listening.ACCEPTS:
            return {Listening.FULL: "its queue of connections is full", Listening.REFUSES: "nobody listens"}[
                self.listening
            ]
        return ", ".join(map(str, self.steps)) or "closes"


SUCCESS = (Expected(Outcome.SUCCESS, 200),)
TIMEOUT = (Expected(Outcome.TIMEOUT),)
CONNECT_ERROR = (Expected(Outcome.CONNECT_ERROR),)
DNS_ERROR = (Expected(Outcome.DNS_ERROR),)
TLS_ERROR = (Expected(Outcome.TLS_ERROR),)
BLOCKED_ADDRESS = (Expected(Outcome.BLOCKED_ADDRESS),)
PROTOCOL_ERROR = (Expected(Outcome.PROTOCOL_ERROR),)


def http_error(status_code: int) -> tuple[Expected, ...]:
    """The one POST was answered so."""
    return (Expected(Outcome.HTTP_ERROR, status_code),)
