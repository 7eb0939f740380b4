"""A rate limit is kept in every second, used in the long run, and never a reason to stop."""

from __future__ import annotations

import math

import pytest

from app.core.webhook.rate_limit import gcra, wait_seconds


@pytest.mark.parametrize(
    ("per_second", "want", "granted"),
    [(100, 50, 11), (100, 3, 3), (10, 50, 2), (1, 50, 1), (0.1, 50, 1), (5000, 50, 50), (100, 0, 0)],
)
def test_after_a_pause_one_and_a_tenth_of_a_second_more_are_granted(per_second: float, want: int, granted: int) -> None:
    assert gcra(None, 1000.0, per_second, want)[0] == granted
    assert gcra(3.0, 1000.0, per_second, want)[0] == granted


@pytest.mark.parametrize("per_second", [0.5, 1, 3, 10, 77, 100, 1000])
@pytest.mark.parametrize("step_seconds", [0.004, 0.013, 0.09, 1.0])
def test_the_rate_is_kept_in_every_second_and_used_in_the_long_run(per_second: float, step_seconds: float) -> None:
    grants: list[tuple[float, int]] = []
    tat = None
    for step in range(int(5 / step_seconds)):
        granted, tat = gcra(tat, step * step_seconds, per_second, 10_000)
        grants += [(step * step_seconds, granted)] if granted else []
    for start, _ in grants:
        assert sum(n for at, n in grants if start <= at < start + 1) <= per_second * 1.1 + 1.001
    if step_seconds <= 0.1:  # asked often enough, nothing is lost
        assert sum(n for _, n in grants) >= per_second * 5 * 0.99 - 1


def test_refusals_cost_nothing() -> None:
    granted, tat = gcra(None, 0.0, 1.0, 1)
    assert granted == 1
    for _ in range(100):
        granted, tat = gcra(tat, 0.5, 1.0, 5)
        assert granted == 0
    assert gcra(tat, 0.9, 1.0, 5)[0] == 1


@pytest.mark.parametrize("per_second", [0.1, 1, 7, 10, 33, 100])
def test_the_wait_is_exactly_until_the_next_grant(per_second: float) -> None:
    _, tat = gcra(None, 50.0, per_second, 10_000)
    wait = wait_seconds(tat, 50.0, per_second)
    assert wait > 0
    assert gcra(tat, 50.0 + wait * 0.99, per_second, 1)[0] == 0
    assert gcra(tat, 50.0 + wait, per_second, 1)[0] == 1
    assert wait_seconds(tat, 50.0 + wait, per_second) == 0
    assert wait_seconds(None, 50.0, per_second) == 0


@pytest.mark.parametrize("per_second", [-1, 0, float("-inf"), float("nan"), 1e-300, 1e308, float("inf")])
@pytest.mark.parametrize("tat", [None, float("nan"), float("inf"), float("-inf"), -1e308, 1e308, 0.0, 50.0, 110.1])
@pytest.mark.parametrize("want", [0, 1, 10**9])
def test_the_arithmetic_has_an_answer_for_every_number(per_second: float, tat: float | None, want: int) -> None:
    granted, after = gcra(tat, 50.0, per_second, want)
    assert min(want, 1) <= granted <= want
    assert math.isfinite(after)
    assert 0 <= wait_seconds(tat, 50.0, per_second) < math.inf


@pytest.mark.parametrize("per_second", [0, -1, float("nan")])
def test_a_damaged_limit_counts_as_one_a_second(per_second: float) -> None:
    assert gcra(None, 50.0, per_second, 9) == gcra(None, 50.0, 1, 9)
    assert wait_seconds(60.0, 50.0, per_second) == wait_seconds(60.0, 50.0, 1)
