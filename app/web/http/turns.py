"""Large bodies take turns: a process reads one at a time, and pauses as long as it has worked.

Reading 4 MB of JSON takes some tenths of a second, in which the event loop serves nobody. A caller who sends such
bodies over a few connections would have the whole process; like this, half of it at most, and others wait for a piece.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LARGE_BYTES = 256 * 1024  # of a body: what is smaller is read in some 10 ms
WORK_SECONDS = 0.005  # between two pauses, where the work can be divided

Pause = Callable[[], None]


class Turns:
    """The turns of one process; any number of requests may ask for one at once."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self._clock, self._sleep = clock, sleep
        self._lock = threading.Lock()

    @contextmanager
    def one(self, size: int) -> Iterator[Pause]:
        """A turn for a body of `size` bytes. Gives what is to be called between its pieces, which pauses in time."""
        if size <= LARGE_BYTES:
            yield lambda: None
            return
        with self._lock:
            pausing = _Pausing(self._clock, self._sleep)
            try:
                yield lambda: pausing.pause(WORK_SECONDS)
            finally:
                pausing.pause(0.0)


class _Pausing:
    def __init__(self, clock: Callable[[], float], sleep: Callable[[float], object]) -> None:
        self._clock, self._sleep = clock, sleep
        self._since = clock()

    def pause(self, least_seconds: float) -> None:
        """Sleep as long as was worked since the last pause, if that was so long at least."""
        worked = self._clock() - self._since
        if worked >= least_seconds:
            self._sleep(worked)
            self._since = self._clock()
