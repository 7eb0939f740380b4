"""Large bodies of anybody take half of a process at most, and one at a time."""

from __future__ import annotations

import threading

import pytest

from app.web.http.turns import LARGE_BYTES, WORK_SECONDS, Turns
from tests.processes import eventually


class Clock:
    """Seconds that pass by work and by sleep."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_large_body_pauses_as_long_as_it_has_worked(clock: Clock) -> None:
    with Turns(clock, clock.sleep).one(LARGE_BYTES + 1) as pause:
        clock.now += 0.2
        pause()
        clock.now += WORK_SECONDS / 2
        pause()  # not yet
        clock.now += 1.0
    assert clock.slept == pytest.approx([0.2, 1.0 + WORK_SECONDS / 2])


def test_a_refused_one_pauses_too(clock: Clock) -> None:
    def refuse() -> None:
        with Turns(clock, clock.sleep).one(LARGE_BYTES + 1):
            clock.now += 0.3
            raise ValueError("too deep")

    with pytest.raises(ValueError, match="deep"):
        refuse()
    assert clock.slept == pytest.approx([0.3])


def test_a_small_body_waits_for_nobody(clock: Clock) -> None:
    turns = Turns(clock, clock.sleep)
    with turns.one(LARGE_BYTES + 1), turns.one(LARGE_BYTES) as pause:
        clock.now += 0.2
        pause()
        assert clock.slept == []


def test_large_bodies_come_one_after_the_other(clock: Clock) -> None:
    turns, inside, leave = Turns(clock, clock.sleep), [], threading.Event()

    def take() -> None:
        with turns.one(LARGE_BYTES + 1):
            inside.append(1)
            assert leave.wait(10)
            inside.pop()

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    eventually(lambda: inside)
    assert inside == [1]
    leave.set()
    for thread in threads:
        thread.join(10)
    assert inside == []
