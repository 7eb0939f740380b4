"""Makes ticks in a web process while somebody reads there, soon after a commit, and tells its readers.

Any number of processes do so at once: the database lets one tick be made at a time, and none sooner than asked. A bell
that is lost, or a Redis that is away, costs a reader a second: it looks by itself then. While nobody reads, the pulse
of every worker makes a tick each second.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from app.core.feed.cursor import Tick
from app.core.problem import first_line

log = logging.getLogger(__name__)

READ_MILLISECONDS = 20  # between ticks: a tenth of what a person notices
READERS_AT_PACE = 10  # with more readers ticks are rarer, as each of them then looks
SLOWEST_MILLISECONDS = 1000
QUIET_SECONDS = 1.0  # without a word of any commit
RETRY_SECONDS = 1.0


class Ticker:
    """One for a process. make: makes a tick and gives the newest (Feed.tick)."""

    def __init__(self, make: Callable[[int], Tick]) -> None:
        self._make = make
        self._readers = 0
        self._newest = 0
        self._stored = threading.Event()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._failing = False

    @property
    def readers(self) -> int:
        """How many read at this moment."""
        return self._readers

    @property
    def newest(self) -> int:
        """The number of the newest tick that is known here."""
        return self._newest

    def stored(self) -> None:
        """Events were committed, here or elsewhere. Never blocks, never raises."""
        self._stored.set()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Somebody reads: ticks are made as soon as events come."""
        self._readers += 1
        self._stored.set()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="feed-ticker", daemon=True)
            self._thread.start()
        try:
            yield
        finally:
            self._readers -= 1

    def wait(self, after: int, seconds: float) -> None:
        """Wait until there is a later tick than the one with this number, for so long at most."""
        until = time.monotonic() + seconds
        with self._changed:
            while self._newest <= after and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)

    def _run(self) -> None:
        while self._readers:
            self._stored.wait(timeout=QUIET_SECONDS)
            self._stored.clear()
            pause = max(1, self._readers // READERS_AT_PACE) * READ_MILLISECONDS
            self._tick(READ_MILLISECONDS)
            threading.Event().wait(min(pause, SLOWEST_MILLISECONDS) / 1000)

    def _tick(self, least_milliseconds: int) -> None:
        try:
            tick = self._make(least_milliseconds)
            self._failing = False
        except Exception as error:  # nobody else would make ticks for those who read already
            if not self._failing and isinstance(error, SQLAlchemyError):
                log.warning("the feed waits for PostgreSQL: %s", first_line(error))
            elif not self._failing:
                log.exception("the feed's ticks are not made")
            self._failing = True
            threading.Event().wait(RETRY_SECONDS)
            return
        if tick.id != self._newest:  # a smaller one: PostgreSQL was restored
            with self._changed:
                self._newest = tick.id
                self._changed.notify_all()
