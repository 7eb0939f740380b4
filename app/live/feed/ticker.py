"""Makes ticks in a web process, and tells its readers: soon after a commit while somebody reads, else each second.

Any number of processes do so at once: the database lets one tick be made at a time, and none sooner than asked. A bell
that is lost, or a Redis that is away, costs a reader a second: it looks by itself then.
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

READ_MILLISECONDS = 20  # between ticks while somebody reads: a tenth of what a person notices
IDLE_MILLISECONDS = 1000  # otherwise: so that a page never has more than a second's events to sort
RETRY_SECONDS = 1.0


class Ticker:
    """One for a process. make: makes a tick and gives the newest (Feed.tick)."""

    def __init__(self, make: Callable[[int], Tick]) -> None:
        self._make = make
        self._readers = 0
        self._newest = 0
        self._stored, self._hurry = threading.Event(), threading.Event()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._failing = False

    @property
    def readers(self) -> int:
        """How many read at this moment."""
        return self._readers

    def stored(self) -> None:
        """Events were committed, here or elsewhere. Never blocks, never raises."""
        self._stored.set()
        if self._thread is None:  # after any fork
            self._thread = threading.Thread(target=self._run, name="feed-ticker", daemon=True)
            self._thread.start()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Somebody reads: ticks are made as soon as events come."""
        self._readers += 1
        self._hurry.set()
        self.stored()
        try:
            yield
        finally:
            self._readers -= 1

    def wait(self, after: int, seconds: float) -> None:
        """Wait until there is a tick behind the one with this number, for so long at most."""
        until = time.monotonic() + seconds
        with self._changed:
            while self._newest <= after and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)

    def _run(self) -> None:
        while True:
            self._stored.wait(timeout=IDLE_MILLISECONDS / 1000 if self._readers else None)
            self._stored.clear()
            self._hurry.clear()
            pause = READ_MILLISECONDS if self._readers else IDLE_MILLISECONDS
            self._tick(pause)
            self._hurry.wait(pause / 1000)

    def _tick(self, least_milliseconds: int) -> None:
        try:
            tick = self._make(least_milliseconds)
            self._failing = False
        except (SQLAlchemyError, RuntimeError) as error:
            if not self._failing:
                log.warning("the feed waits for PostgreSQL: %s", first_line(error))
            self._failing = True
            threading.Event().wait(RETRY_SECONDS)
            return
        if tick.id > self._newest:
            with self._changed:
                self._newest = tick.id
                self._changed.notify_all()
