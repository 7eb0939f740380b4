"""Windows: until when events wait for others of their batch. Who has put them off looks again at that time.

Pure: the caller passes the monotonic clock's reading, in seconds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

# Whoever waits for something looks once in this time anyway.
SOON_SECONDS = 1.0
# Ends that lie closer together than this are one. So there are some thousands of them at most.
STEP_SECONDS = 0.02


class Windows:
    """Those that one drain has begun."""

    def __init__(self) -> None:
        self._ends: list[float] = []

    def next_end(self, now: float, put_off_seconds: float | None) -> float | None:
        """Seconds until the next window ends, None if that is not soon. put_off_seconds: of one that begins now."""
        if put_off_seconds is not None:
            end = now + put_off_seconds
            place = bisect_left(self._ends, end)
            if place == 0 or end - self._ends[place - 1] > STEP_SECONDS:
                insort(self._ends, end)
        if not self._ends:
            return None
        del self._ends[: bisect_right(self._ends, now)]
        return self._ends[0] - now if self._ends and self._ends[0] - now < SOON_SECONDS else None
