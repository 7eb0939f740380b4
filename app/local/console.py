"""What a local run prints: the lines of many processes, each with its name before it."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread

COLOURS = ("36", "33", "32", "35", "34", "31")  # ANSI: readable on dark and on light
LINES_WAITING = 1_000  # a slow terminal catches up with a burst of so many; at most 64 MB of the longest lines
LAST_LINES_SECONDS = 1.0  # for a reader who is there; one who is not may not hold up the end


class Console:
    """Writes lines to standard output without waiting for whoever reads them.

    A thread of its own writes. If the caller did, a pipe that nobody reads would stop it, then the processes whose
    output it collects, and so the product. Lines that the thread cannot keep up with are dropped.
    """

    def __init__(self, names: list[str], descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._width = max(map(len, names))
        coloured = os.isatty(descriptor) and "NO_COLOR" not in os.environ
        self._colours = dict(zip(names, COLOURS, strict=False)) if coloured else {}
        self._waiting: SimpleQueue[bytes] = SimpleQueue()
        self._writer = Thread(target=self._write, name="console", daemon=True)
        self._writer.start()

    def line(self, name: str, text: bytes) -> None:
        """Print one line of process `name`."""
        prefix = f"{name:<{self._width}} | "
        if colour := self._colours.get(name):
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        self._put(prefix.encode() + text + b"\n")

    def plain(self, text: str) -> None:
        """Print text as it is: what is meant to be copied."""
        self._put(text.encode() + b"\n")

    def close(self) -> None:
        """Wait until everything is written, if somebody reads it. Nothing is printed afterwards."""
        self._waiting.put(b"")
        self._writer.join(LAST_LINES_SECONDS)

    def _put(self, data: bytes) -> None:
        if self._waiting.qsize() < LINES_WAITING:
            self._waiting.put(data)

    def _write(self) -> None:
        while data := self._waiting.get():
            with suppress(OSError):  # the reader is gone (a closed pipe or terminal)
                while data:
                    data = data[os.write(self._descriptor, data) :]


def warn(text: str) -> None:
    """Print to standard error, for what ends a command."""
    print(text, file=sys.stderr, flush=True)
