"""Lanes: when a head steps aside, and what a request says of its place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.core.webhook.lanes import (
    LONGEST_STEP_SECONDS,
    PATIENCE_SECONDS,
    Place,
    headers,
    is_replay,
    steps_aside,
    waited_seconds,
)

NOW = datetime(2026, 11, 20, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("before", "ago", "after"),
    [
        (None, None, 0.0),  # it has just begun
        (None, 5.0, 0.0),
        (0.0, 5.0, 5.0),
        (100.0, 0.0, 100.0),
        (100.0, LONGEST_STEP_SECONDS, 100.0 + LONGEST_STEP_SECONDS),
        (100.0, 3600.0, 100.0 + LONGEST_STEP_SECONDS),  # nobody looked meanwhile
        (100.0, -60.0, 100.0),  # the clock was set back
    ],
)
def test_time_counts_from_look_to_look(before: float | None, ago: float | None, after: float) -> None:
    counted_at = None if ago is None else NOW - timedelta(seconds=ago)
    assert waited_seconds(before, counted_at, NOW) == after


@pytest.mark.parametrize(
    ("waited", "patience", "aside"),
    [
        (0.0, None, False),
        (PATIENCE_SECONDS - 0.1, None, False),
        (float(PATIENCE_SECONDS), None, True),
        (59.9, 60, False),
        (60.0, 60, True),
        (PATIENCE_SECONDS, 7200, False),
    ],
)
def test_a_head_steps_aside_when_its_patience_is_over(waited: float, patience: int | None, aside: bool) -> None:
    assert steps_aside(waited, patience) is aside


@pytest.mark.parametrize(
    ("place", "replay", "told"),
    [
        (None, False, {}),
        (None, True, {"webhook-replay": "1"}),
        (Place(), False, {}),  # the first of its lane
        (Place(prev=3), False, {"webhook-prev-seq": "3"}),
        (Place(prev=9, skipped=(4, 9)), False, {"webhook-prev-seq": "9", "webhook-skipped-seq": "4,9"}),
        (Place(prev=3, late=True), False, {"webhook-late": "1", "webhook-prev-seq": "3"}),
        (Place(late=True), True, {"webhook-late": "1", "webhook-replay": "1"}),
    ],
)
def test_a_request_says_what_its_receiver_has_to_know(place: Place | None, replay: bool, told: dict[str, str]) -> None:
    assert dict(headers(place, replay=replay)) == told


def test_a_replay_is_what_was_begun_later_than_its_event() -> None:
    assert not is_replay(NOW, NOW)
    assert not is_replay(NOW, NOW - timedelta(seconds=1))
    assert is_replay(NOW, NOW + timedelta(milliseconds=1))
