"""Delays, counted in ranges as a Prometheus histogram has them: from a few milliseconds to the day of retries."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

# Upper ends in seconds. The first ones tell whether workers keep up, the last ones are places of the retry schedule.
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 600.0, 3600.0, 21600.0, 86400.0)
BEYOND = "+Inf"
SUM = "ms"  # the field that adds up all of them, in milliseconds


def range_of(seconds: float) -> str:
    """The range's upper end, as text."""
    place = bisect_left(BOUNDS, seconds)
    return str(BOUNDS[place]) if place < len(BOUNDS) else BEYOND


def as_milliseconds(seconds: float) -> int:
    """What a delay adds to the sum; clocks of two machines may make it negative, a sum must not fall."""
    return max(0, round(seconds * 1000))


def cumulative(counts: Mapping[str, int]) -> list[tuple[str, float]]:
    """For each upper end, how many delays were not longer. counts: by range_of()."""
    made, total = [], 0
    for bound in (*map(str, BOUNDS), BEYOND):
        total += counts.get(bound, 0)
        made.append((bound, float(total)))
    return made
