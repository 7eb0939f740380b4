"""How fast an endpoint is sent to that its owner has given a rate limit.

Pure: the caller passes the database's clock, in seconds, which all drains share.
"""

from __future__ import annotations

import math

# How far ahead of an even spacing transfers may run. A tenth of a second keeps any second within 110 % of the limit
# (and one transfer), lets a claim take more than one row, and loses nothing to a loop that asks ten times a second.
BURST_SECONDS = 0.1
# A time further ahead cannot have come from a limit of one a second or more: it is damaged, or from before the clock
# was set back. It counts as none, because an endpoint would wait for it, and the arithmetic might overflow.
MOST_AHEAD_SECONDS = 60.0
# What an endpoint gets whose limit is damaged: the least that a limit can say.
SLOWEST_PER_SECOND = 1.0
# Forgives what floating point lost: ten times a tenth must be ten grants and not nine.
_ROUNDING = 1e-6


def gcra(tat: float | None, now: float, per_second: float, want: int) -> tuple[int, float]:
    """Generic cell rate algorithm (ITU-T I.371): how many of ``want`` transfers may start now.

    ``tat`` is the theoretical arrival time that the last call returned (None at first) and ``now`` the same clock, in
    seconds. Returns (granted, new tat). After a pause at least one is granted, whatever the rate. Total: a rate that is
    none counts as the slowest there is, a ``tat`` that is no time as none.
    """
    interval_seconds = 1.0 / (per_second if 0 < per_second < math.inf else SLOWEST_PER_SECOND)
    arrival = max(tat, now) if tat is not None and tat <= now + MOST_AHEAD_SECONDS else now
    allowance_seconds = now + BURST_SECONDS + interval_seconds - arrival
    allowed = min(float(want), allowance_seconds / interval_seconds + _ROUNDING)
    granted = max(0, int(allowed))
    return granted, arrival + granted * interval_seconds


def wait_seconds(tat: float | None, now: float, per_second: float) -> float:
    """How long until ``gcra`` grants at least one transfer; 0 when it does now."""
    if tat is None or gcra(tat, now, per_second, 1)[0]:
        return 0.0
    return tat - BURST_SECONDS - now
