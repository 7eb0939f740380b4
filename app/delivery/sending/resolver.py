"""Looks host names up in threads of its own, so that names whose servers are silent delay nobody else's.

libcurl has 20 threads for the look-ups of all its transfers, and a look-up cannot be cancelled: 40 names of one
customer whose name servers were silent made everybody's attempts time out. Here an owner may hold as many threads as
are still free, and no more: one owner with only silent names takes half of all threads, two take a third each, and one
thread is always left for somebody else. Names that were slow last time are counted apart from their owner's others.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

# A thread that waits for a name server costs about 20 KiB and one or two sockets.
THREADS = 128
# A thread without work ends after this.
IDLE_SECONDS = 10.0
# Long enough that a burst to one host asks once; a host that moves is followed after this.
KEPT_SECONDS = 5.0
FAILURE_KEPT_SECONDS = 1.0
# Look-ups take milliseconds. One that takes this long asks servers that do not answer.
SLOW_SECONDS = 1.0
SLOW_KEPT_SECONDS = 600.0
# Names that are remembered with their addresses, and names that are remembered as slow. A forgotten one is asked again.
NAMES_KEPT = 4096
# libcurl tries the addresses one after the other within the time to connect, and never reaches later ones.
MAX_ADDRESSES = 16

LookUp = Callable[[str], list[str]]
_Share = tuple[str, bool]
"""Threads are shared out by owner, and by whether the names were slow last time."""


@dataclass(frozen=True, slots=True)
class Resolution:
    """The addresses of a name in the order in which to try them. None when the look-up failed: `error` says why."""

    addresses: tuple[str, ...]
    error: str | None = None


def look_up(name: str) -> list[str]:
    """The addresses that the system's resolver knows for a name (ASCII). Raises OSError when there are none."""
    entries = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in entries]


class Resolver:
    """Looks names up. `ask`, `new_answers`, `forget` and `close` belong to one thread, and none of them waits."""

    def __init__(
        self, look_up: LookUp = look_up, *, threads: int = THREADS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """clock: seconds; how long answers are kept is measured by it."""
        self._look_up, self._threads, self._clock = look_up, threads, clock
        self._condition = threading.Condition()
        self._threads_alive = self._threads_idle = 0
        self._queues: dict[_Share, deque[str]] = {}
        self._wanted: set[str] = set()
        self._running: set[str] = set()
        self._threads_held: Counter[_Share] = Counter()
        self._kept: dict[str, tuple[Resolution, float]] = {}  # with the end of its time
        self._slow: dict[str, float] = {}  # when they no longer count as slow
        self._answers: dict[str, Resolution] = {}
        self._closed = False
        # A pipe: bytes in it mean that there are answers.
        self._readable, self._writable = os.pipe()
        os.set_blocking(self._readable, False)
        os.set_blocking(self._writable, False)

    def fileno(self) -> int:
        """A descriptor that can be read when `new_answers` has something."""
        return self._readable

    def ask(self, name: str, owner: str) -> Resolution | None:
        """What is known of a name now. None: it is being looked up, and `new_answers` will have it.

        owner: whose share of the threads is used.
        """
        now = self._clock()
        with self._condition:
            kept = self._kept.get(name)
            if kept and now < kept[1]:
                return kept[0]
            self._wanted.add(name)
            queue = self._queues.setdefault((owner, self._slow.get(name, 0.0) > now), deque())
            if name not in queue:
                queue.append(name)
            self._use_another_thread()
        return None

    def new_answers(self) -> dict[str, Resolution]:
        """The answers that have come since the last call, by name."""
        with self._condition:
            with suppress(BlockingIOError):
                while os.read(self._readable, 4096):
                    pass
            answers, self._answers = self._answers, {}
        return answers

    def forget(self, name: str) -> None:
        """Nobody waits for this name any more. It is not looked up, unless that has begun."""
        with self._condition:
            self._wanted.discard(name)

    def close(self) -> None:
        """Begin no more look-ups. Threads that wait for a name server end when it answers, or when it times out."""
        with self._condition:
            if self._closed:
                return
            self._closed = True
            self._queues.clear()
            self._condition.notify_all()
            os.close(self._readable)
            os.close(self._writable)

    def _use_another_thread(self) -> None:
        """Wake an idle thread, or start one."""
        if self._threads_idle:
            self._condition.notify()
        elif self._threads_alive < self._threads:
            with suppress(RuntimeError):  # the system has no more threads for us: the existing ones will do the work
                threading.Thread(target=self._work, name="look-up", daemon=True).start()
                self._threads_alive += 1

    def _work(self) -> None:
        while (next_name := self._wait_for_name()) is not None:
            name, share = next_name
            started_at = self._clock()
            self._finish(name, share, self._resolve(name), started_at)

    def _wait_for_name(self) -> tuple[str, _Share] | None:
        """The next name to look up, and whose share it counts against. None: the thread is to end."""
        with self._condition:
            was_woken = True
            while (next_name := self._next_name()) is None:
                if self._closed or not was_woken:
                    self._threads_alive -= 1
                    return None
                self._threads_idle += 1
                was_woken = self._condition.wait(IDLE_SECONDS)
                self._threads_idle -= 1
            if self._queues:
                self._use_another_thread()
        return next_name

    def _next_name(self) -> tuple[str, _Share] | None:
        """A name whose owner may hold another thread. Owners take turns."""
        for share in list(self._queues):
            queue = self._queues.pop(share)
            while queue and (queue[0] not in self._wanted or queue[0] in self._running):
                queue.popleft()
            if not queue:
                continue
            self._queues[share] = queue  # now the last in line
            if self._threads_held[share] < self._threads - len(self._running):
                name = queue.popleft()
                self._running.add(name)
                self._threads_held[share] += 1
                return name, share
        return None

    def _resolve(self, name: str) -> Resolution:
        try:
            texts = self._look_up(name)
        except (OSError, ValueError) as error:
            return Resolution((), f"Could not resolve host: {name} ({getattr(error, 'strerror', None) or error})")
        # Without their scope: an address that is bound to a network interface is refused in any case.
        addresses = tuple(dict.fromkeys(text.partition("%")[0] for text in texts))[:MAX_ADDRESSES]
        return Resolution(addresses, None if addresses else f"Could not resolve host: {name} (no address)")

    def _finish(self, name: str, share: _Share, answer: Resolution, started_at: float) -> None:
        now = self._clock()
        with self._condition:
            self._running.discard(name)
            self._threads_held[share] -= 1
            if not self._threads_held[share]:
                del self._threads_held[share]
            self._kept.pop(name, None)
            self._kept[name] = answer, now + (FAILURE_KEPT_SECONDS if answer.error else KEPT_SECONDS)
            self._slow.pop(name, None)
            if now - started_at > SLOW_SECONDS:
                self._slow[name] = now + SLOW_KEPT_SECONDS
            _limit(self._kept)
            _limit(self._slow)
            if name in self._wanted and not self._closed:
                self._wanted.discard(name)
                self._answers[name] = answer
                with suppress(BlockingIOError):  # the pipe is full: then it can be read already
                    os.write(self._writable, b".")


def _limit(names: dict[str, Any]) -> None:
    """Forget the oldest name when there are too many."""
    if len(names) > NAMES_KEPT:
        del names[next(iter(names))]
