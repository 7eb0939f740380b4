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

# Of the fast lane's places, for endpoints that have just answered: a transfer of theirs is over soon, whoever holds the
# rest. The last half is for those of them that have nothing in flight.
KEPT_PLACES = 256
KEPT_FOR_FIRST = 128
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


def share(askers: Sequence[Asker], free: Mapping[Lane, int]) -> Shares:
    """Share the free places of each lane among those who ask. The order of askers does not matter.

    No place is ever taken away, so endpoints that have few in flight are served before those that have more, and one
    that has nothing in flight waits at most until all others like it have been served once.
    """
    groups: dict[tuple[bool, Lane], list[Asker]] = {}
    for asker in askers:
        if asker.room > 0:
            groups.setdefault((asker.answers and asker.lane == "fast", asker.lane), []).append(asker)
    rows: dict[str, int] = {}
    left, held_back = dict(free), False
    for answer, lane in sorted(groups, reverse=True):  # those that answer first
        group = groups[answer, lane]
        shares, more = divide(group, left[lane], STARTS_AT_ONCE if answer else PROBES_AT_ONCE[lane])
        held_back |= more
        left[lane] -= sum(shares)
        for asker, got in sorted(zip(group, shares, strict=True), key=_emptiness):
            if got:
                rows[asker.endpoint_id] = got
    return Shares(rows, held_back)


def divide(askers: Sequence[Asker], free: int, at_once: int) -> tuple[list[int], bool]:
    """Give a lane's free places away one by one, each to the asker that has the fewest in flight by then.

    Returns the shares, in the order of the askers, and whether only `at_once` has kept them from being larger.
    """
    shares = [0] * len(askers)
    waiting = [(asker.in_flight, asker.served, index) for index, asker in enumerate(askers) if asker.room > 0]
    heapq.heapify(waiting)
    given = 0
    while waiting:
        in_flight, served, index = waiting[0]
        asker = askers[index]
        if free - given <= _kept_from(asker, in_flight):  # and so from all the others, who have at least as many
            return shares, False
        if given == at_once:
            return shares, True
        given += 1
        shares[index] += 1
        if shares[index] < asker.room:
            heapq.heapreplace(waiting, (in_flight + 1, served, index))
        else:
            heapq.heappop(waiting)
    return shares, False


def _kept_from(asker: Asker, in_flight: int) -> int:
    """How many free places an asker with so many in flight has to leave to others."""
    if asker.lane != "fast":
        return 0
    if not asker.answers:
        return KEPT_PLACES
    return KEPT_FOR_FIRST + FREE_FOR_EACH * in_flight if in_flight else 0


def _emptiness(share: tuple[Asker, int]) -> tuple[int, int]:
    return share[0].in_flight, share[0].served
