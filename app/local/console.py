"""What a local run prints: the lines of many processes, each with its name before it."""

from __future__ import annotations

import os
import select
import sys

COLOURS = ("36", "33", "32", "35", "34", "31")  # ANSI: readable on dark and on light
WRITE_BYTES = 4096  # PIPE_BUF: a pipe that polls as writable takes this much without blocking
WAIT_MS = 200


class Console:
    """Writes lines to standard output and never waits for a reader: a run whose output nobody reads goes on.

    A pipe that is full loses lines (and says how many when it has room again); a closed one ends the printing only.
    """

    def __init__(self, names: list[str], descriptor: int = 1) -> None:
        self._descriptor = descriptor
        self._width = max(map(len, names))
        coloured = os.isatty(descriptor) and "NO_COLOR" not in os.environ
        self._colours = dict(zip(names, COLOURS, strict=False)) if coloured else {}
        self._lost = 0
        self._closed = False

    def line(self, name: str, text: bytes) -> None:
        """Print one line of process `name`."""
        prefix = f"{name:<{self._width}} | "
        if colour := self._colours.get(name):
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        self._write(prefix.encode() + text + b"\n")

    def plain(self, text: str) -> None:
        """Print text as it is: what is meant to be copied."""
        self._write(text.encode() + b"\n")

    def _write(self, data: bytes) -> None:
        if self._lost and self._room(0):
            lost, self._lost = self._lost, 0
            self._send(f"({lost} lines not shown: nobody was reading)\n".encode())
        while data and not self._closed:
            if not self._room(0 if self._lost else WAIT_MS):
                self._lost += 1
                return
            data = data[self._send(data[:WRITE_BYTES]) :]

    def _room(self, wait_ms: int) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(wait_ms))

    def _send(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except OSError:
            self._closed = True  # the reader is gone (a closed pipe or terminal)
            return len(data)


def warn(text: str) -> None:
    """Print to standard error, for what ends a command."""
    print(text, file=sys.stderr, flush=True)
