"""When the standby starts, is replaced and ends: by what is due and by rounds, not by what Redis says."""

from __future__ import annotations

import math

import pytest

from app.delivery.rounds import Waiting
from workers.standby import is_frozen, is_needed


@pytest.mark.parametrize(
    ("overdue", "pool_silent", "rung", "needed"),
    [
        (0.0, math.inf, True, False),  # nothing is due: nobody needs to look
        (4.9, 60.0, True, False),
        (5.0, 4.9, True, False),  # somebody has looked, and may be waiting for a rate limit
        (5.0, 5.0, True, True),
        (3600.0, 0.5, True, False),  # much is due, and they are at work
        (1.9, 60.0, False, False),
        (2.0, 2.0, False, True),  # Redis takes no rings: sooner
        (60.0, 1.9, False, False),
    ],
)
def test_it_is_needed_when_something_stays_due_and_no_pool_looks(
    overdue: float, pool_silent: float, rung: bool, needed: bool
) -> None:
    assert is_needed(Waiting(overdue, pool_silent, 0.0), rung=rung) is needed


@pytest.mark.parametrize(
    ("overdue", "all_silent", "age", "frozen"),
    [(40.0, 40.0, 40.0, True), (40.0, 40.0, 29.0, False), (40.0, 2.0, 40.0, False), (0.0, 40.0, 40.0, False)],
)
def test_it_is_frozen_when_it_is_old_enough_and_makes_no_rounds_either(
    overdue: float, all_silent: float, age: float, frozen: bool
) -> None:
    assert is_frozen(Waiting(overdue, 60.0, all_silent), age) is frozen
