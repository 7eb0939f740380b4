"""What the book-keeper writes down, and how it reads an envelope without the server's own code."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

StreamName = tuple[str, str]
"""(kind, external id)"""

_OUTSIDE_STRINGS = re.compile(rb'("(?:[^"\\]|\\.)*")|[ \t\r\n]+')
_BLANK = re.compile(r"[ \t\r\n]*")
_DECODER = json.JSONDecoder(parse_int=str, parse_float=str)  # spelling is all that counts here


@dataclass(slots=True)
class Posted:
    """An event that was sent to POST /v1/events, and what is known about its fate.

    key: idempotency key; data: compact payload bytes; posted_at: clock seconds just before its first POST.
    acknowledged_at, event_id, seq: of the 2xx answer. refused: why the server said no. With neither, its fate is
    not known: it may have been accepted, and nothing can be asked of it but that it is shown whole.
    """

    key: str
    stream: StreamName
    type: str
    data: bytes
    posted_at: float
    acknowledged_at: float | None = None
    event_id: str = ""
    seq: int = 0
    refused: str = ""
    clashes: list[str] = field(default_factory=list)


Wanted = Callable[[Posted], bool]


def everything(posted: Posted) -> bool:
    """The filter that takes every event."""
    return True


@dataclass(frozen=True, slots=True)
class Seen:
    """One event on a live stream. Its place is named by seq or by event_id; None: the frame does not say."""

    at: float
    seq: int | None
    event_id: str | None
    type: str | None
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Cut:
    """From here to the next event seen, what is missing was announced or is the contract's own doing."""

    reason: str


@dataclass(slots=True)
class ViewerLog:
    """What one viewer saw. after_seq: where it began; wants: its filter, None when it takes every event (then the
    seqs it sees must follow each other without a hole)."""

    name: str
    stream: StreamName
    after_seq: int
    wants: Wanted | None
    entries: list[Seen | Cut] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Received:
    """One POST at a receiver. fault: why its signature does not hold, empty when it does."""

    at: float
    webhook_id: str
    body: bytes
    fault: str


@dataclass(slots=True)
class ReceiverLog:
    """What one receiver got. excused: event id -> the terminal state and reason which the API names for it."""

    name: str
    wants: Wanted
    entries: list[Received] = field(default_factory=list)
    excused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as promised. invariant: I1 to I4, see audit.py; where: viewer or receiver."""

    invariant: str
    kind: str
    where: str
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"{self.invariant} {self.kind} at {self.where}: {self.subject}: {self.detail}"


def compact(raw: bytes) -> bytes:
    """JSON bytes without the white space outside strings; everything else as it was spelled."""
    return _OUTSIDE_STRINGS.sub(rb"\1", raw)


def members(body: bytes) -> list[tuple[str, bytes]]:
    """The top-level members of a JSON object as (name, raw value), in order. Raises ValueError for anything else."""
    text = body.decode()
    _DECODER.decode(text)
    found: list[tuple[str, bytes]] = []
    at = _skip(text, text.index("{") + 1)
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        start = _skip(text, _skip(text, at) + 1)
        _, end = _DECODER.raw_decode(text, start)
        found.append((name, text[start:end].encode()))
        at = _skip(text, end)
        at = _skip(text, at + 1) if text[at] == "," else at
    return found


def without(body: bytes, names: Collection[str]) -> bytes:
    """A JSON object, compact, without the members of these names; the others in order and as they were spelled."""
    kept = [
        json.dumps(name, ensure_ascii=False).encode() + b":" + raw for name, raw in members(body) if name not in names
    ]
    return b"{" + b",".join(kept) + b"}"


def stream_of(body: bytes) -> StreamName:
    """The stream that an envelope names; ("", "") when it names none."""
    try:
        stream = json.loads(dict(members(body))["stream"])
        return str(stream["kind"]), str(stream["id"])
    except (ValueError, KeyError, TypeError):
        return "", ""


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at
