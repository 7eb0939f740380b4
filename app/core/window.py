"""Fairness between endpoints: how many transfers at once, how many a second, and in which lane.

Pure: one endpoint's numbers go in, its new numbers come out.
"""

from __future__ import annotations

from typing import Literal

from app.core.retry import Outcome

# A new or recovering endpoint is probed with a few transfers; a healthy one earns up to 32 of the worker's 512, so that
# sixteen endpoints must be busy before any waits for another; a failing one is still tried, one at a time.
START_IN_FLIGHT = 4
MAX_IN_FLIGHT = 32
MIN_IN_FLIGHT = 1

# How far ahead of an even spacing transfers may run. A tenth of a second keeps any second within 110 % of the limit
# (and one transfer), lets a claim take more than one row, and loses nothing to a loop that asks ten times a second.
BURST_SECONDS = 0.1

# Forgives what floating point lost: ten times a tenth must be ten grants and not nine.
_ROUNDING = 1e-6

# One failure is an accident; three in a row are an outage.
SLOW_AFTER_FAILURES = 3

Lane = Literal["fast", "slow"]


def resized(in_flight_limit: int, *, succeeded: bool) -> int:
    """The endpoint's next in-flight limit: one more after a success, half after a failure (additive increase,
    multiplicative decrease), between 1 and 32."""
    if succeeded:
        return min(in_flight_limit + 1, MAX_IN_FLIGHT)
    return max(in_flight_limit // 2, MIN_IN_FLIGHT)


def gcra(
    tat: float | None, now: float, per_second: float, want: int, burst_seconds: float = BURST_SECONDS
) -> tuple[int, float]:
    """Generic cell rate algorithm (ITU-T I.371): how many of ``want`` transfers may start now.

    ``tat`` is the theoretical arrival time that the last call returned (None at first) and ``now`` the same clock, in
    seconds. Returns (granted, new tat). After a pause at least one is granted, whatever the rate.
    """
    interval_seconds = 1.0 / per_second
    arrival = now if tat is None else max(tat, now)
    allowance_seconds = now + burst_seconds + interval_seconds - arrival
    granted = max(0, min(want, int(allowance_seconds / interval_seconds + _ROUNDING)))
    return granted, arrival + granted * interval_seconds


def wait_seconds(tat: float | None, now: float, per_second: float, burst_seconds: float = BURST_SECONDS) -> float:
    """How long until ``gcra`` grants at least one transfer; 0 when it does now."""
    if tat is None or gcra(tat, now, per_second, 1, burst_seconds)[0]:
        return 0.0
    return tat - burst_seconds - now


def lane(consecutive_failures: int, last_outcome: Outcome | str | None) -> Lane:
    """Where an endpoint's deliveries run: a time-out blocks a slot for the whole deadline, so one is enough."""
    if last_outcome == Outcome.TIMEOUT or consecutive_failures >= SLOW_AFTER_FAILURES:
        return "slow"
    return "fast"
