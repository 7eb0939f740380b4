"""Who gets a drain's places for transfers, and how fast: nobody who hangs or has much waiting delays another.

Three lanes have places of their own, so that none can take another's: the fast one is for endpoints that answered their
last attempt, the new one for those of which that is not known, the slow one for those that fail, time out, or have left
a transfer unanswered for a second. In the fast and the new lane, places are for transfers younger than that second. An
older one moves to the lane's account of old ones and frees its place, so endpoints that begin to hang, however many at
once, hold others up for a second and not for the whole time-out. The more old ones there are, the fewer places are
given away within a second: half of what is left. An endpoint that hangs gets no place besides those it has.

Within a lane the free places are divided equally. How many an endpoint may use at most, its in-flight limit, it earns
by answering. An endpoint that its owner has given a rate limit also waits for its turn by that. A transfer that may
kill its process travels alone: for a second, or until it ends, no other starts.

Pure: the caller passes the clock's reading, in seconds: the monotonic clock's for the places, which belong to one
process, the database's for rates, which all processes share.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from app.core.webhook.retry import Outcome

Lane = Literal["fast", "new", "slow"]
LANES: tuple[Lane, ...] = ("fast", "new", "slow")

# 512 transfers at once are what one process keeps busy with, at some 130 µs of work each. One in eight is enough to
# keep trying those that fail, and to try those that nobody knows.
FAST_PLACES = 384
NEW_PLACES = 64
SLOW_PLACES = 64
# With the old ones, which cost a socket each and no work. When a thousand endpoints begin to hang, each has its place,
# and a hundred are left for the others.
FAST_PLACES_IN_ALL = 1152
NEW_PLACES_IN_ALL = 192
# A process needs so many open files at most: two for each place, because a connection may be tried over IPv4 and IPv6
# at once; as many again for whatever else it has open.
MOST_OPEN_FILES = 4096
_YOUNG_AND_ALL = {"fast": (FAST_PLACES, FAST_PLACES_IN_ALL), "new": (NEW_PLACES, NEW_PLACES_IN_ALL)}

# One failure is an accident; three in a row are an outage.
SLOW_AFTER_FAILURES = 3
# A receiver should answer a webhook at once; one that takes longer than this is slow, and may wait for others like it.
SLOW_AFTER_SECONDS = 1.0

# A new or recovering endpoint is probed with a few transfers; a healthy one earns up to 32 of the worker's 512, so that
# sixteen endpoints must be busy before any waits for another; a failing one is still tried, one at a time.
START_IN_FLIGHT = 4
MAX_IN_FLIGHT = 32
MIN_IN_FLIGHT = 1
# The most for an endpoint of the slow lane: one that hangs keeps its places for the whole time-out.
SLOW_IN_FLIGHT = 1
# What is known of an endpoint is forgotten this long after its last transfer: it starts small again, so that an
# endpoint that was once quick cannot begin to hang with 32 transfers.
FORGET_AFTER_SECONDS = 1.0

# How far ahead of an even spacing transfers may run. A tenth of a second keeps any second within 110 % of the limit
# (and one transfer), lets a claim take more than one row, and loses nothing to a loop that asks ten times a second.
BURST_SECONDS = 0.1
# What an endpoint gets whose limit is damaged: the least that a limit can say.
SLOWEST_PER_SECOND = 1.0
# Forgives what floating point lost: ten times a tenth must be ten grants and not nine.
_ROUNDING = 1e-6


def lane(consecutive_failures: int, last_outcome: Outcome | str | None) -> Lane:
    """Where an endpoint's deliveries run: a time-out blocks a place for the whole deadline, so one is enough."""
    if last_outcome == Outcome.TIMEOUT or consecutive_failures >= SLOW_AFTER_FAILURES:
        return "slow"
    return "fast" if last_outcome in (Outcome.SUCCESS, Outcome.HTTP_ERROR) else "new"


def resized(in_flight_limit: int, *, succeeded: bool) -> int:
    """The endpoint's next in-flight limit: one more after a success, half after a failure (additive increase,
    multiplicative decrease), between 1 and 32."""
    if succeeded:
        return min(in_flight_limit + 1, MAX_IN_FLIGHT)
    return max(in_flight_limit // 2, MIN_IN_FLIGHT)


def divide(rooms: Sequence[int], places: int) -> list[int]:
    """Share places among askers: equal shares, and what one cannot use goes to the others.

    rooms: the most that each can use; the answer has the same order. When there are fewer places than askers, the
    first ones get one each.
    """
    shares = [0] * len(rooms)
    # Those with the least room first, so that what they leave over is known when the others' turn comes. Among equals
    # the last first: dividing rounds down, so any remainder is left for those who come first.
    order = sorted(range(len(rooms)), key=lambda asker: (rooms[asker], -asker))
    for served, asker in enumerate(order):
        shares[asker] = min(rooms[asker], places // (len(order) - served))
        places -= shares[asker]
    return shares


@dataclass(slots=True)
class _Endpoint:
    """What this drain has in flight to one endpoint, and how the last that ended did. old: how many are unanswered for
    a second or longer."""

    limit: int = START_IN_FLIGHT
    in_flight: int = 0
    old: int = 0
    used_at: float = 0.0
    answered: bool = False


@dataclass(slots=True)
class _Transfer:
    endpoint_id: str
    lane: Lane
    started_at: float
    old: bool = False


class Slots:
    """The places of one drain: which are taken, by whom, and since when."""

    def __init__(self) -> None:
        self._transfers: dict[Hashable, _Transfer] = {}
        self._in_order: deque[Hashable] = deque()  # the young ones, in the order in which they started
        self._endpoints: dict[str, _Endpoint] = {}
        self._young: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self._old: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self._alone: Hashable | None = None

    def start(self, key: Hashable, endpoint_id: str, lane: Lane, now: float, *, alone: bool = False) -> None:
        """A transfer has started. key: unique among those in flight. alone: no other is to start beside it."""
        self._transfers[key] = _Transfer(endpoint_id, lane, now)
        self._in_order.append(key)
        endpoint = self._endpoints.setdefault(endpoint_id, _Endpoint())
        endpoint.in_flight += 1
        endpoint.used_at = now
        self._young[lane] += 1
        if alone:
            self._alone = key

    def finish(self, key: Hashable, now: float, *, succeeded: bool) -> None:
        """A transfer has ended; its endpoint's limit grows or shrinks."""
        transfer = self._transfers.pop(key)
        endpoint = self._endpoints[transfer.endpoint_id]
        endpoint.in_flight -= 1
        endpoint.old -= transfer.old
        endpoint.limit = resized(endpoint.limit, succeeded=succeeded)
        endpoint.used_at = now
        endpoint.answered = succeeded
        (self._old if transfer.old else self._young)[transfer.lane] -= 1
        if self._alone == key:
            self._alone = None

    def advance(self, now: float) -> None:
        """Let time pass: transfers grow old, and idle endpoints are forgotten."""
        while self._in_order:
            key = self._in_order[0]
            transfer = self._transfers.get(key)
            if transfer is not None:
                if now - transfer.started_at < SLOW_AFTER_SECONDS:
                    break
                transfer.old = True
                self._endpoints[transfer.endpoint_id].old += 1
                self._young[transfer.lane] -= 1
                self._old[transfer.lane] += 1
                if self._alone == key:
                    self._alone = None
            self._in_order.popleft()
        idle = [
            endpoint_id
            for endpoint_id, endpoint in self._endpoints.items()
            if not endpoint.in_flight and now - endpoint.used_at > FORGET_AFTER_SECONDS
        ]
        for endpoint_id in idle:
            del self._endpoints[endpoint_id]

    @property
    def in_flight(self) -> int:
        """Transfers that have started and not ended."""
        return len(self._transfers)

    @property
    def known(self) -> Collection[str]:
        """The endpoints of which something is known: they have transfers in flight, or had one a moment ago."""
        return self._endpoints.keys()

    @property
    def is_closed(self) -> bool:
        """Whether no transfer may start, because one travels alone."""
        return self._alone is not None

    def free(self, lane: Lane) -> int:
        """How many transfers may start now in a lane."""
        if self.is_closed:
            return 0
        young, old = self._young[lane], self._old[lane]
        if lane == "slow":
            return max(0, SLOW_PLACES - young - old)
        at_once, in_all = _YOUNG_AND_ALL[lane]
        # Half of what the old ones leave, rounded up, because all that start now may hang, too.
        return max(0, min(at_once, (in_all - old + 1) // 2) - young)

    def room(self, endpoint_id: str, lane: Lane, *, crowded: bool = False) -> int:
        """How many more transfers one endpoint of a lane may have. crowded: more endpoints ask than can be looked at,
        so one that has not just answered is tried with one transfer."""
        endpoint = self._endpoints.get(endpoint_id) or _Endpoint()
        most = {"fast": MAX_IN_FLIGHT, "new": START_IN_FLIGHT, "slow": SLOW_IN_FLIGHT}[lane]
        if crowded and not endpoint.answered:
            most = 1
        return max(0, min(endpoint.limit, most) - endpoint.in_flight)

    def hangs(self, endpoint_id: str) -> bool:
        """Whether a transfer to the endpoint has been unanswered for so long that it belongs to the slow lane."""
        endpoint = self._endpoints.get(endpoint_id)
        return endpoint is not None and endpoint.old > 0

    def answers(self, endpoint_id: str) -> bool:
        """Whether the endpoint's last transfer that has ended, a moment ago, was a success."""
        endpoint = self._endpoints.get(endpoint_id)
        return endpoint is not None and endpoint.answered


def gcra(tat: float | None, now: float, per_second: float, want: int) -> tuple[int, float]:
    """Generic cell rate algorithm (ITU-T I.371): how many of ``want`` transfers may start now.

    ``tat`` is the theoretical arrival time that the last call returned (None at first) and ``now`` the same clock, in
    seconds. Returns (granted, new tat). After a pause at least one is granted, whatever the rate. Total: a rate that is
    none counts as the slowest there is, a ``tat`` that is no time as none.
    """
    interval_seconds = 1.0 / (per_second if 0 < per_second < math.inf else SLOWEST_PER_SECOND)
    arrival = now if tat is None or not math.isfinite(tat) else max(tat, now)
    allowance_seconds = now + BURST_SECONDS + interval_seconds - arrival
    allowed = min(float(want), allowance_seconds / interval_seconds + _ROUNDING)
    granted = max(0, int(allowed))
    return granted, arrival + granted * interval_seconds


def wait_seconds(tat: float | None, now: float, per_second: float) -> float:
    """How long until ``gcra`` grants at least one transfer; 0 when it does now."""
    if tat is None or not math.isfinite(tat) or gcra(tat, now, per_second, 1)[0]:
        return 0.0
    return tat - BURST_SECONDS - now
