"""Reloading without a gap: the old web processes serve until the new ones do."""

from __future__ import annotations

import mmap
import signal
import struct
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Protocol

OVERLAP_SECONDS = 14  # then old workers end anyhow, within the master's patience (graceful_timeout)
POLL_SECONDS = 0.1


class ReplacedWorker(Protocol):
    """What is used of gunicorn's worker. age: counts the workers of a master from 1; handle_exit: its SIGTERM."""

    age: int
    alive: bool
    handle_exit: Callable[[int, FrameType | None], Any]


class Generations:
    """SIGHUP: start a new generation of workers; shared memory holds its number, size and one ready flag each.

    Made in the master before it forks. Each worker writes its own byte only, so no lock is needed.
    """

    _HEADER = struct.Struct("II")  # number, size

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)

    @property
    def number(self) -> int:
        """Of the newest generation; the first is 0."""
        return int(self._HEADER.unpack_from(self._memory)[0])

    @property
    def is_ready(self) -> bool:
        """Whether as many workers of the newest generation serve as it is to have."""
        size = int(self._HEADER.unpack_from(self._memory)[1])
        return sum(self._memory[self._HEADER.size :]) >= size

    def begin(self, size: int) -> None:
        """Start a generation of `size` workers. The flags go first: those of the old one must not count for it."""
        flags = len(self._memory) - self._HEADER.size
        self._memory[self._HEADER.size :] = bytes(flags)
        self._HEADER.pack_into(self._memory, 0, self.number + 1, size)

    def mark_ready(self, number: int, age: int) -> None:
        """The worker of this age serves; ignored when its generation is no longer the newest."""
        if number == self.number:
            flags = len(self._memory) - self._HEADER.size
            self._memory[self._HEADER.size + age % flags] = 1


def serve_until_replaced(worker: ReplacedWorker, generations: Generations) -> Callable[[], None]:
    """Let a worker that is told to end because of a reload serve on until the next generation is ready.

    gunicorn sends SIGTERM to the old workers as soon as the new ones are forked, some seconds before those can serve.
    Called in the worker. Returns what it is to call when it serves itself.
    """
    own = generations.number
    stop = worker.handle_exit

    def wait() -> None:
        import gevent  # in the worker, which has patched the standard library by now

        until = time.monotonic() + OVERLAP_SECONDS
        while generations.number != own and not generations.is_ready and time.monotonic() < until:
            gevent.sleep(POLL_SECONDS)
        worker.alive = False

    def handle_exit(_number: int, _frame: FrameType | None) -> None:
        import gevent

        worker.handle_exit = stop
        signal.signal(signal.SIGTERM, stop)  # asked twice, it ends at once
        gevent.spawn(wait)

    worker.handle_exit = handle_exit
    return lambda: generations.mark_ready(own, worker.age)
