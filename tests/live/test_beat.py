"""A beat is kept, whenever it is asked for."""

from __future__ import annotations

from app.live.beat import Beat


def test_it_is_due_once_a_beat_and_missed_ones_are_not_made_up_for() -> None:
    beat = Beat(seconds=15.0, at=15.0)
    asked = {0.0: False, 14.9: False, 15.0: True, 15.1: False, 29.9: False, 40.0: True, 44.9: False, 45.0: True}
    asked |= {200.0: True, 200.1: False, 209.9: False, 210.0: True}
    assert {now: beat.is_due(now) for now in asked} == asked
