"""Events out of a file or standard input, each as the line to send. Payloads stay as they were spelled.

A file holds one JSON object, an array of objects, or one object on each line (NDJSON). Lines are read as they come, so
that a pipe which stays open is sent on at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from app.cli.command import CommandError
from app.core.problem import Problem
from app.core.wire import json_text

BLANK = b" \t\r\n"
MOST_IN_DOCUMENT = 1_000_000  # events in an array: it is read as a whole; lines have no such limit


@dataclass(frozen=True)
class Line:
    """An event to send. number: of its line, or its place in an array, from 1; size: bytes of input it took."""

    number: int
    event: bytes
    size: int


def read_lines(file: BinaryIO) -> Iterator[Line]:
    """The events of a file, blank lines left out. Raises CommandError when it is neither NDJSON nor JSON."""
    number, raw = next(((at, raw) for at, raw in enumerate(file, 1) if raw.strip(BLANK)), (0, b""))
    if not raw:
        return
    if raw.lstrip(BLANK).startswith(b"[") or not is_json(raw):
        yield from _of_document(raw + file.read())
        return
    yield Line(number, raw.strip(BLANK), len(raw))
    for later, raw in enumerate(file, number + 1):
        if raw.strip(BLANK):
            yield Line(later, raw.strip(BLANK), len(raw))


def is_json(raw: bytes) -> bool:
    """Whether this is one JSON text (the server reads it more strictly)."""
    try:
        json.loads(raw)
    except (ValueError, RecursionError):
        return False
    return True


def _of_document(raw: bytes) -> Iterator[Line]:
    """The events of one JSON text that goes over several lines, or is an array."""
    try:
        text = raw.strip(BLANK)
        one = not text.startswith(b"[")
        elements = json_text.split_array(b"[" + text + b"]" if one else text, 1 if one else MOST_IN_DOCUMENT)
    except Problem as problem:
        raise CommandError(f"the input is not JSON, nor one JSON object on each line: {problem.detail}") from None
    for number, element in enumerate(elements, 1):
        yield Line(number, json_text.compact(element.decode()).encode(), len(element))


def completed(event: bytes, defaults: Mapping[str, Any]) -> bytes:
    """The event with members that it does not have put before its own, whose spelling stays. Not for an empty object.

    What is no object is returned as it is: the server says what is wrong with it.
    """
    try:
        members = json.loads(event)
    except (ValueError, RecursionError):
        return event
    if not isinstance(members, dict):
        return event
    missing = {name: value for name, value in defaults.items() if name not in members}
    if not missing:
        return event
    added = json.dumps(missing, ensure_ascii=False, separators=(",", ":"))[1:-1].encode()
    rest = event.lstrip(BLANK)[1:].lstrip(BLANK)
    return b"{" + added + (b"" if rest.startswith(b"}") else b",") + rest
