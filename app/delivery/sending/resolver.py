"""Looks host names up, in threads of its own: names that nobody answers for keep no others waiting.

libcurl has 20 threads for the look-ups of all its transfers, and a look-up cannot be cut off: 40 names of one customer
whose servers are silent made everybody's attempts time out. Here whoever asks may hold as many threads as are still
free, and no more: one who has only silent names takes half of all threads, two take a third each, and there is always
one left for somebody else. Names that were slow the last time are counted apart from their owner's other names.
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

# A thread that waits for an answer costs some 20 KiB and one or two sockets.
THREADS = 128
# A thread without work ends after this.
IDLE_SECONDS = 10.0
# So that a burst to one host asks once. A host that moves is followed after this.
KEPT_SECONDS = 5.0
FAILURE_KEPT_SECONDS = 1.0
# Look-ups take milliseconds; one that takes this long asks servers that do not answer.
SLOW_SECONDS = 1.0
SLOW_KEPT_SECONDS = 600.0
# Names that are remembered, be it for an answer or as slow; one that is forgotten is asked for again.
NAMES_KEPT = 4096
# libcurl tries one address after the other within the time to connect: it never comes to the later ones.
MOST_ADDRESSES = 16

LookUp = Callable[[str], list[str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """The addresses of a name in the order in which to try them; none when the look-up failed, for `error`."""

    addresses: tuple[str, ...]
    error: str | None = None


def look_up(name: str) -> list[str]:
    """The addresses that the system's resolver knows for a name (ASCII). Raises OSError when there are none."""
    found = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Resolver:
    """Look-ups under way. `ask`, `take`, `forget` and `close` belong to one thread, and none of them waits."""

    def __init__(self, look_up: LookUp = look_up, *, threads: int = THREADS) -> None:
        self._look_up, self._threads = look_up, threads
        self._condition = threading.Condition()
        self._alive = self._idle = 0  # threads
        self._queues: dict[tuple[str, bool], deque[str]] = {}  # by owner, and whether the names were slow
        self._wanted: set[str] = set()
        self._running: set[str] = set()
        self._held: Counter[tuple[str, bool]] = Counter()
        self._kept: dict[str, tuple[Answer, float]] = {}
        self._slow: dict[str, float] = {}
        self._answers: dict[str, Answer] = {}
        self._closed = False
        self._bell, self._rope = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._rope, False)

    def fileno(self) -> int:
        """A descriptor that can be read when `take` has something."""
        return self._bell

    def ask(self, name: str, owner: str) -> Answer | None:
        """What is known of a name now; None: `take` will have it. owner: who has to share their threads."""
        now = time.monotonic()
        with self._condition:
            kept = self._kept.get(name)
            if kept and now < kept[1]:
                return kept[0]
            self._wanted.add(name)
            queue = self._queues.setdefault((owner, self._slow.get(name, 0.0) > now), deque())
            if name not in queue:
                queue.append(name)
            self._stir()
        return None

    def take(self) -> dict[str, Answer]:
        """The answers that have come since the last call, by name."""
        with self._condition:
            with suppress(BlockingIOError):
                while os.read(self._bell, 4096):
                    pass
            answers, self._answers = self._answers, {}
        return answers

    def forget(self, name: str) -> None:
        """Nobody waits for this name any more: it is not looked up unless that is under way."""
        with self._condition:
            self._wanted.discard(name)

    def close(self) -> None:
        """Look nothing more up. Threads that wait for an answer end when it comes, and do nothing with it."""
        with self._condition:
            if self._closed:
                return
            self._closed = True
            self._queues.clear()
            self._condition.notify_all()
            os.close(self._bell)
            os.close(self._rope)

    def _stir(self) -> None:
        """See that a thread looks at the queues."""
        if self._idle:
            self._condition.notify()
        elif self._alive < self._threads:
            with suppress(RuntimeError):  # no more threads to be had: those that are there will come round
                threading.Thread(target=self._work, name="look-up", daemon=True).start()
                self._alive += 1

    def _work(self) -> None:
        while (found := self._wait_for_one()) is not None:
            name, share = found
            started_at = time.monotonic()
            answer = self._answer(name)
            self._finish(name, share, answer, started_at)

    def _wait_for_one(self) -> tuple[str, tuple[str, bool]] | None:
        """The next name to look up; None: the thread is to end."""
        with self._condition:
            in_time = True
            while (found := self._next()) is None:
                if self._closed or not in_time:
                    self._alive -= 1
                    return None
                self._idle += 1
                in_time = self._condition.wait(IDLE_SECONDS)
                self._idle -= 1
            if self._queues:
                self._stir()
        return found

    def _next(self) -> tuple[str, tuple[str, bool]] | None:
        """A name whose owner may have another thread; the owners take turns."""
        for share in list(self._queues):
            queue = self._queues.pop(share)
            while queue and (queue[0] not in self._wanted or queue[0] in self._running):
                queue.popleft()
            if not queue:
                continue
            self._queues[share] = queue  # at the end of the line
            if self._held[share] < self._threads - len(self._running):
                name = queue.popleft()
                self._running.add(name)
                self._held[share] += 1
                return name, share
        return None

    def _answer(self, name: str) -> Answer:
        try:
            found = self._look_up(name)
        except (OSError, ValueError) as error:
            return Answer((), f"Could not resolve host: {name} ({getattr(error, 'strerror', None) or error})")
        # Without their scope: an address that is bound to a network interface is refused in any case.
        addresses = tuple(dict.fromkeys(address.partition("%")[0] for address in found))[:MOST_ADDRESSES]
        return Answer(addresses, None if addresses else f"Could not resolve host: {name} (no address)")

    def _finish(self, name: str, share: tuple[str, bool], answer: Answer, started_at: float) -> None:
        now = time.monotonic()
        with self._condition:
            self._running.discard(name)
            self._held[share] -= 1
            if not self._held[share]:
                del self._held[share]
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
                with suppress(BlockingIOError):  # full: it can be read already
                    os.write(self._rope, b".")


def _limit(known: dict[str, Any]) -> None:
    """Forget the oldest."""
    if len(known) > NAMES_KEPT:
        del known[next(iter(known))]
