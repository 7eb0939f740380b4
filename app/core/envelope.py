"""The canonical envelope: the bytes that every webhook and every canonical stream frame carries.

    {"id":"evt_…","type":"call.barge_in","timestamp":"2026-11-20T10:00:00.123Z","workspace_id":"ws_…",
     "stream":{"kind":"call","id":"call_1"},"seq":42,"data":{…}}

(on one line). `data` comes last and holds the producer's own spelling, so that big integers, floats and key order
arrive as they were posted.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_DATA = b',"data":'  # cannot occur earlier: inside a JSON string the quotes would be escaped


@dataclass(frozen=True, slots=True)
class Event:
    """An accepted event as the live side carries it. body: the canonical envelope."""

    id: str
    seq: int
    type: str
    timestamp: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Announcement:
    """What the bus tells of a stream (its row id) after commit.

    event None with ends: the stream was ended at `seq` without an event. event None without ends: the event at `seq`
    was too large for the bus and is to be read from the log.
    """

    stream: int
    seq: int
    event: Event | None
    ends: bool


def rfc3339(moment: datetime) -> str:
    """An aware datetime as RFC 3339 in UTC with milliseconds, such as 2026-11-20T10:00:00.123Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(
    *, id: str, type: str, timestamp: str, workspace_id: str, kind: str, stream_id: str, seq: int, data: str
) -> bytes:
    """The envelope as UTF-8 bytes. data: compact JSON text on one line, put in as it is."""
    return (
        f'{{"id":"{id}","type":{_string(type)},"timestamp":"{timestamp}","workspace_id":"{workspace_id}",'
        f'"stream":{{"kind":{_string(kind)},"id":{_string(stream_id)}}},"seq":{seq},"data":{data}}}'
    ).encode()


def data_of(body: bytes) -> bytes:
    """The payload inside an envelope, in the producer's spelling."""
    return body[body.index(_DATA) + len(_DATA) : -1]


def members(raw: str) -> list[tuple[str, str, str]]:
    """The top-level members of a JSON object's text as (name, raw value text, the whole member's text), in order.

    raw must be a valid JSON object.
    """
    found: list[tuple[str, str, str]] = []
    decoder = json.JSONDecoder(parse_int=str, parse_float=str)
    at = _skip(raw, 1)
    while raw[at] == '"':
        begin = at
        name, at = json.decoder.scanstring(raw, at + 1, True)  # type: ignore[attr-defined]
        start = _skip(raw, _skip(raw, at) + 1)
        _, at = decoder.raw_decode(raw, start)
        found.append((name, raw[start:at], raw[begin:at]))
        at = _skip(raw, at)
        if raw[at] == ",":
            at = _skip(raw, at + 1)
    return found


def compact(raw: str) -> str:
    """Valid JSON text without the white space outside its strings; every number and string as it was spelled."""
    return _OUTSIDE.sub(r"\1", raw) if _ANY_SPACE.search(raw) else raw


def is_deeper(raw: str, levels: int) -> bool:
    """Whether arrays and objects in JSON text are nested deeper than so many levels; by scans that do not recurse.

    Text that is not JSON may be called either way, but what is not called deep can be parsed without deep recursion.
    """
    if raw.count("[") + raw.count("{") <= levels:
        return False
    brackets = _NOT_BRACKETS.sub("", raw).replace("{", "[").replace("}", "]")
    for _ in range(levels):  # each time without its innermost level
        inner = brackets.replace("[]", "")
        if len(inner) == len(brackets):
            break
        brackets = inner
    return brackets.count("[") > levels or "[]" in brackets


def string_value(data: Any, field: str) -> str | None:
    """A top-level string member of parsed data, or None."""
    value = data.get(field) if isinstance(data, dict) else None
    return value if isinstance(value, str) else None


def _string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _skip(raw: str, at: int) -> int:
    found = _SPACE.match(raw, at)
    return found.end() if found else at


_SPACE = re.compile(r"[ \t\n\r]*")
# Possessive (no backtracking), and a string that is not closed reaches to the end: every text takes linear time. With
# plain quantifiers 30 KB of escaped quotes held the process for seconds.
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?'
_OUTSIDE = re.compile(rf"({_STRING})|[ \t\n\r]+", re.DOTALL)
_NOT_BRACKETS = re.compile(rf'{_STRING}|[^\[\]{{}}"]++', re.DOTALL)
_ANY_SPACE = re.compile(r"[ \t\n\r]")
