"""One drain's places and those who want them: endpoints that answer, that begin to hang, and that are known to hang.

The real `Slots` and `share`, with few places instead of thousands so that every order of events can be tried. Time goes
in steps of half a second. In each, some endpoints get something to deliver, some begin to hang, the drain claims once,
and what it sends is answered before the next claim or never.
"""

from __future__ import annotations

import pickle
from collections.abc import Hashable, Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from app.core.webhook import fairness, shares
from app.core.webhook.retry import Outcome
from app.core.webhook.shares import LANES, Lane
from tests.model.copies import changed
from tests.model.search import Model, Step

STEP_SECONDS = 0.5
TIMEOUT_SECONDS = 3.0  # of an attempt; longer than an endpoint may take without being called slow
# About a hundredth of the real numbers.
FEW_PLACES = (
    ("FAST_PLACES = 2048", "FAST_PLACES = 8"),
    ("PROBE_PLACES = 1536", "PROBE_PLACES = 5"),
    ("NEW_PLACES = 64", "NEW_PLACES = 1"),
    ("NEW_PLACES_IN_ALL = 192", "NEW_PLACES_IN_ALL = 4"),
    ("SLOW_PLACES = 64", "SLOW_PLACES = 1"),
    ("MAX_IN_FLIGHT = 32", "MAX_IN_FLIGHT = 2"),
)
FEW_KEPT = (
    ("KEPT_PLACES = 128", "KEPT_PLACES = 2"),
    ('{"fast": 32, "new": 16, "slow": 8}', '{"fast": 4, "new": 2, "slow": 2}'),
)
# Longer than anything is remembered.
_FORGOTTEN = fairness.FORGET_AFTER_SECONDS + STEP_SECONDS

Change = tuple[str, str]


class Crowd(NamedTuple):
    """Who wants places. steady: endpoints that answer and get a delivery in each step; single: that answer and get one
    now and then; busy: that answer and always have more; turning: the same, until each begins to hang; hanging: that
    never answer and always have more, each from some moment on. outcome: how the last attempts of those and of the
    single ones ended. wait: how long a single one may have to wait for a place, seconds; a steady one never has.
    places, sharing: numbers that are others here than those above, by what the modules say.
    """

    about: str
    steady: int = 0
    single: int = 0
    busy: int = 0
    turning: int = 0
    hanging: int = 0
    outcome: str | None = str(Outcome.SUCCESS)
    single_outcome: str | None = str(Outcome.SUCCESS)
    wait: float = 0.0
    places: tuple[Change, ...] = ()
    sharing: tuple[Change, ...] = ()


class Party(NamedTuple):
    """An endpoint. waited: seconds for which it has wanted a place, had none in flight, and got none."""

    kind: str
    hangs: bool = False
    has_work: bool = False
    last_outcome: str | None = str(Outcome.SUCCESS)
    waited: float = 0.0


class Transfer(NamedTuple):
    """One in flight. age: seconds; number: its key."""

    party: int
    lane: Lane
    age: float
    number: int


class Places(NamedTuple):
    """A moment before a claim. slots: the real thing, which `transfers` mirrors."""

    slots: Any
    parties: tuple[Party, ...]
    transfers: tuple[Transfer, ...] = ()
    now: float = 0.0
    started: int = 0


def fairness_model(crowd: Crowd, places: Sequence[Change] = (), sharing: Sequence[Change] = ()) -> Model[Places]:
    """The model of a crowd. places, sharing: changes of the modules fairness and shares that take a safeguard out."""
    few_kept = dict(FEW_KEPT) | dict(crowd.sharing)
    shared = changed(shares, *few_kept.items(), *sharing)
    few = dict(FEW_PLACES) | dict(crowd.places)
    rules = changed(fairness, ("from app.core.webhook.shares", f"from {shared.__name__}"), *few.items(), *places)
    parties = [Party(kind) for kind in ("steady", "busy", "turning") for _ in range(getattr(crowd, kind))]
    parties += [Party("single", last_outcome=crowd.single_outcome)] * crowd.single
    parties += [Party("hanging", hangs=True, last_outcome=crowd.outcome)] * crowd.hanging
    return Model(
        Places(rules.Slots(), tuple(parties)), PlaceSteps(crowd, rules).of, _key, lambda places: None, ends=False
    )


def _key(places: Places) -> Hashable:
    """Endpoints of one kind are alike: which of them has what makes no difference."""
    served = sorted(endpoint.served for endpoint in places.slots.endpoints.values())
    found = []
    for index, party in enumerate(places.parties):
        known = places.slots.endpoints.get(str(index))
        memory: Hashable = known and (
            known.limit,
            known.most,
            served.index(known.served),
            min(places.now - known.used_at, _FORGOTTEN),
            known.answered and min(places.now - known.answered_at, _FORGOTTEN),
        )
        transfers = tuple((transfer.lane, transfer.age) for transfer in places.transfers if transfer.party == index)
        found.append((party, memory, transfers))
    return tuple(sorted(found, key=repr))


class PlaceSteps:
    """All that can happen in the next half second."""

    def __init__(self, crowd: Crowd, rules: Any) -> None:
        self._crowd, self._rules = crowd, rules

    def of(self, places: Places) -> Iterator[Step[Places]]:
        parties = places.parties
        idle = [index for index, party in enumerate(parties) if party.kind == "single" and not party.has_work]
        well = [index for index, party in enumerate(parties) if party.kind == "turning" and not party.hangs]
        quiet = [index for index, party in enumerate(parties) if party.kind == "hanging" and not party.has_work]
        for changes in _subsets(idle + well + quiet):
            found = list(parties)
            for index, party in enumerate(parties):
                always = party.kind in ("steady", "busy", "turning")
                found[index] = party._replace(
                    has_work=party.has_work or always or index in changes,
                    hangs=party.hangs or (index in changes and index in well),
                )
            yield self._step(places._replace(parties=tuple(found)))

    def _step(self, places: Places) -> Step[Places]:
        places = places._replace(slots=pickle.loads(pickle.dumps(places.slots)))  # a tenth of the time of deepcopy
        lanes: dict[str, Lane] = {
            str(index): places.slots.lane(str(index), 0, party.last_outcome)
            for index, party in enumerate(places.parties)
            if party.has_work
        }
        single_work = {
            str(index): 1 for index, party in enumerate(places.parties) if party.kind in ("steady", "single")
        }
        rows = places.slots.shares(lanes, single_work).rows
        started = _start(places, rows, lanes)
        after = _waited(started, rows)
        broken = self._of_books(started) or self._of_waits(after)
        return Step(_words(places, lanes, rows), _later(_answered(after)), broken=broken)

    def _of_books(self, places: Places) -> str | None:
        """The promise of the books that is broken, if one is: they are what is in flight, and within the limits."""
        slots, rules = places.slots, self._rules
        in_all = {"fast": rules.FAST_PLACES, "new": rules.NEW_PLACES_IN_ALL, "slow": rules.SLOW_PLACES}
        for lane in LANES:
            taken = sum(transfer.lane == lane for transfer in places.transfers)
            if taken > in_all[lane]:
                return f"the {lane} lane has been given {taken} places, and its share is {in_all[lane]}"
            if lane != "new" and slots.free(lane) != in_all[lane] - taken:
                return f"{slots.free(lane)} places are called free in the {lane} lane, with {taken} taken"
        for index in range(len(places.parties)):
            if sum(transfer.party == index for transfer in places.transfers) > rules.MAX_IN_FLIGHT:
                return f"endpoint {index + 1} has more transfers than one endpoint may have"
        return None

    def _of_waits(self, places: Places) -> str | None:
        for index, party in enumerate(places.parties):
            allowed = {"steady": 0.0, "single": self._crowd.wait}.get(party.kind)
            if allowed is not None and party.waited > allowed:
                return f"endpoint {index + 1} answers, and waits for a place for {party.waited:g} s"
        return None


def _subsets(indexes: Sequence[int]) -> Iterator[set[int]]:
    for count in range(len(indexes) + 1):
        yield from map(set, combinations(indexes, count))


def _start(places: Places, rows: dict[str, int], lanes: dict[str, Lane]) -> Places:
    """Send what was granted."""
    transfers, number = list(places.transfers), places.started
    for name, count in rows.items():
        for _ in range(count):
            number += 1
            places.slots.start(number, name, lanes[name], places.now)
            transfers.append(Transfer(int(name), lanes[name], 0.0, number))
    return places._replace(transfers=tuple(transfers), started=number)


def _waited(places: Places, rows: dict[str, int]) -> Places:
    """Count for half a second more how long those who have and got nothing have been waiting. How long a busy or a
    hanging one waits is nobody's promise."""
    parties = list(places.parties)
    for index, party in enumerate(parties):
        if party.kind in ("steady", "single") and party.has_work:
            waited = 0.0 if str(index) in rows else party.waited + STEP_SECONDS
            parties[index] = party._replace(waited=waited)
    return places._replace(parties=tuple(parties))


def _answered(places: Places) -> Places:
    """The answers of those that answer come just before the next claim."""
    parties, left = list(places.parties), []
    for transfer in places.transfers:
        party = parties[transfer.party]
        if party.hangs:
            left.append(transfer)
            continue
        places.slots.finish(transfer.number, places.now + STEP_SECONDS, succeeded=True)
        parties[transfer.party] = party._replace(has_work=False, last_outcome=str(Outcome.SUCCESS))
    return places._replace(parties=tuple(parties), transfers=tuple(left))


def _later(places: Places) -> Places:
    """Half a second later: what is over its time ends, and the books learn what time it is."""
    now, slots = places.now + STEP_SECONDS, places.slots
    parties, left = list(places.parties), []
    for transfer in places.transfers:
        transfer = transfer._replace(age=transfer.age + STEP_SECONDS)
        if transfer.age < TIMEOUT_SECONDS:
            left.append(transfer)
            continue
        slots.finish(transfer.number, now, succeeded=False)
        parties[transfer.party] = parties[transfer.party]._replace(last_outcome=str(Outcome.TIMEOUT))
    slots.advance(now)
    return places._replace(parties=tuple(parties), transfers=tuple(left), now=now)


def _words(places: Places, lanes: dict[str, Lane], rows: dict[str, int]) -> str:
    told = []
    for name in lanes:
        count, party = rows.get(name, 0), places.parties[int(name)]
        given = "no place" if not count else "a place" if count == 1 else f"{count} places"
        kind = f"{party.kind}, hangs" if party.hangs and party.kind != "hanging" else party.kind
        told.append(f"endpoint {int(name) + 1} ({kind}) gets {given}")
    return f"{places.now:g} s: {', '.join(told) or 'nobody wants a place'}"
