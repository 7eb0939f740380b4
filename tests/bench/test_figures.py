"""Ratios are taken in one round, and their median is what counts."""

from __future__ import annotations

import pytest

from bench.bars import BARS
from bench.figures import Bar, judge, median, ratio
from bench.loads import LOADS

ROUNDS = {
    0: {"a/twofold/cpu": 2.0, "bare/bare/bare_cpu": 1.0, "once/twofold/rate": 30.0},
    1: {"a/twofold/cpu": 6.0, "bare/bare/bare_cpu": 2.0},
    2: {"a/twofold/cpu": 50.0, "bare/bare/bare_cpu": 10.0},
}
B = ("bare/bare/bare_cpu",)


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    assert ratio(ROUNDS, "a/twofold/cpu", B) == 3.0


def test_a_load_that_was_run_once_is_held_against_the_measure_of_its_round() -> None:
    assert ratio({0: ROUNDS[0]}, "once/twofold/rate", B) == 30.0


def test_bottoms_are_added_up() -> None:
    assert ratio(ROUNDS, "a/twofold/cpu", (*B, *B)) == 1.5


def test_what_was_not_measured_has_no_ratio() -> None:
    assert ratio(ROUNDS, "a/twofold/cpu", ("b/plain/cpu",)) is None
    assert median(ROUNDS, "b/plain/cpu") is None


@pytest.mark.parametrize(
    ("limit", "at_most", "met"), [(3.0, True, True), (2.9, True, False), (3.0, False, True), (3.1, False, False)]
)
def test_a_bar_is_met_at_its_limit(limit: float, at_most: bool, met: bool) -> None:
    (judged,) = judge([Bar("a", "cost", "a/twofold/cpu", B, limit, at_most)], ROUNDS)
    assert judged.is_met is met


def test_a_bar_without_figures_is_open() -> None:
    (judged,) = judge([Bar("b", "cost", "b/twofold/cpu", B, 1, True)], ROUNDS)
    assert judged.is_met is None


def test_every_bar_is_of_loads_and_contenders_that_are_run() -> None:
    run = {f"{load.name}/{contender}" for load in LOADS for contender in load.contenders}
    named = {name.rpartition("/")[0] for bar in BARS for name in (bar.top, *bar.bottom)}
    assert named <= run
    assert {bar.load for bar in BARS} <= {load.name for load in LOADS}
