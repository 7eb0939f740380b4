"""Every state that a delivery or a drain's places can get into, and every safeguard taken out: no promise is broken as
long as all are in place, and one is as soon as any is missing. docs/reliability.md shows what was found."""

from __future__ import annotations

import pytest

from tests.model import page
from tests.model.mutants import CROWDS, MUTANTS, SCENARIOS, CrowdMutant, Mutant
from tests.model.reference import Rules
from tests.model.search import Found, Model, Step, TooManyStates, search

STALE = "docs/reliability.md does not show what the model finds; write it anew: .venv/bin/python -m tests.model"


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_promise_is_broken_whatever_happens_to_a_delivery(name: str) -> None:
    found = page.search_scenario(SCENARIOS[name])
    print(f"{name}: {found.states} states, {found.transitions} steps")
    assert (found.broken, found.trace) == (None, ())
    assert page.row(SCENARIOS[name], found) in page.written(), STALE


@pytest.mark.parametrize("name", CROWDS)
def test_nobody_waits_longer_than_promised_for_a_place(name: str) -> None:
    found = page.search_crowd(CROWDS[name])
    print(f"{name}: {found.states} states, {found.transitions} steps")
    assert (found.broken, found.trace) == (None, ())
    assert page.row(CROWDS[name], found) in page.written(), STALE


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.without for mutant in MUTANTS])
def test_without_any_one_safeguard_a_promise_is_broken(mutant: Mutant | CrowdMutant) -> None:
    found = search(mutant.model)
    assert found.broken
    assert page.section(mutant, found) in page.written(), STALE


def test_the_page_shows_nothing_else() -> None:
    assert page.headings(page.written()) == [mutant.without for mutant in MUTANTS]
    assert page.written().count("\n| ") == len(SCENARIOS) + len(CROWDS)


def test_every_rule_has_a_mutant_that_lacks_it() -> None:
    changed = {
        name
        for mutant in MUTANTS
        if isinstance(mutant, Mutant)
        for name, value in mutant.rules._asdict().items()
        if value != getattr(Rules(), name)
    }
    assert changed == set(Rules._fields)


def counting(steps: dict[int, list[Step[int]]], *, waits: int | None = None, ends: bool = True) -> Model[int]:
    """A model of numbers. waits: the last state that waits for something."""
    return Model(0, lambda at: steps.get(at, []), lambda at: at, lambda at: "it waits" if at == waits else None, ends)


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (counting({0: [Step("a", 1), Step("b", 2)], 1: [Step("c", 2)]}), Found(3, 3)),
        (
            counting({0: [Step("a", 1), Step("b", 2)], 1: [Step("c", 3, broken="a promise")], 2: [Step("d", 3)]}),
            Found(3, 3, "a promise", ("a", "c")),
        ),
        (counting({0: [Step("a", 1)]}, waits=1), Found(2, 1, "it waits, and nothing more happens", ("a",))),
        (
            counting({0: [Step("a", 1)], 1: [Step("rescue", 2, is_ordinary=False)]}, waits=1),
            Found(3, 2, "it waits, and nothing more happens", ("a",)),
        ),
        (
            counting({0: [Step("a", 1)], 1: [Step("b", 2)], 2: [Step("c", 1), Step("d", 3)]}),
            Found(4, 4, "it goes round in a circle and never ends", ("a",)),
        ),
        (counting({0: [Step("a", 0)]}, ends=False), Found(1, 1)),
    ],
)
def test_the_search_finds_broken_promises_ends_that_come_too_early_and_circles(model: Model[int], found: Found) -> None:
    assert search(model) == found


def test_a_search_that_would_take_too_long_says_so() -> None:
    endless = Model(0, lambda at: [Step("on", at + 1)], lambda at: at, lambda at: None)
    with pytest.raises(TooManyStates):
        search(endless, most_states=100)
