"""Journals: what a run asked of the product and what came of it, written down from outside as JSON lines.

Every process that takes part writes a file of its own, one line at the moment that something happens. All names are
the run's own. A stream's name must be unique in the run ("ws_1/call/call_1"), and so must every posted payload (put
the key into it): `print` is the fingerprint of the payload, `body` that of a webhook's whole body.

Producers write `invoke` before each POST, and one of the other three when its fate is known:

    {"op": "invoke", "key": "k1", "stream": "ws_1/call/call_1", "print": "…"}
    {"op": "ok", "key": "k1", "id": "evt_1", "seq": 1}   a 2xx answer
    {"op": "fail", "key": "k1"}                          a 4xx answer: the event must never be seen
    {"op": "unknown", "key": "k1"}                       no answer, or a 5xx: everybody sees the event, or nobody

A repeat under the same idempotency key is another `invoke` of it. An `invoke` that nothing follows is unknown: its
producer was killed. `ok` outranks `unknown`, which outranks `fail`.

Receivers say which streams they want (all whose names begin with a prefix), and write every POST that they answer.
What the API says about a delivery that has ended without success excuses it:

    {"op": "register", "at": "customer", "prefix": "ws_1/"}
    {"op": "receive", "at": "customer", "status": 200,
     "id": "evt_1", "stream": "ws_1/call/call_1", "seq": 1, "print": "…", "body": "…"}      (on one line)
    {"op": "excuse", "at": "customer", "id": "evt_1", "why": "failed: window_exhausted"}

Viewers say which stream they watch and from which seq on. They see every event of it, until they leave or the run
ends; what is missing between a `cut` and the next event was announced, or is the contract's own doing. One of `seq`
and `id` may be null when the frames do not say it. A resumed connection continues the same watch:

    {"op": "watch", "at": "dashboard", "stream": "ws_1/call/call_1", "after": 0}
    {"op": "see", "at": "dashboard", "seq": 1, "id": "evt_1", "print": "…"}
    {"op": "cut", "at": "dashboard"}
    {"op": "leave", "at": "dashboard"}
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Half a million payloads collide by chance once in a hundred million runs.
_FINGERPRINT_BYTES = 8


class JournalError(ValueError):
    """A journal cannot be read as what it should be; the words name file and line."""


def fingerprint(data: bytes) -> str:
    """A short name for some bytes."""
    return hashlib.blake2b(data, digest_size=_FINGERPRINT_BYTES).hexdigest()


class Journal:
    """Writes one process's file. It may be used from any thread: a line is one write to a file opened for appending."""

    def __init__(self, path: Path) -> None:
        """path: a file that does not exist yet, so that nothing is appended to the torn line of a killed process."""
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o644)

    def write(self, op: str, **fields: Any) -> None:
        """Append one line. Once this has returned, the line outlives the process (not the machine)."""
        text = line(op, **fields)
        if os.write(self._file, text) != len(text):
            raise OSError(f"a line of the journal was cut short: {text!r}")  # a full disk

    def close(self) -> None:
        os.close(self._file)


def line(op: str, **fields: Any) -> bytes:
    """One line of a journal."""
    return json.dumps({"op": op, **fields}, separators=(",", ":")).encode() + b"\n"


def read(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of a file with their line numbers. A last line without a line feed is left out: its writer was
    killed in the middle of it. Raises JournalError for any other line that is not a JSON object."""
    decode = json.JSONDecoder().decode
    # surrogateescape: the torn line may end inside a character.
    with path.open(encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        for number, text in enumerate(file, 1):
            if not text.endswith("\n"):
                return
            try:
                record = decode(text)
            except ValueError as error:
                raise JournalError(f"{path}:{number}: {error}") from None
            if not isinstance(record, dict):
                raise JournalError(f"{path}:{number}: not an object")
            yield number, record
