"""Checks a run's journals (see journal.py) for broken promises: `python -m app.client.books.history FILE…`.

    lost       an accepted event that a receiver or viewer never got, and nothing excuses it
    half       a POST of unknown fate that somebody saw, but not everybody: it is there or it is not
    gap        seqs that a viewer was not shown between two others
    repeated   a seq shown twice to one viewer, or one post accepted twice
    reordered  a seq shown after a later one, or given to a post that began after a later one had been acknowledged
    invented   seen, though nobody posted it or its POST was refused
    changed    another payload, body, id or seq than before; under one webhook-id every POST has the same bytes
    clash      two events in one place, or with one id

A repeat of a webhook under its id and with its bytes is allowed, and counted. Memory: about 0.5 KB a post and 0.1 KB
a webhook; what viewers see takes none while it is in order.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from app.client.books.fates import Fates
from app.client.books.journal import JournalError, read
from app.client.books.witnesses import Receiver, Report, Viewer


def check(paths: Sequence[Path]) -> Report:
    """Read the journals of a run, in any order, and compare what was promised with what was seen.

    They are read twice: first what was posted and who wants it, then what was seen. Raises JournalError and OSError.
    """
    report = Report()
    fates = Fates(report.find)
    everybody = _Everybody(fates, report)
    for path in paths:
        _read(path, _first_reading(fates, everybody))
    fates.finish()
    report.posts.update(post.fate or "unknown" for post in fates.posts())
    acknowledged = sum(post.is_accepted for post in fates.posts())
    for path in paths:
        _read(path, everybody.take)
    everybody.finish()
    report.appeared = sum(post.is_accepted for post in fates.posts()) - acknowledged
    return report


def _first_reading(fates: Fates, everybody: _Everybody) -> Callable[[dict[str, Any]], None]:
    """Takes the records of one file at its first reading."""
    known: dict[str, int] = {}

    def take(record: dict[str, Any]) -> None:
        fates.take(record, known)
        everybody.register(record)

    return take


class _Everybody:
    """All receivers and viewers of a run, by name."""

    def __init__(self, fates: Fates, report: Report) -> None:
        self._fates, self._report = fates, report
        self._receivers: dict[str, Receiver] = {}
        self._viewers: dict[str, Viewer] = {}

    def register(self, record: dict[str, Any]) -> None:
        """Before anything else is taken, as a receiver's records may be in several files."""
        if record["op"] == "register":
            receiver = Receiver(record["at"], record["prefix"], self._fates, self._report)
            if self._receivers.setdefault(receiver.name, receiver).prefix != receiver.prefix:
                raise JournalError(f"{receiver.name!r} is registered with another prefix already")

    def take(self, record: dict[str, Any]) -> None:
        """The next record of what was seen; those of producers are let pass."""
        match record["op"]:
            case "see":
                self._viewers[record["at"]].see(record)
            case "receive":
                self._receivers[record["at"]].receive(record)
            case "excuse":
                self._receivers[record["at"]].excuse(record)
            case "cut":
                self._viewers[record["at"]].cut()
            case "leave":
                self._viewers[record["at"]].leave()
            case "watch":
                self._watch(record["at"], record["stream"], record["after"])
            case "register" | "invoke" | "ok" | "fail" | "unknown":
                pass
            case other:
                raise JournalError(f"there is no op {other!r}")

    def finish(self) -> None:
        """Everything has been read: what is missing?"""
        for receiver in self._receivers.values():
            receiver.finish()
        for viewer in self._viewers.values():
            viewer.finish()

    def _watch(self, name: str, stream: str, after: int) -> None:
        if name in self._viewers:
            raise JournalError(f"{name!r} is watching already; a viewer has one name and one file")
        self._viewers[name] = Viewer(name, stream, after, self._fates, self._report)


def _read(path: Path, take: Callable[[dict[str, Any]], None]) -> None:
    """Give each record of a file to `take`; what that raises is told with file and line."""
    for number, record in read(path):
        try:
            take(record)
        except (LookupError, TypeError, ValueError) as error:
            words = error if isinstance(error, JournalError) else f"{type(error).__name__}: {error}"
            raise JournalError(f"{path}:{number}: {words}") from None


def main(arguments: Iterable[str]) -> int:
    """Print what was found. 0: nothing is wrong; 1: promises were broken; 2: the journals cannot be read."""
    paths = [Path(argument) for argument in arguments]
    if not paths:
        print("usage: python -m app.client.books.history FILE…", file=sys.stderr)
        return 2
    try:
        report = check(paths)
    except (JournalError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(report)
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
