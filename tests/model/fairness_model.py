"""One drain's places and those who want them: endpoints that answer, that hang, and that are known to hang.

The real `Slots` and `divide`, with few places instead of 512 so that every order of events can be tried. Time goes in
steps of half a second. In each, some endpoints get something to deliver, the drain claims for them in some order, and
what it sends is answered at once or never.
"""

from __future__ import annotations

import pickle
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, NamedTuple

from app.core.webhook import fairness
from app.core.webhook.retry import Outcome
from tests.model.copies import changed
from tests.model.search import Model, Step

STEP_SECONDS = 0.5
TIMEOUT_SECONDS = 1.5  # of an attempt; longer than an endpoint may take without being called slow
# About a hundredth of the real numbers.
FEW = (
    ("START_IN_FLIGHT = 4", "START_IN_FLIGHT = 1"),
    ("MAX_IN_FLIGHT = 32", "MAX_IN_FLIGHT = 2"),
    ("FAST_PLACES = 384", "FAST_PLACES = 3"),
    ("SLOW_PLACES = 128", "SLOW_PLACES = 2"),
)


class Crowd(NamedTuple):
    """Who wants places. single: endpoints that answer at once and get one delivery at a time; busy: such that always
    have more; hanging: those that never answer and always have more, each from some moment on; known: they are known
    for it. wait: how long a single one may have to wait for a place; slow_wait: and the slow lane, seconds."""

    about: str
    single: int = 1
    busy: int = 0
    hanging: int = 0
    known: bool = False
    wait: float = 0.0
    slow_wait: float = TIMEOUT_SECONDS


class Asker(NamedTuple):
    """An endpoint. idle: seconds since its last transfer, as far as they matter; waited: seconds for which it has
    wanted a place and had none."""

    kind: str
    has_work: bool = False
    last_outcome: str | None = None
    idle: float = 0.0
    waited: float = 0.0


class Transfer(NamedTuple):
    """One in flight to an endpoint that hangs. age: seconds; number: its key."""

    asker: int
    lane: str
    age: float
    number: int


class Places(NamedTuple):
    """A moment before a claim. slots: the real thing, which `transfers` mirrors; started: how many transfers there
    were so far; slow_waited: seconds for which the slow lane has wanted a place and got none."""

    slots: Any
    askers: tuple[Asker, ...]
    transfers: tuple[Transfer, ...] = ()
    now: float = 0.0
    started: int = 0
    slow_waited: float = 0.0


def grants(
    rules: Any, slots: Any, asking: Sequence[str], lanes: dict[str, str], *, fast_only: bool = False
) -> dict[str, int]:
    """How many rows of each endpoint a claim may take: what app.delivery.claims makes of `Slots` and `divide`.

    rules: the fairness module. asking: endpoints with something due, in the claim's order.
    """
    found: dict[str, int] = {}
    for lane in ("fast",) if fast_only else ("fast", "slow"):
        here = [endpoint_id for endpoint_id in asking if lanes[endpoint_id] == lane]
        places = min(slots.free(lane), slots.vacant - sum(found.values()))
        shares = rules.divide([slots.room(endpoint_id) for endpoint_id in here], places)
        found.update({endpoint_id: share for endpoint_id, share in zip(here, shares, strict=True) if share})
    return found


def lane_of(rules: Any, slots: Any, endpoint_id: str, failures: int, last_outcome: str | None) -> str:
    """The lane that a claim puts an endpoint into."""
    return "slow" if slots.hangs(endpoint_id) else str(rules.lane(failures, last_outcome))


def fairness_model(crowd: Crowd, *without: tuple[str, str]) -> Model[Places]:
    """The model of a crowd. without: changes of the fairness module that take a safeguard out."""
    rules = changed(fairness, *FEW, *without)
    known = str(Outcome.TIMEOUT) if crowd.known else None
    askers = (Asker("single"),) * crowd.single + (Asker("busy", has_work=True),) * crowd.busy
    askers += (Asker("hanging", has_work=crowd.known, last_outcome=known),) * crowd.hanging
    first = Places(rules.Slots(), askers)
    return Model(first, PlaceSteps(crowd, rules).of, _key, lambda places: None, ends=False)


def _key(places: Places) -> Hashable:
    """Endpoints of one kind are alike: which of them has what makes no difference."""
    found = []
    for index, asker in enumerate(places.askers):
        transfers = tuple((transfer.lane, transfer.age) for transfer in places.transfers if transfer.asker == index)
        limit = places.slots.room(str(index)) + len(transfers)
        # For how long it was idle matters only where there is something to forget.
        found.append((asker.kind, limit, transfers, asker if limit > 1 else asker._replace(idle=0.0)))
    return tuple(sorted(found, key=repr)), places.slow_waited


class PlaceSteps:
    """All that can happen in the next half second."""

    def __init__(self, crowd: Crowd, rules: Any) -> None:
        self._crowd, self._rules = crowd, rules

    def of(self, places: Places) -> Iterator[Step[Places]]:
        for arrived in _arrivals(places.askers):
            askers = list(places.askers)
            for index in arrived:
                askers[index] = askers[index]._replace(has_work=True)
            asking = [index for index, asker in enumerate(askers) if asker.has_work]
            for first in range(max(1, len(asking))):  # the claim goes on where the last one stopped
                order = asking[first:] + asking[:first]
                yield self._step(places._replace(askers=tuple(askers)), order)

    def _step(self, places: Places, order: list[int]) -> Step[Places]:
        places = places._replace(slots=pickle.loads(pickle.dumps(places.slots)))  # a tenth of the time of deepcopy
        names = [str(index) for index in order]
        outcomes = {str(index): places.askers[index].last_outcome for index in order}
        lanes = {name: lane_of(self._rules, places.slots, name, 0, outcomes[name]) for name in names}
        slow_waits = any(lane == "slow" and places.slots.room(name) for name, lane in lanes.items())
        found = grants(self._rules, places.slots, names, lanes)
        slow_waits &= not any(lanes[name] == "slow" for name in found)
        started = _start(places, found, lanes)
        broken = self._of_books(started)
        after = _answered(_waited(started, order, found, slow_waits))
        broken = broken or self._of_waits(after)
        return Step(_words(places, order, found), _later(after), broken=broken)

    def _of_books(self, places: Places) -> str | None:
        """The promise of the books that is broken, if one is: they are what is in flight, and within the limits."""
        count, slots, rules = len(places.transfers), places.slots, self._rules
        old = sum(transfer.age >= rules.SLOW_AFTER_SECONDS for transfer in places.transfers)
        fast = sum(transfer.lane == "fast" and transfer.age < rules.SLOW_AFTER_SECONDS for transfer in places.transfers)
        limits = {"fast lane": (fast, rules.FAST_PLACES), "slow lane": (count - fast - old, rules.SLOW_PLACES)}
        for what, (taken, share) in {**limits, "drain": (count, rules.PLACES)}.items():
            if taken > share:
                return f"the {what} has been given {taken} places, and its share is {share}"
        free = {"fast": rules.FAST_PLACES - fast, "slow": rules.SLOW_PLACES - (count - fast)}
        for lane, places_left in free.items():
            if slots.free(lane) != max(0, min(places_left, rules.PLACES - count)):
                return f"{slots.free(lane)} places are called free in the {lane} lane, with {count} transfers in flight"
        for index in range(len(places.askers)):
            if sum(transfer.asker == index for transfer in places.transfers) > rules.MAX_IN_FLIGHT:
                return f"endpoint {index + 1} has more transfers than one endpoint may have"
        return None

    def _of_waits(self, places: Places) -> str | None:
        for index, asker in enumerate(places.askers):
            if asker.kind == "single" and asker.waited > self._crowd.wait:
                return f"endpoint {index + 1} answers at once, and waits for a place for {asker.waited:g} s"
        if places.slow_waited > self._crowd.slow_wait:
            return f"the slow lane gets no place for {places.slow_waited:g} s"
        return None


def _arrivals(askers: Sequence[Asker]) -> Iterator[list[int]]:
    """Who gets something to deliver: any number of the single ones, and of those that hang."""
    single = [index for index, asker in enumerate(askers) if asker.kind == "single" and not asker.has_work]
    hanging = [index for index, asker in enumerate(askers) if asker.kind == "hanging" and not asker.has_work]
    for count in range(len(single) + 1):
        for more in range(len(hanging) + 1):
            yield [*single[:count], *hanging[:more]]


def _start(places: Places, found: dict[str, int], lanes: dict[str, str]) -> Places:
    """Send what was granted."""
    transfers, number = list(places.transfers), places.started
    for name, count in found.items():
        for _ in range(count):
            number += 1
            places.slots.start(number, name, lanes[name], places.now)
            transfers.append(Transfer(int(name), lanes[name], 0.0, number))
    return places._replace(transfers=tuple(transfers), started=number)


def _waited(places: Places, order: list[int], found: dict[str, int], slow_waits: bool) -> Places:
    """Count for half a second more how long those who got nothing have been waiting."""
    askers = list(places.askers)
    for index in order:
        waited = 0.0 if str(index) in found else askers[index].waited + STEP_SECONDS
        # How long a busy or a hanging one waits is nobody's promise.
        askers[index] = askers[index]._replace(waited=waited if askers[index].kind == "single" else 0.0)
    return places._replace(askers=tuple(askers), slow_waited=places.slow_waited + STEP_SECONDS if slow_waits else 0.0)


def _answered(places: Places) -> Places:
    """The answers of those that answer come at once."""
    askers, left = list(places.askers), []
    for transfer in places.transfers:
        asker = askers[transfer.asker]
        if asker.kind == "hanging":
            left.append(transfer)
            continue
        places.slots.finish(transfer.number, places.now, succeeded=True)
        outcome = str(Outcome.SUCCESS)
        askers[transfer.asker] = asker._replace(has_work=asker.kind == "busy", last_outcome=outcome, idle=0.0)
    return places._replace(askers=tuple(askers), transfers=tuple(left))


def _later(places: Places) -> Places:
    """Half a second later: what is over its time ends, and the books learn what time it is."""
    now, slots = places.now + STEP_SECONDS, places.slots
    askers, left = list(places.askers), []
    for index, asker in enumerate(askers):
        # A step more than matters: what is not used for a while is forgotten.
        idle = min(asker.idle + STEP_SECONDS, fairness.FORGET_AFTER_SECONDS + STEP_SECONDS)
        askers[index] = asker._replace(idle=idle)
    for transfer in places.transfers:
        transfer = transfer._replace(age=transfer.age + STEP_SECONDS)
        if transfer.age < TIMEOUT_SECONDS:
            left.append(transfer)
            continue
        slots.finish(transfer.number, now, succeeded=False)
        askers[transfer.asker] = askers[transfer.asker]._replace(last_outcome=str(Outcome.TIMEOUT), idle=0.0)
    slots.advance(now)
    in_flight = {transfer.asker for transfer in left}
    askers = [asker._replace(idle=0.0) if index in in_flight else asker for index, asker in enumerate(askers)]
    return places._replace(askers=tuple(askers), transfers=tuple(left), now=now)


def _words(places: Places, order: list[int], found: dict[str, int]) -> str:
    told = []
    for index in order:
        count = found.get(str(index), 0)
        given = "no place" if not count else "a place" if count == 1 else f"{count} places"
        told.append(f"endpoint {index + 1} ({places.askers[index].kind}) gets {given}")
    return f"{places.now:g} s: {', '.join(told) or 'nobody wants a place'}"
