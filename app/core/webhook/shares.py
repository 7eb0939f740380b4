"""How many places each endpoint gets that has something due: the emptiest first, and some are always kept.

Pure, without state or clock: what is known of the endpoints comes in, shares go out. `app.core.webhook.fairness` knows
the endpoints of a drain and asks here; so may a claim that has another way to learn what is due.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

Lane = Literal["fast", "new", "slow"]
LANES: tuple[Lane, ...] = ("fast", "new", "slow")

# Places of the fast lane that are left to endpoints with nothing in flight, and so to newcomers, whoever is busy.
KEPT_PLACES = 128
# An endpoint that has n in flight gets one more only while this many times n are free besides. One alone may then have
# a third of the lane, two together a half, and whoever comes next finds twice as many as each of them has.
FREE_FOR_EACH = 2

# The most that a claim starts to endpoints that answer. Starting one takes some 130 µs, during which nobody else is
# served: 8 ms. A claim costs some milliseconds however much it takes, so much less would cost throughput.
STARTS_AT_ONCE = 64
# And besides, in each lane, to endpoints that have not just answered. They are many when a thousand hang; one that
# answers is served between two claims. With a claim each 10 ms a thousand are tried within half a second.
PROBES_AT_ONCE: Mapping[Lane, int] = {"fast": 32, "new": 16, "slow": 8}


class Asker(NamedTuple):
    """An endpoint that has something due.

    room: the most places that it may have besides the `in_flight` that it has. answers: its last transfer has just
    been answered. served: a number that was higher with every place given away when it last got one, 0 if that was
    long ago or never; among equals, who has waited longest is first.
    """

    endpoint_id: str
    lane: Lane
    room: int
    in_flight: int = 0
    answers: bool = False
    served: int = 0


class Shares(NamedTuple):
    """rows: the most rows of each endpoint, without those that get none, in the order in which they should be sent.
    held_back: some would have more if a claim started more at once; the next one may follow immediately."""

    rows: dict[str, int]
    held_back: bool = False


def share(askers: Sequence[Asker], free: Mapping[Lane, int], probes: int) -> Shares:
    """Share the free places of each lane among those who ask. The order of askers does not matter.

    No place is ever taken away, so endpoints that have few in flight are served before those that have more, and one
    that has nothing in flight waits at most until all others like it have been served once. probes: how many of the
    fast lane's places endpoints may have that have not just answered.
    """
    lanes: dict[Lane, list[Asker]] = {}
    for asker in askers:
        if asker.room > 0:
            lanes.setdefault(asker.lane, []).append(asker)
    given: list[tuple[Asker, int]] = []
    held_back = False
    for lane, group in lanes.items():
        is_fast = lane == "fast"
        at_once, probing = STARTS_AT_ONCE if is_fast else PROBES_AT_ONCE[lane], PROBES_AT_ONCE[lane]
        shares, more = divide(group, free[lane], at_once, min(probing, probes) if is_fast else probing)
        held_back |= more
        given += [(asker, got) for asker, got in zip(group, shares, strict=True) if got]
    given.sort(key=_order)
    return Shares({asker.endpoint_id: got for asker, got in given}, held_back)


def divide(askers: Sequence[Asker], free: int, at_once: int, probes: int) -> tuple[list[int], bool]:
    """Give a lane's free places away one by one, each to the asker that has the fewest in flight by then.

    at_once: the most that are given; probes: to askers that have not just answered. Returns the shares, in the order
    of the askers, and whether only these two have kept them from being larger.
    """
    shares, held_back = [0] * len(askers), False
    waiting = [(asker.in_flight, asker.served, index) for index, asker in enumerate(askers) if asker.room > 0]
    heapq.heapify(waiting)
    while waiting and free > _kept_from(askers[0].lane, waiting[0][0]):  # who follows has at least as many in flight
        if not at_once:
            return shares, True
        in_flight, served, index = waiting[0]
        asker = askers[index]
        if not asker.answers and not probes:
            held_back = True
            heapq.heappop(waiting)
            continue
        shares[index] += 1
        free, at_once, probes = free - 1, at_once - 1, probes - (not asker.answers)
        if shares[index] < asker.room:
            heapq.heapreplace(waiting, (in_flight + 1, served, index))
        else:
            heapq.heappop(waiting)
    return shares, held_back


def _kept_from(lane: Lane, in_flight: int) -> int:
    """How many free places an asker with so many in flight has to leave to others."""
    return KEPT_PLACES + FREE_FOR_EACH * in_flight if lane == "fast" and in_flight else 0


def _order(given: tuple[Asker, int]) -> tuple[bool, int, int]:
    """Those first that answer soon; among them the emptiest."""
    asker, _ = given
    return not (asker.answers and asker.lane == "fast"), asker.in_flight, asker.served
