"""The database's time between two calls, by this process's own clock.

An answer says what time it was when the call began, and comes a little later, so what is reckoned from it is behind by
that much and never ahead. The answer that came soonest is the best one; it is believed for as long as later ones do not
contradict it, so that the time between an attempt and the next is never shorter than the schedule says.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

# Clocks drift apart, and the database's may be set: then the last answer counts.
MOST_AHEAD = timedelta(seconds=0.05)


class DatabaseClock:
    """One process's. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._zero = datetime.min.replace(tzinfo=UTC)  # the database's time at the clock's zero

    def set(self, moment: datetime) -> None:
        """An answer has just come that says so."""
        zero = moment - timedelta(seconds=self._clock())
        if zero > self._zero or self._zero - zero > MOST_AHEAD:
            self._zero = zero

    def now(self) -> datetime:
        """The database's time; a time long ago before the first answer."""
        return self._zero + timedelta(seconds=self._clock())
