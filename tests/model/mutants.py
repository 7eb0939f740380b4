"""The scenarios and crowds that are searched, and the safeguards that are taken out one by one.

A mutant is killed when the search finds a path on which a promise is broken. The same scenario with all safeguards in
place has none: `test_model` searches each of them, and docs/reliability.md shows what it finds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from app.core.webhook import retry
from app.core.webhook.fairness import SLOW_AFTER_SECONDS
from tests.model.copies import changed
from tests.model.delivery_model import delivery_model
from tests.model.fairness_model import Crowd, fairness_model
from tests.model.parts import Scenario
from tests.model.reference import Rules
from tests.model.search import Model

SCENARIOS = {
    "accidents": Scenario(
        "one delivery, two workers, two accidents, answers that are lost",
        answers=("ok", "no", "cut"),
        faults=2,
        delays=(2,),
        window=4,
    ),
    "slow answers": Scenario(
        "one delivery, two workers, one accident, a receiver that is slow or silent",
        answers=("ok", "no", "late", "hang", "cut"),
        faults=1,
    ),
    "three workers": Scenario("one delivery, three workers, two accidents", workers=3, answers=("ok", "no"), faults=2),
    "two deliveries": Scenario("two deliveries, two workers, one accident", deliveries=2, faults=1),
    "one at a time": Scenario(
        "two deliveries, three workers that hold one each, one accident", workers=3, deliveries=2, places=1, faults=1
    ),
    "the endpoint ends": Scenario(
        "two deliveries; the endpoint is disabled, enabled or deleted, or says that it is gone",
        deliveries=2,
        answers=("ok", "no", "gone"),
        faults=1,
        accidents=("crash", "commit"),
        acts=("delete", "disable", "enable"),
        delays=(2,),
        window=4,
    ),
    "the endpoint is gone": Scenario(
        "two deliveries; the endpoint says that it is gone, and the answer to a COMMIT is lost",
        deliveries=2,
        answers=("no", "gone"),
        faults=1,
        accidents=("commit",),
        delays=(2,),
        window=4,
    ),
    "people": Scenario(
        "one delivery, one accident; a person retries it and disables the endpoint",
        answers=("ok", "no"),
        faults=1,
        acts=("disable", "retry"),
        delays=(2,),
        window=4,
    ),
    "poison": Scenario("two deliveries, of which one kills each worker that sends it", deliveries=2, poison=0),
    "poison, retried": Scenario(
        "a delivery that kills its workers is retried by a person, one accident", poison=0, faults=1, acts=("retry",)
    ),
    "the real schedule": Scenario(
        "a receiver that fails for 24 hours, one accident",
        answers=("no", "busy"),
        faults=1,
        delays=retry.DELAYS_SECONDS,
        window=retry.WINDOW_SECONDS,
        lease=60,
        timeout=15,
    ),
}


CROWDS = {
    "one hangs": Crowd("one endpoint that hangs beside two that answer", single=2, hanging=1),
    "many hang": Crowd(
        "four endpoints begin to hang, with five places, beside one that answers",
        hanging=4,
        wait=SLOW_AFTER_SECONDS,
    ),
    "known to hang": Crowd("five endpoints that are known to hang, beside one that answers", hanging=5, known=True),
    "busy": Crowd("two endpoints that always have more, beside one with a delivery at a time", busy=2),
}

# What the drain's places do not give yet: the searches find these, and nothing prevents them.
OPEN_CROWDS = {
    "more that hang": Crowd(
        "five endpoints begin to hang, with five places, beside one that answers",
        hanging=5,
        wait=SLOW_AFTER_SECONDS,
    ),
    "more that are busy": Crowd(
        "three endpoints always have more, with three fast places, beside one with a delivery at a time",
        busy=3,
        wait=SLOW_AFTER_SECONDS,
    ),
}


class Mutant(NamedTuple):
    """A safeguard that is missing. without: what is missing, in words; rules: all others; scenario: where it shows."""

    without: str
    rules: Rules
    scenario: Scenario

    @property
    def model(self) -> Model[Any]:
        return delivery_model(self.scenario, self.rules)


class CrowdMutant(NamedTuple):
    """The same for a drain's places. changes: of the fairness module."""

    without: str
    changes: tuple[tuple[str, str], ...]
    crowd: Crowd

    @property
    def model(self) -> Model[Any]:
        return fairness_model(self.crowd, *self.changes)


def _decide_without(old: str, new: str) -> Rules:
    return Rules(decide=changed(retry, (old, new)).decide)


MUTANTS: list[Mutant | CrowdMutant] = [
    Mutant("Without row locks at the claim", Rules(locks_claims=False), SCENARIOS["accidents"]),
    Mutant("Without moving the due time at the claim", Rules(leases_claims=False), SCENARIOS["slow answers"]),
    Mutant("Without a lease that outlasts an attempt", Rules(), SCENARIOS["slow answers"]._replace(lease=1)),
    Mutant("Without an end to the lease", Rules(ends_leases=False), SCENARIOS["accidents"]),
    Mutant("Without a token of its own for each claim", Rules(fresh_tokens=False), SCENARIOS["slow answers"]),
    Mutant("Without the fence before a failure", Rules(fences_failures=False), SCENARIOS["accidents"]),
    Mutant("Without counting late successes", Rules(takes_late_successes=False), SCENARIOS["accidents"]),
    Mutant("Without keeping terminal states", Rules(keeps_ends=False), SCENARIOS["accidents"]),
    Mutant("Without keeping outcomes that could not be recorded", Rules(keeps_outcomes=False), SCENARIOS["accidents"]),
    Mutant("Without knowing an attempt that is recorded already", Rules(knows_attempts=False), SCENARIOS["accidents"]),
    Mutant("Without saying that an outcome is unknown", Rules(says_unknown=False), SCENARIOS["slow answers"]),
    Mutant("Without giving up a row that kills its workers", Rules(parks_after=None), SCENARIOS["poison"]),
    Mutant("Without counting attempts against claims", Rules(counts_attempts=False), SCENARIOS["the real schedule"]),
    Mutant(
        "Without a new count of claims after a person's retry",
        Rules(forgets_old_claims=False),
        SCENARIOS["poison, retried"],
    ),
    Mutant("Without sending suspects alone", Rules(isolates_suspects=False), SCENARIOS["poison"]),
    Mutant(
        "Without asking whether the endpoint is enabled", Rules(asks_enabled_only=False), SCENARIOS["the endpoint ends"]
    ),
    Mutant("Without sparing what is being sent", Rules(spares_the_sent=False), SCENARIOS["people"]),
    Mutant(
        "Without a last attempt",
        _decide_without("if now >= deadline_at:", "if False:"),
        SCENARIOS["two deliveries"],
    ),
    Mutant(
        "Without the deadline as the limit of Retry-After",
        _decide_without("min(due_at, deadline_at)", "due_at"),
        SCENARIOS["the real schedule"],
    ),
    Mutant(
        "Without disabling an endpoint that is gone",
        _decide_without("disable_endpoint=True", "disable_endpoint=False"),
        SCENARIOS["the endpoint is gone"],
    ),
    Mutant(
        "Without hearing once more that an endpoint is gone",
        Rules(retells_gone=False),
        SCENARIOS["the endpoint is gone"],
    ),
    CrowdMutant(
        "Without moving what is slow to the slow lane's account",
        (("SLOW_AFTER_SECONDS = 1.0", "SLOW_AFTER_SECONDS = 9.0"),),
        CROWDS["many hang"],
    ),
    CrowdMutant(
        "Without a lane for endpoints that are known to hang",
        (("last_outcome == Outcome.TIMEOUT or ", ""),),
        CROWDS["known to hang"],
    ),
    CrowdMutant(
        "Without a limit to the slow lane",
        (("min(SLOW_PLACES - (self.in_flight - self._fast), self.vacant)", "self.vacant"),),
        CROWDS["known to hang"],
    ),
    CrowdMutant(
        "Without a limit for each endpoint",
        (("START_IN_FLIGHT = 1", "START_IN_FLIGHT = 9"), ("MAX_IN_FLIGHT = 2", "MAX_IN_FLIGHT = 9")),
        CROWDS["one hangs"],
    ),
    CrowdMutant(
        "Without equal shares",
        (
            ("sorted(range(len(rooms)), key=lambda asker: (rooms[asker], -asker))", "range(len(rooms))"),
            ("places // (len(order) - served)", "places"),
        ),
        CROWDS["busy"],
    ),
]
