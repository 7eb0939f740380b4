"""When a drain looks again for what it has put off."""

from __future__ import annotations

from app.delivery.windows import STEP_SECONDS, Windows


def test_the_next_end_is_told_when_it_is_soon_and_as_long_as_it_lies_ahead() -> None:
    windows = Windows()
    assert windows.next_end(0.0, None) is None
    assert windows.next_end(0.0, 5.0) is None
    assert windows.next_end(1.0, 0.5) == 0.5
    assert windows.next_end(1.25, None) == 0.25
    assert windows.next_end(1.75, None) is None
    assert windows.next_end(4.5, None) == 0.5
    assert windows.next_end(6.0, None) is None


def test_an_earlier_end_comes_first_and_those_close_behind_another_are_one() -> None:
    windows = Windows()
    windows.next_end(0.0, 0.9)
    assert windows.next_end(0.0, 0.5) == 0.5
    windows.next_end(0.0, 0.5 + STEP_SECONDS / 2)
    assert windows.next_end(0.51, None) == 0.9 - 0.51
