"""Reloading without a gap: the old web processes serve until the new ones do."""

from __future__ import annotations

import mmap
import signal
import socket
import struct
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, Protocol

OVERLAP_SECONDS = 14  # then old workers end anyhow, within the master's patience (graceful_timeout)
POLL_SECONDS = 0.1


class ReplacedWorker(Protocol):
    """What is used of gunicorn's worker.

    age: counts the workers of a master from 1; handle_exit: its SIGTERM; sockets: its listeners.
    """

    age: int
    alive: bool
    sockets: Sequence[socket.socket]
    handle_exit: Callable[[int, FrameType | None], Any]


class Generations:
    """SIGHUP: start a new generation of workers; shared memory holds its number, size and two flags a worker.

    ready: of the newest generation, whether it serves. listening: of any, which generation takes connections.
    Made in the master before it forks. Each worker writes its own bytes only, so no lock is needed.
    """

    _HEADER = struct.Struct("II")  # number, size

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, mmap.PAGESIZE)
        self._listening = mmap.mmap(-1, mmap.PAGESIZE)

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

    def mark_listening(self, number: int, age: int) -> None:
        """The worker of this age and generation takes connections."""
        self._listening[age % len(self._listening)] = self._mark(number)

    def mark_deaf(self, age: int) -> None:
        """The worker of this age takes connections no more. Said by itself, or by the master when it has died."""
        self._listening[age % len(self._listening)] = 0

    @property
    def old_ones_listen(self) -> bool:
        """Whether a worker of an older generation than the newest takes connections."""
        return bool(set(self._listening[:]) - {0, self._mark(self.number)})

    def _mark(self, number: int) -> int:
        return number % 255 + 1  # a byte that is not 0; 255 generations later the old ones are long gone


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

    def handle_exit(number: int, frame: FrameType | None) -> None:
        if generations.number == own:  # no reload: there is nothing to wait for
            stop(number, frame)
            return
        import gevent

        worker.handle_exit = stop
        signal.signal(signal.SIGTERM, stop)  # asked twice, it ends at once
        gevent.spawn(wait)

    def serves() -> None:
        generations.mark_listening(own, worker.age)
        generations.mark_ready(own, worker.age)

    worker.handle_exit = handle_exit
    return serves


def may_send_away(worker: ReplacedWorker, generations: Generations) -> bool:
    """Whether a worker that ends may send its viewers away: whoever comes back must not come to one that ends, too.

    gunicorn closes the listeners of a worker that ends within about a second, and each does so at a time of its own.
    """
    if any(sock.fileno() >= 0 for sock in worker.sockets):
        return False
    generations.mark_deaf(worker.age)
    return not generations.old_ones_listen
