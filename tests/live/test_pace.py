"""When the events of a recording are due."""

from __future__ import annotations

import pytest

from app.core.wire.envelope import Event
from app.live.pace import Pace
from tests.live.scripted import event


def recorded(seq: int, second: float) -> Event:
    """An event that happened so many seconds into the recording."""
    return event(seq)._replace(timestamp=f"2026-11-20T10:00:{second:06.3f}Z")


@pytest.mark.parametrize("speed", [0.5, 1.0, 10.0, 1000.0])
def test_the_gaps_are_as_many_times_shorter(speed: float) -> None:
    pace = Pace(speed)
    pace.waiting.extend([recorded(1, 5.0), recorded(2, 7.0), recorded(3, 11.5)])
    due_at = []
    now = 100.0
    while pace.waiting:
        now += pace.seconds_left(now)
        due_at.append(now)
        pace.waiting.popleft()
    assert due_at == pytest.approx([100.0, 100.0 + 2.0 / speed, 100.0 + 6.5 / speed])


def test_the_times_are_those_since_the_first_event_however_late_one_was_shown() -> None:
    pace = Pace(1.0)
    pace.waiting.extend([recorded(1, 0.0), recorded(2, 2.0), recorded(3, 4.0)])
    assert pace.seconds_left(10.0) == 0.0
    pace.waiting.popleft()
    assert pace.seconds_left(11.5) == pytest.approx(0.5)
    assert pace.seconds_left(13.0) == 0.0  # a second late
    pace.waiting.popleft()
    assert pace.seconds_left(13.0) == pytest.approx(1.0)  # which the next one does not pay for


def test_an_event_that_is_said_to_have_happened_before_the_one_before_it_is_due_at_once() -> None:
    pace = Pace(1.0)
    pace.waiting.append(recorded(1, 9.0))
    assert pace.seconds_left(0.0) == 0.0
    pace.waiting[0] = recorded(2, 3.0)
    assert pace.seconds_left(0.0) == 0.0


def test_nothing_that_waits_is_nothing_to_wait_for() -> None:
    assert Pace(1.0).seconds_left(0.0) == 0.0
