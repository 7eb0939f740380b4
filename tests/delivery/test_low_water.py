"""Where a look begins: at the oldest row that was seen, now and then further down, and seldom at everything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from app.delivery.low_water import FAR, NEAR, LowWater

DAY = datetime(2026, 11, 21, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return DAY + timedelta(seconds=seconds)


def test_the_first_look_is_at_everything_and_the_next_begin_at_the_oldest_row() -> None:
    water = LowWater()
    assert water.start(0.0) is None
    water.end(at(10), 0.0, 0.001)
    assert water.start(0.1) == at(10) - NEAR
    water.end(at(20), 0.1, 0.001)
    assert water.start(0.2) == at(20) - NEAR


def test_each_second_everything_is_looked_at_while_that_is_cheap() -> None:
    water = LowWater()
    alls = 0
    for tick in range(100):
        now = tick / 10
        alls += water.start(now) is None
        water.end(at(now), now, 0.001)
    assert alls == 10


def test_a_dear_look_at_everything_takes_little_of_the_time_and_one_further_down_comes_each_second() -> None:
    water = LowWater()
    assert water.start(0.0) is None
    water.end(at(0), 0.0, 0.05)
    kinds = []
    for tick in range(1, 120):
        now = tick / 10
        start = water.start(now)
        kinds.append("all" if start is None else "far" if start == at(0) - FAR else "near")
        water.end(at(0), now, 0.05 if start is None else 0.001)
    assert kinds.count("all") == 1  # after 10 s
    assert 9 <= kinds.count("far") <= 11


def test_a_row_further_down_that_was_found_lowers_the_water() -> None:
    water = LowWater()
    water.start(0.0)
    water.end(at(100), 0.0, 1.0)
    assert water.start(1.0) == at(100) - FAR
    water.end(at(80), 1.0, 0.001)
    assert water.start(1.1) == at(80) - NEAR


def test_a_look_at_everything_that_was_broken_off_is_not_begun_again_at_once() -> None:
    water = LowWater()
    water.start(0.0)
    water.end(at(0), 0.0, 0.001)
    begun = [second for second in range(1, 3600) if water.start(float(second)) is None]
    assert begun[:5] == [1, 3, 7, 15, 31]
    assert len(begun) == 11
    water.start(5000.0)
    water.end(at(0), 5000.0, 0.001)
    assert water.start(5001.0) is None


def test_a_walk_leaves_the_water_as_it_is_and_counts_as_a_look_at_everything() -> None:
    water = LowWater()
    water.start(0.0)
    water.end(at(100), 0.0, 0.001)
    assert water.start(1.5) is None
    water.end(None, 1.5, 0.001)
    assert water.start(1.6) == at(100) - NEAR
    water.end(None, 1.6, 0.001)
    assert water.start(2.6) is None


def test_who_begins_goes_on_from_where_another_stood() -> None:
    water = LowWater()
    assert water.mark is None
    assert water.start(0.0) is None
    water.end(at(10), 0.0, 0.001, all_seconds=40.0)
    begun = [second for second in range(1, 120) if water.start(float(second)) is None]
    assert begun == [40]  # it did not end, and the next comes twice as late
    assert water.all_seconds == 80.0


def test_a_dear_look_at_everything_that_is_broken_off_is_not_begun_again_soon() -> None:
    water = LowWater()
    water.start(0.0)
    water.end(at(0), 9.0, 9.0)  # the next would be cancelled
    begun = [second for second in range(10, 20_000) if water.start(float(second)) is None]
    assert begun[0] == 9 + 1800
    assert len(begun) == 11
