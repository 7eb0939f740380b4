"""The scenarios and crowds that are searched, and the safeguards that are taken out one by one.

A mutant is killed when the search finds a path on which a promise is broken. The same scenario with all safeguards in
place has none: `test_model` searches each of them, and docs/reliability.md shows what it finds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from app.core.webhook import retry
from app.core.webhook.fairness import SLOW_AFTER_SECONDS
from app.core.webhook.retry import Outcome
from tests.model.copies import changed
from tests.model.delivery_model import delivery_model
from tests.model.fairness_model import Change, Crowd, fairness_model
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
    "connections break": Scenario(
        "one delivery, two workers, one accident, a connection that breaks and an attempt that is sent once more",
        answers=("ok", "no", "late", "break"),
        faults=1,
        delays=(2,),
        window=4,
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
    "in order": Scenario(
        "two deliveries of one stream in order, two workers, one accident; a person skips one",
        deliveries=2,
        faults=1,
        acts=("skip",),
        delays=(2,),
        window=4,
        ordered=True,
        lease=4,
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
    "some turn": Crowd(
        "two endpoints that always have more begin to hang, with four places, beside one that answers now and then",
        single=1,
        turning=2,
        places=(("FAST_PLACES = 2048", "FAST_PLACES = 4"), ("PROBE_PLACES = 1536", "PROBE_PLACES = 3")),
    ),
    "more hang": Crowd(
        "four endpoints that had answered begin to hang, with four places, beside one that always answers",
        steady=1,
        hanging=4,
        places=(("FAST_PLACES = 2048", "FAST_PLACES = 4"), ("PROBE_PLACES = 1536", "PROBE_PLACES = 3")),
    ),
    "known to hang": Crowd(
        "five endpoints that are known to hang, beside one that always answers and one that does now and then",
        steady=1,
        single=1,
        hanging=5,
        outcome=str(Outcome.TIMEOUT),
    ),
    "unknown": Crowd(
        "two unknown endpoints that hang, beside one that always answers and an unknown one that answers now and then",
        steady=1,
        single=1,
        hanging=2,
        outcome=None,
        single_outcome=None,
        wait=0.5,
        places=(("NEW_PLACES = 64", "NEW_PLACES = 2"), ("NEW_PLACES_IN_ALL = 192", "NEW_PLACES_IN_ALL = 6")),
    ),
    "busy": Crowd(
        "two endpoints that always have more, beside one that always answers and one that does now and then",
        steady=1,
        single=1,
        busy=2,
    ),
    "more than places": Crowd(
        "four endpoints that answer now and then, with three places",
        single=4,
        wait=SLOW_AFTER_SECONDS,
        places=(("FAST_PLACES = 2048", "FAST_PLACES = 3"),),
    ),
    "nothing kept": Crowd(
        "two endpoints that always have more, beside one that always answers, with three places of which none is kept",
        steady=1,
        busy=2,
        places=(("FAST_PLACES = 2048", "FAST_PLACES = 3"),),
        sharing=(("KEPT_PLACES = 128", "KEPT_PLACES = 0"), ("FREE_FOR_EACH = 2", "FREE_FOR_EACH = 0")),
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
    """The same for a drain's places. places, sharing: changes of the modules fairness and shares."""

    without: str
    crowd: Crowd
    places: tuple[Change, ...] = ()
    sharing: tuple[Change, ...] = ()

    @property
    def model(self) -> Model[Any]:
        return fairness_model(self.crowd, self.places, self.sharing)


def _decide_without(old: str, new: str) -> Rules:
    return Rules(decide=changed(retry, (old, new)).decide)


MUTANTS: list[Mutant | CrowdMutant] = [
    Mutant("Without row locks at the claim", Rules(locks_claims=False), SCENARIOS["accidents"]),
    Mutant("Without a lease at the claim", Rules(leases_claims=False), SCENARIOS["slow answers"]),
    Mutant("Without a lease that outlasts an attempt", Rules(), SCENARIOS["slow answers"]._replace(lease=1)),
    Mutant("Without an end to the lease", Rules(ends_leases=False), SCENARIOS["accidents"]),
    Mutant("Without a token of its own for each claim", Rules(fresh_tokens=False), SCENARIOS["slow answers"]),
    Mutant("Without the fence before a failure", Rules(fences_failures=False), SCENARIOS["accidents"]),
    Mutant("Without counting late successes", Rules(takes_late_successes=False), SCENARIOS["accidents"]),
    Mutant("Without keeping terminal states", Rules(keeps_ends=False), SCENARIOS["accidents"]),
    Mutant("Without keeping outcomes that could not be recorded", Rules(keeps_outcomes=False), SCENARIOS["accidents"]),
    Mutant("Without knowing an attempt that is recorded already", Rules(knows_attempts=False), SCENARIOS["accidents"]),
    Mutant(
        "Without waiting for an attempt that was sent once more",
        Rules(awaits_resent=False),
        SCENARIOS["connections break"],
    ),
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
    Mutant("Without claiming only the first of a lane", Rules(takes_heads_only=False), SCENARIOS["in order"]),
    Mutant("Without waiting for whoever sends it now", Rules(awaits_sender=False), SCENARIOS["in order"]),
    Mutant("Without asking before it sends whether the lease lasts", Rules(sends_in_time=False), SCENARIOS["in order"]),
    CrowdMutant(
        "Without a lane for endpoints that are known to hang",
        CROWDS["known to hang"],
        places=(('        return "slow"\n    return "fast"', '        return "fast"\n    return "fast"'),),
    ),
    CrowdMutant(
        "Without a limit to the slow lane",
        CROWDS["known to hang"],
        places=(('if lane == "fast" else SLOW_PLACES)', 'if lane == "fast" else 9)'),),
    ),
    CrowdMutant(
        "Without freeing the places of what has hung for a second",
        CROWDS["unknown"],
        places=(("SLOW_AFTER_SECONDS = 1.0", "SLOW_AFTER_SECONDS = 9.0"),),
    ),
    CrowdMutant(
        "Without a limit for each endpoint that is not known to answer",
        CROWDS["unknown"],
        places=(("self._is_prompt(endpoint) else 1", "self._is_prompt(endpoint) else 9"),),
    ),
    CrowdMutant(
        "Without places that are kept for endpoints that answer",
        CROWDS["more hang"],
        places=(("PROBE_PLACES = 3", "PROBE_PLACES = 4"),),
    ),
    CrowdMutant(
        "Without places that a busy endpoint leaves to others",
        CROWDS["some turn"],
        sharing=(('if lane == "fast" and in_flight else 0', "if False else 0"),),
    ),
    CrowdMutant(
        "Without turns among those that are equally empty",
        CROWDS["more than places"],
        sharing=(("(asker.in_flight, asker.served, index)", "(asker.in_flight, 0, index)"),),
    ),
    CrowdMutant(
        "Without serving the emptiest first",
        CROWDS["nothing kept"],
        sharing=(
            ("(asker.in_flight, asker.served, index)", "(-asker.in_flight, asker.served, index)"),
            (
                "heapq.heapreplace(waiting, (in_flight + 1, served, index))",
                "heapq.heapreplace(waiting, (in_flight - 1, served, index))",
            ),
        ),
    ),
]
