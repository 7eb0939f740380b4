"""From which time on a drain or a pulse looks for due rows: all that has ended lies below.

A row that has ended is dead, and is removed soon after, unless some session holds an old snapshot, perhaps for hours:
then dead rows pile up below those that are due, and whoever begins to read at the oldest walks through all of them.
So the time of the oldest row that was seen is remembered, and the next look begins there. A row may appear below it,
when its transaction took long to commit; so a look a little further down comes each second, and one at everything
whenever that is not too dear. Drains write down what they know with the stamps of their rounds, and whoever begins
goes on from that: a first look at everything might take so long that the server ends it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

# A commit comes this long after the time it was given; seldom later.
NEAR = timedelta(seconds=0.25)
# One that waited for its disk or its locks comes within this time.
FAR = timedelta(seconds=5)
LOOK_FAR_SECONDS = 1.0
# Looks at everything take no more than this share of the time.
DEAREST_SHARE = 0.005
# After one that did not end, the next comes twice as late as the last did, up to this: one that is so dear that the
# server cancels it would be cancelled again, and nothing would ever be found.
LATEST_SECONDS = 1800.0


class LowWater:
    """One reader's. Times of day are the database's; `now` is a monotonic clock's reading."""

    def __init__(self) -> None:
        self._mark: datetime | None = None
        self._all_at = self._far_at = 0.0
        self._again_seconds = LOOK_FAR_SECONDS
        self._looks_at_all = True

    @property
    def mark(self) -> datetime | None:
        """The time of the oldest row that was seen; None before the first look."""
        return self._mark

    @property
    def all_seconds(self) -> float:
        """How much later the next look at everything comes than the last."""
        return self._again_seconds

    def start(self, now: float) -> datetime | None:
        """A look begins: from when on it is to read; None for everything."""
        self._looks_at_all = self._mark is None or now >= self._all_at
        if self._mark is None or self._looks_at_all:
            self._again_seconds = min(2 * self._again_seconds, LATEST_SECONDS)
            self._all_at = now + self._again_seconds
            return None
        if now >= self._far_at:
            self._far_at = now + LOOK_FAR_SECONDS
            return self._mark - FAR
        return self._mark - NEAR

    def end(self, oldest: datetime | None, now: float, took_seconds: float, all_seconds: float | None = None) -> None:
        """The look has ended. oldest: the time of the first row it saw; the time of the look when it saw none; None
        when it does not know. all_seconds: when it was the first, and began where another's stood: the other's."""
        self._mark = oldest or self._mark
        if self._looks_at_all:
            seconds = took_seconds / DEAREST_SHARE if all_seconds is None else all_seconds
            self._again_seconds = min(max(LOOK_FAR_SECONDS, seconds), LATEST_SECONDS)
            self._far_at = now + LOOK_FAR_SECONDS
            self._all_at = now + self._again_seconds
