"""So many steps of one workspace at once: however many read there, the others find a connection."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import TimeoutError

MOST_AT_ONCE = 2  # half of a process's connections for the feed
WAIT_SECONDS = 5.0  # a little longer than the longest step takes


class Turns:
    """Of one process. Any number of greenlets may use it at once."""

    def __init__(self, wait_seconds: float = WAIT_SECONDS) -> None:
        self._wait_seconds = wait_seconds
        self._taken: Counter[str] = Counter()
        self._changed = threading.Condition()

    @contextmanager
    def of(self, workspace_id: str) -> Iterator[None]:
        """A turn of this workspace. Raises TimeoutError when there is none in time, as a pool does that is used up."""
        until = time.monotonic() + self._wait_seconds
        with self._changed:
            while self._taken[workspace_id] >= MOST_AT_ONCE:
                if (left := until - time.monotonic()) <= 0:
                    raise TimeoutError("too many read the feed of this workspace at once")
                self._changed.wait(left)
            self._taken[workspace_id] += 1
        try:
            yield
        finally:
            with self._changed:
                self._taken[workspace_id] -= 1
                if not self._taken[workspace_id]:
                    del self._taken[workspace_id]
                self._changed.notify_all()
