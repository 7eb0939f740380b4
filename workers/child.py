"""The pool process: each owns a drain, with its own database connections and sender.

They are made after the fork, because neither psycopg's connections nor libcurl's handles can be shared between
processes. A drain is told in one of two ways to claim no more and to let what is in flight end: by the worker's parent,
which sets a byte of shared memory when it shuts down, or by SIGTERM to the process itself, which comes from a
supervisor that signals the whole group.
"""

from __future__ import annotations

import mmap
import os
import signal
from types import FrameType

from app import tracing
from app.delivery.doorbell import Doorbell, Place
from app.delivery.wake import Wake
from app.settings import Settings
from workers import place
from workers.drains import make_drain

# Made in the parent, before any fork: every child sees the same byte. (Where children are spawned and not forked, as
# on macOS, they do not see it; there a drain's turn ends by itself within 35 s.)
_all_stop = mmap.mmap(-1, 1)
_child: Child | None = None
SERVICE = "twofold-worker"  # how a collector of spans shows this process


class Child:
    """One pool process: its drain, and whether it has been told to stop."""

    def __init__(self, settings: Settings, own_queue: str) -> None:
        wake = Wake(settings.redis_url, own_queue=own_queue)
        self._tracing = tracing.start(os.environ, SERVICE)
        self._drain = make_drain(
            settings,
            wake,
            crew="pool",
            stopping=self._is_stopping,
            place=Place(Doorbell(settings.redis_url), place.take, place.leave),
            found_nothing=place.found_nothing,
            tracing=self._tracing,
        )
        self._told = False

    def run(self) -> None:
        """Run the drain. Meanwhile SIGTERM lets it end, where the pool's own handler would cut it off."""
        self._told = False
        handler = signal.signal(signal.SIGTERM, self._on_sigterm)
        try:
            self._drain.run()
        finally:
            signal.signal(signal.SIGTERM, handler)

    def close(self) -> None:
        """Before the process ends."""
        if self._tracing is not None:
            self._tracing.close()

    def _on_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        self._told = True

    def _is_stopping(self) -> bool:
        return self._told or _all_stop[0] != 0


def start(settings: Settings, own_queue: str) -> None:
    """Set up this process. own_queue: of its worker."""
    global _child
    _child = Child(settings, own_queue)


def close() -> None:
    """This process ends. (It does so without what Python does at an exit.)"""
    if _child is not None:
        _child.close()


def stop_all() -> None:
    """In the worker's parent: no drain may claim any more."""
    _all_stop[0] = 1


def run() -> None:
    """Run this process's drain."""
    assert _child is not None, "tasks run in the worker's pool processes"
    _child.run()
