"""How long the machine itself stood still: on a shared one, seconds that no program could have used.

A thread asks to be woken again and again; what it is late by, others were, too. A busy processor makes it late by some
milliseconds, since whoever sleeps most is woken first; a machine that was taken away makes it late by all of that time.
"""

from __future__ import annotations

import threading
import time

PAUSE_SECONDS = 0.01  # between two wake-ups: the error of a sum
STALL_SECONDS = 0.02  # a shorter delay is the scheduler's, which the tested program has to answer for


class Stalls:
    """A context within which the machine's stalls are kept."""

    def __init__(self) -> None:
        self._stalls: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Stalls:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def between(self, began: float, ended: float) -> float:
        """The seconds between two times of time.monotonic() in which the machine stood still."""
        return sum(max(0.0, min(ended, end) - max(began, start)) for start, end in tuple(self._stalls))

    def _watch(self) -> None:
        before = time.monotonic()
        while not self._over.wait(PAUSE_SECONDS):
            now = time.monotonic()
            if now - before > PAUSE_SECONDS + STALL_SECONDS:
                self._stalls.append((before + PAUSE_SECONDS, now))
            before = now
