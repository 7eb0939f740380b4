"""Who gets a drain's places for transfers, and how fast: nobody who hangs or has much waiting delays another.

Two lanes share the places. The fast lane is for endpoints that answer, the slow one for those that fail, time out, or
have left a transfer unanswered for a second. A transfer that is older than that second moves to the slow lane's
account, so a hundred endpoints that begin to hang at once hold the fast lane up for one second and not for the whole
time-out. New places in the slow lane are given only while it holds fewer than its share.

Within a lane the free places are divided equally. How many an endpoint may use at most, its in-flight limit, it earns
by answering. An endpoint that its owner has given a rate limit also waits for its turn by that.

Pure: the caller passes the clock's reading, in seconds: the monotonic clock's for the places, which belong to one
process, the database's for rates, which all processes share.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from app.core.webhook.retry import Outcome

Lane = Literal["fast", "slow"]

# 512 transfers in all: what one process keeps busy with some 130 µs of work each, and safely within the 1,024 open
# files that a process gets by default. A quarter is enough to keep trying those that fail.
FAST_PLACES = 384
SLOW_PLACES = 128
PLACES = FAST_PLACES + SLOW_PLACES

# One failure is an accident; three in a row are an outage.
SLOW_AFTER_FAILURES = 3
# A receiver should answer a webhook at once; one that takes longer than this is slow, and may wait for others like it.
SLOW_AFTER_SECONDS = 1.0

# A new or recovering endpoint is probed with a few transfers; a healthy one earns up to 32 of the worker's 512, so that
# sixteen endpoints must be busy before any waits for another; a failing one is still tried, one at a time.
START_IN_FLIGHT = 4
MAX_IN_FLIGHT = 32
MIN_IN_FLIGHT = 1
# What is known of an endpoint is forgotten this long after its last transfer: it starts small again, so that an
# endpoint that was once quick cannot begin to hang with 32 transfers.
FORGET_AFTER_SECONDS = 1.0

# How far ahead of an even spacing transfers may run. A tenth of a second keeps any second within 110 % of the limit
# (and one transfer), lets a claim take more than one row, and loses nothing to a loop that asks ten times a second.
BURST_SECONDS = 0.1
# Forgives what floating point lost: ten times a tenth must be ten grants and not nine.
_ROUNDING = 1e-6


def lane(consecutive_failures: int, last_outcome: Outcome | str | None) -> Lane:
    """Where an endpoint's deliveries run: a time-out blocks a place for the whole deadline, so one is enough."""
    if last_outcome == Outcome.TIMEOUT or consecutive_failures >= SLOW_AFTER_FAILURES:
        return "slow"
    return "fast"


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
    """What this drain has in flight to one endpoint. old: how many of those are on the slow lane's account."""

    limit: int = START_IN_FLIGHT
    in_flight: int = 0
    old: int = 0
    used_at: float = 0.0


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
        self._young: deque[Hashable] = deque()  # in the order in which they started
        self._endpoints: dict[str, _Endpoint] = {}
        self._fast = 0  # transfers on the fast lane's account

    def start(self, key: Hashable, endpoint_id: str, lane: Lane, now: float) -> None:
        """A transfer has started. key: unique among those in flight."""
        self._transfers[key] = _Transfer(endpoint_id, lane, now)
        self._young.append(key)
        endpoint = self._endpoints.setdefault(endpoint_id, _Endpoint())
        endpoint.in_flight += 1
        endpoint.used_at = now
        self._fast += lane == "fast"

    def finish(self, key: Hashable, now: float, *, succeeded: bool) -> None:
        """A transfer has ended; its endpoint's limit grows or shrinks."""
        transfer = self._transfers.pop(key)
        endpoint = self._endpoints[transfer.endpoint_id]
        endpoint.in_flight -= 1
        endpoint.old -= transfer.old
        endpoint.limit = resized(endpoint.limit, succeeded=succeeded)
        endpoint.used_at = now
        self._fast -= transfer.lane == "fast" and not transfer.old

    def advance(self, now: float) -> None:
        """Let time pass: what is old moves to the slow lane, and idle endpoints are forgotten."""
        while self._young:
            transfer = self._transfers.get(self._young[0])
            if transfer is not None:
                if now - transfer.started_at < SLOW_AFTER_SECONDS:
                    break
                transfer.old = True
                self._endpoints[transfer.endpoint_id].old += 1
                self._fast -= transfer.lane == "fast"
            self._young.popleft()
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
    def vacant(self) -> int:
        """Places that no transfer has."""
        return PLACES - self.in_flight

    def free(self, lane: Lane) -> int:
        """How many transfers may start now in a lane, if none starts in the other."""
        if lane == "fast":
            return max(0, min(FAST_PLACES - self._fast, self.vacant))
        return max(0, min(SLOW_PLACES - (self.in_flight - self._fast), self.vacant))

    def room(self, endpoint_id: str) -> int:
        """How many more transfers one endpoint may have."""
        endpoint = self._endpoints.get(endpoint_id)
        return START_IN_FLIGHT if endpoint is None else max(0, endpoint.limit - endpoint.in_flight)

    def hangs(self, endpoint_id: str) -> bool:
        """Whether a transfer to the endpoint has been unanswered for so long that it belongs to the slow lane."""
        endpoint = self._endpoints.get(endpoint_id)
        return endpoint is not None and endpoint.old > 0


def gcra(tat: float | None, now: float, per_second: float, want: int) -> tuple[int, float]:
    """Generic cell rate algorithm (ITU-T I.371): how many of ``want`` transfers may start now.

    ``tat`` is the theoretical arrival time that the last call returned (None at first) and ``now`` the same clock, in
    seconds. Returns (granted, new tat). After a pause at least one is granted, whatever the rate.
    """
    interval_seconds = 1.0 / per_second
    arrival = now if tat is None else max(tat, now)
    allowance_seconds = now + BURST_SECONDS + interval_seconds - arrival
    granted = max(0, min(want, int(allowance_seconds / interval_seconds + _ROUNDING)))
    return granted, arrival + granted * interval_seconds


def wait_seconds(tat: float | None, now: float, per_second: float) -> float:
    """How long until ``gcra`` grants at least one transfer; 0 when it does now."""
    if tat is None or gcra(tat, now, per_second, 1)[0]:
        return 0.0
    return tat - BURST_SECONDS - now
