"""The reference of claim, lease and fence says what the SQL does, whatever is done to the rows in whatever order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import hypothesis
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from app.core.webhook.retry import Outcome
from app.database.connection import Database
from app.delivery import claims
from app.delivery.claims import MOST_LOST_CLAIMS
from app.settings import Settings
from tests.delivery.world import World
from tests.model import adapter
from tests.model.reference import Rules
from tests.model.shadow import Shadow

OK, NO, BUSY, GONE, SILENT, OK_AND_NO_MORE, NO_MORE, NOT_THIS = ANSWERS = (
    (Outcome.SUCCESS, 200, None),
    (Outcome.HTTP_ERROR, 500, None),
    (Outcome.HTTP_ERROR, 503, "90"),
    (Outcome.HTTP_ERROR, 410, None),
    (Outcome.TIMEOUT, None, None),
    (Outcome.SUCCESS, 204, None, "disable"),
    (Outcome.HTTP_ERROR, 500, None, "disable"),
    (Outcome.HTTP_ERROR, 500, None, "abort-message"),
)
numbers, indexes, answers = st.integers(0, 2), st.integers(0, 5), st.sampled_from(ANSWERS)
# Less than anything, the delays, a lease, more than all of them, the window but for a moment, and more than that.
spans = st.sampled_from([0.5, 5.2, 31.0, 61.0, 200.0, 86_000.0, 86_401.0])
statuses = st.sampled_from(["disabled", "enabled", None])
# What happens to a round's calls. After a connection has broken, the round makes one more call at once.
REFUSED, CUT, LOST, CUT_OFF, LOST_AND_CUT_OFF = accidents = (
    ("refused",),
    ("cut",),
    ("lost",),
    ("cut", "away"),
    ("lost", "away"),
)


class Do(NamedTuple):
    """One method of `Shadow` and what it is called with."""

    name: str
    arguments: tuple[Any, ...] = ()
    options: tuple[tuple[str, Any], ...] = ()


def do(name: str, *arguments: st.SearchStrategy[Any], **options: Any) -> st.SearchStrategy[Do]:
    return st.builds(Do, st.just(name), st.tuples(*arguments), st.just(tuple(options.items())))


# What happens most in a drain's life comes most.
OFTEN = (
    [do("claim", numbers)] * 3
    + [do("record", numbers, st.integers(1, 4), answers)] * 4
    + [do("record_and_claim", numbers, st.integers(1, 4), answers)] * 4
    + [do("let_pass", spans)] * 5
)
SOMETIMES = [
    do("claim", numbers, fast_only=True),
    *[do("claim", numbers, accidents=each) for each in (*accidents, ("", "refused"))],
    do("claim_beside", st.integers(0, 1), st.just(2), commits=True),
    do("claim_beside", st.just(2), st.integers(0, 1), commits=False),
    *[do("record_and_claim", numbers, st.just(4), answers, accidents=each) for each in accidents],
    do("record_rest", numbers),
    do("resend", numbers, st.integers(1, 4)),
    do("record_beside", st.just(0), st.just(1), answers),
    do("overtake", st.just(0), st.just(1), answers, answers),
    do("lose_claims", numbers, st.integers(1, 3)),
    do("kill", numbers),
    do("retry", indexes),
    do("change", indexes, statuses),
    do("answer_like", indexes, st.sampled_from([None, "timeout", "success"])),
    do("expire", indexes),
    do("make_test", indexes),
]
steps_of_any_kind = st.sampled_from([*OFTEN, *SOMETIMES]).flatmap(lambda strategy: strategy)

NewShadow = Callable[[int, Rules], Shadow]


@pytest.fixture
def new_shadow(database_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[NewShadow]:
    """A function that empties the tables and gives each of two endpoints some deliveries."""
    adapter.make_jitter_known(monkeypatch)
    database = Database(database_url, options=claims.DATABASE_OPTIONS)

    def make(events: int, rules: Rules) -> Shadow:
        with database.begin() as connection:
            adapter.empty(connection)
        return Shadow(World(database, settings), events, rules)

    yield make
    database.close()


@hypothesis.settings(
    max_examples=15,
    deadline=None,
    derandomize=True,  # the same interleavings in every run, so that a failure is somebody's change
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(events=st.integers(1, 3), steps=st.lists(steps_of_any_kind, min_size=15, max_size=30))
def test_the_reference_is_the_sql(new_shadow: NewShadow, events: int, steps: list[Do]) -> None:
    run(new_shadow(events, Rules()), steps)


LOST_ONCE = (("accidents", LOST),)
LOST_FOR_LONG = (("accidents", LOST_AND_CUT_OFF),)

# What chance would seldom find.
STORIES = {
    "late successes and late failures": [
        Do("overtake", (0, 1, OK, NO)),
        Do("retry", (0,)),
        Do("overtake", (0, 1, OK, OK)),
        Do("retry", (1,)),
        Do("overtake", (0, 1, NO, OK)),
    ],
    "an outcome whose row somebody else has locked": [
        Do("claim", (0,)),
        Do("let_pass", (61.0,)),
        Do("record_beside", (0, 1, OK)),
        Do("record_rest", (0,)),
        Do("record", (1, 4, NO)),
    ],
    "the answers to COMMITs are lost": [
        Do("claim", (0,)),
        Do("record", (0, 1, NO), LOST_ONCE),
        Do("record", (0, 1, OK), LOST_FOR_LONG),
        Do("let_pass", (6.0,)),
        Do("record_and_claim", (0, 0, OK), LOST_ONCE),
        Do("let_pass", (61.0,)),
        Do("record_and_claim", (0, 4, OK), LOST_FOR_LONG),
        Do("let_pass", (61.0,)),
        Do("overtake", (1, 0, NO, OK)),
    ],
    "one says that it is gone, and the answer to the COMMIT is lost": [
        Do("claim", (0,)),
        Do("record", (0, 4, GONE), LOST_ONCE),
    ],
    "two say that they are gone, one of them late": [
        Do("overtake", (0, 1, GONE, GONE)),
        Do("change", (0, "enabled")),
        Do("change", (1, "enabled")),
        Do("retry", (1,)),
        Do("claim", (0,)),
        Do("record", (0, 1, GONE), LOST_FOR_LONG),
        Do("record_rest", (0,)),
    ],
    "rows that kill their workers, and are retried": [
        Do("lose_claims", (0, 11)),  # two with both rows, then one row at a time: each is given up
        Do("retry", (0,)),
        Do("retry", (1,)),
        Do("lose_claims", (1, 3)),
    ],
    "lost claims between attempts": [
        Do("lose_claims", (0, 2)),
        Do("claim", (0,)),
        Do("record", (0, 2, NO), LOST_ONCE),
        Do("let_pass", (6.0,)),
        Do("lose_claims", (0, 4)),
        Do("claim", (0,)),
        Do("record", (0, 2, BUSY)),
        Do("let_pass", (91.0,)),
        Do("lose_claims", (0, 3)),
    ],
    "a connection breaks, and the worker sends once more": [
        Do("claim", (0,)),
        Do("resend", (0, 4), LOST_ONCE),
        Do("claim", (1,)),
        Do("record", (0, 4, NO)),
        Do("let_pass", (6.0,)),
        Do("claim", (1,)),
        Do("resend", (1, 4)),
        Do("lose_claims", (1, 3)),
        Do("claim", (0,)),
        Do("record", (0, 1, OK)),
    ],
    "people while something is being sent": [
        Do("claim", (0,)),
        Do("retry", (0,)),
        Do("claim", (1,)),
        Do("change", (0, "disabled")),
        Do("record", (0, 1, OK)),
        Do("record", (0, 1, NO)),
        Do("change", (0, "enabled")),
        Do("retry", (0,)),
        Do("claim", (1,)),
        Do("let_pass", (86_401.0,)),
        Do("record", (1, 2, SILENT)),
    ],
    "a person retries what a worker holds whose lease has ended": [
        Do("claim", (0,)),
        Do("let_pass", (61.0,)),
        Do("retry", (0,)),
        Do("record", (0, 1, NO)),
        Do("claim", (1,)),
        Do("record", (1, 1, NO)),
    ],
    "what is to be tried again at an endpoint that is disabled": [
        Do("claim", (0,)),
        Do("change", (0, "disabled")),
        Do("change", (1, None)),
        Do("record_and_claim", (0, 2, NO)),
    ],
}


@pytest.mark.parametrize("name", STORIES)
def test_the_reference_is_the_sql_in_this_story(new_shadow: NewShadow, name: str) -> None:
    run(new_shadow(1, Rules()), STORIES[name])


# A worker claims a row for the sixth time. Before it gives that up, the first one who had it records a success.
GIVEN_UP_BESIDE_A_SUCCESS = [
    Do("change", (1, None)),
    Do("claim", (1,)),
    Do("let_pass", (61.0,)),
    Do("lose_claims", (0, 4)),
    Do("give_up_beside", (0, 1, OK)),
]


def test_what_is_delivered_is_not_given_up(new_shadow: NewShadow) -> None:
    shadow = new_shadow(1, Rules())
    run(shadow, GIVEN_UP_BESIDE_A_SUCCESS)
    assert shadow.world.statuses() == {"cancelled": 1, "delivered": 1}


WRONG: list[dict[str, Any]] = [
    {"leases_claims": False},
    {"ends_leases": False},
    {"fences_failures": False},
    {"takes_late_successes": False},
    {"keeps_ends": False},
    {"parks_after": MOST_LOST_CLAIMS - 1},
    {"counts_attempts": False},
    {"forgets_old_claims": False},
    {"spares_the_sent": False},
    {"knows_attempts": False},
    {"retells_gone": False},
    {"says_unknown": False},
    {"isolates_suspects": False},
    {"awaits_resent": False},
]


@pytest.mark.parametrize("wrong", WRONG, ids=[next(iter(wrong)) for wrong in WRONG])
def test_a_reference_that_says_something_else_is_found_out(new_shadow: NewShadow, wrong: dict[str, Any]) -> None:
    for steps in STORIES.values():
        try:
            run(new_shadow(1, Rules()._replace(**wrong)), steps)
        except (AssertionError, OverflowError):  # a time for ever cannot be moved
            return
    pytest.fail("no story shows it")


def run(shadow: Shadow, steps: list[Do]) -> None:
    for step in steps:
        getattr(shadow, step.name)(*step.arguments, **dict(step.options))
    shadow.check_log()
