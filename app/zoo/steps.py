"""The steps that receivers are made of: what to send and when, how to read, how to close."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.zoo.receiver import Step
from app.zoo.wire import Gone, Wire

SHOWN_BYTES = 90


def perform(steps: Sequence[Step], wire: Wire) -> None:
    """Take all steps, then close in good order. A sender that has gone, or sends no request, ends them early."""
    with suppress(Gone, OSError, ValueError):
        for step in steps:
            step.act(wire)
        wire.close()


def _shown(data: bytes) -> str:
    text = repr(data[:SHOWN_BYTES])[1:]
    return f"{text}… ({len(data):,} bytes)" if len(data) > SHOWN_BYTES else text


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """Read a request whole, its body by Content-Length or in chunks, and count it."""

    def act(self, wire: Wire) -> None:
        head = wire.read_until(b"\r\n\r\n").lower()
        wire.count_request()
        if b"\r\nexpect: 100-continue\r\n" in head:
            wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if re.search(rb"\r\ntransfer-encoding: *chunked\r\n", head):
            while length := int(wire.read_until(b"\r\n").partition(b";")[0], 16):
                wire.skip(length + 2)
            while wire.read_until(b"\r\n") != b"\r\n":
                pass
        elif length_line := re.search(rb"\r\ncontent-length: *(\d+)", head):
            wire.skip(int(length_line[1]))

    def __str__(self) -> str:
        return "reads a request"


@dataclass(frozen=True, slots=True)
class ReadHead:
    """Read a request's head, count it, and leave its body unread."""

    def act(self, wire: Wire) -> None:
        wire.read_until(b"\r\n\r\n")
        wire.count_request()

    def __str__(self) -> str:
        return "reads a request's head"


@dataclass(frozen=True, slots=True)
class ReadSlowly:
    """Read `length` bytes each `seconds`, without end."""

    length: int
    seconds: float

    def act(self, wire: Wire) -> None:
        while True:
            wire.receive(self.length)
            wire.wait(self.seconds)

    def __str__(self) -> str:
        return f"reads {self.length:,} B each {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class WaitForRequest:
    """Wait until a request begins to come, and leave it unread."""

    def act(self, wire: Wire) -> None:
        wire.wait_for_bytes()

    def __str__(self) -> str:
        return "waits for the first byte"


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes; `raw`: past TLS."""

    data: bytes
    raw: bool = False

    def act(self, wire: Wire) -> None:
        (wire.send_raw if self.raw else wire.send)(self.data)

    def __str__(self) -> str:
        return f"sends {_shown(self.data)}" + (" past TLS" if self.raw else "")


@dataclass(frozen=True, slots=True)
class SendUrgent:
    """Send one byte out of band (TCP's urgent data)."""

    byte: bytes

    def act(self, wire: Wire) -> None:
        wire.send_urgent(self.byte)

    def __str__(self) -> str:
        return f"sends {_shown(self.byte)} as urgent data"


@dataclass(frozen=True, slots=True)
class Flood:
    """Send these bytes without end, as fast as the sender takes them; `raw`: past TLS.

    `together`: how many bytes go out by one call, and in one TLS record; many, so that the cost is the sender's.
    """

    data: bytes
    raw: bool = False
    together: int = 8192

    def act(self, wire: Wire) -> None:
        send = wire.send_raw if self.raw else wire.send
        many = self.data * max(1, self.together // len(self.data))
        while True:
            send(many)

    def __str__(self) -> str:
        return f"sends {_shown(self.data)} without end" + (" past TLS" if self.raw else "")


@dataclass(frozen=True, slots=True)
class Drip:
    """Send these bytes again and again, `length` at a time, each `seconds`."""

    data: bytes
    seconds: float = 1.0
    length: int = 1
    raw: bool = False

    def act(self, wire: Wire) -> None:
        send = wire.send_raw if self.raw else wire.send
        while True:
            for start in range(0, len(self.data), self.length):
                send(self.data[start : start + self.length])
                wire.wait(self.seconds)

    def __str__(self) -> str:
        return f"sends {_shown(self.data)} without end, {self.length} B each {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class Wait:
    """Do nothing for so long."""

    seconds: float

    def act(self, wire: Wire) -> None:
        wire.wait(self.seconds)

    def __str__(self) -> str:
        return f"waits {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class Stall:
    """Neither read nor write nor close until the sender closes."""

    def act(self, wire: Wire) -> None:
        while True:
            wire.wait(60)

    def __str__(self) -> str:
        return "stalls"


@dataclass(frozen=True, slots=True)
class ShrinkWindow:
    """Offer the sender a window of so many bytes from now on."""

    length: int

    def act(self, wire: Wire) -> None:
        wire.clamp_window(self.length)

    def __str__(self) -> str:
        return f"shrinks its window to {self.length:,} B"


@dataclass(frozen=True, slots=True)
class CloseAtOnce:
    """Close, with whatever has come unread."""

    def act(self, wire: Wire) -> None:
        wire.close_at_once()

    def __str__(self) -> str:
        return "closes without reading"


@dataclass(frozen=True, slots=True)
class EndTls:
    """End TLS in good order, and leave the connection open."""

    def act(self, wire: Wire) -> None:
        wire.end_tls()

    def __str__(self) -> str:
        return "ends TLS"


@dataclass(frozen=True, slots=True)
class Close:
    """Close in good order."""

    def act(self, wire: Wire) -> None:
        wire.close()
        raise Gone

    def __str__(self) -> str:
        return "closes"


@dataclass(frozen=True, slots=True)
class Reset:
    """Close by a reset."""

    def act(self, wire: Wire) -> None:
        wire.reset()

    def __str__(self) -> str:
        return "resets the connection"


@dataclass(frozen=True, slots=True)
class ClosePort:
    """Refuse connections for so long."""

    seconds: float

    def act(self, wire: Wire) -> None:
        wire.close_port(self.seconds)

    def __str__(self) -> str:
        return f"closes its port for {self.seconds:g} s"


@dataclass(frozen=True, slots=True)
class KeepOn:
    """Take these steps again and again, for one request after the other."""

    steps: tuple[Step, ...]

    def act(self, wire: Wire) -> None:
        while True:
            for step in self.steps:
                step.act(wire)

    def __str__(self) -> str:
        return f"again and again: {', '.join(map(str, self.steps))}"


def answer_each(*steps: Step) -> tuple[Step, ...]:
    """Take these steps for each request that comes on a connection."""
    return (KeepOn((ReadRequest(), *steps)),)
