"""Places for transfers: equal shares, bounded endpoints, rate limits, and nobody waits for one that hangs."""

from __future__ import annotations

import math

import pytest

from app.core.webhook.fairness import (
    FAST_PLACES,
    FAST_PLACES_IN_ALL,
    LANES,
    MAX_IN_FLIGHT,
    NEW_PLACES,
    NEW_PLACES_IN_ALL,
    SLOW_IN_FLIGHT,
    SLOW_PLACES,
    START_IN_FLIGHT,
    Lane,
    Slots,
    divide,
    gcra,
    lane,
    resized,
    wait_seconds,
)


@pytest.mark.parametrize(
    ("failures", "last_outcome", "expected"),
    [
        (0, None, "new"),
        (0, "success", "fast"),
        (1, "http_error", "fast"),  # it has answered
        (2, "connect_error", "new"),
        (1, "protocol_error", "new"),
        (3, "http_error", "slow"),
        (1, "timeout", "slow"),
        (400, "dns_error", "slow"),
    ],
)
def test_hanging_and_failing_endpoints_have_their_own_lane(
    failures: int, last_outcome: str | None, expected: str
) -> None:
    assert lane(failures, last_outcome) == expected


@pytest.mark.parametrize(
    ("limit", "succeeded", "expected"),
    [
        (4, True, 5),
        (31, True, 32),
        (32, True, 32),
        (1, True, 2),
        (32, False, 16),
        (5, False, 2),
        (2, False, 1),
        (1, False, 1),
    ],
)
def test_an_endpoint_earns_its_transfers_one_by_one_and_loses_half(limit: int, succeeded: bool, expected: int) -> None:
    assert resized(limit, succeeded=succeeded) == expected


def test_28_successes_bring_a_new_endpoint_to_the_full_limit() -> None:
    limit, successes = START_IN_FLIGHT, 0
    while limit < MAX_IN_FLIGHT:
        limit, successes = resized(limit, succeeded=True), successes + 1
    assert successes == 28


@pytest.mark.parametrize(
    ("rooms", "places", "shares"),
    [
        ([], 10, []),
        ([4, 4], 100, [4, 4]),
        ([32, 32], 10, [5, 5]),
        ([32, 1, 32], 11, [5, 1, 5]),
        ([32, 0, 32], 3, [2, 0, 1]),
        ([4, 4, 4, 4], 2, [1, 1, 0, 0]),
        ([4, 4], 0, [0, 0]),
    ],
)
def test_places_are_shared_equally_and_none_is_left_unused(rooms: list[int], places: int, shares: list[int]) -> None:
    assert divide(rooms, places) == shares


def fill(slots: Slots, endpoint_id: str, count: int, now: float, lane: Lane = "fast") -> list[tuple[str, int]]:
    keys = [(endpoint_id, slots.in_flight + number) for number in range(count)]
    for key in keys:
        slots.start(key, endpoint_id, lane, now)
    return keys


def test_an_endpoint_starts_small_and_earns_its_places() -> None:
    slots = Slots()
    for now in range(40):
        for key in fill(slots, "ep", 1, now / 100):
            slots.finish(key, now / 100, succeeded=True)
    assert slots.room("new", "fast") == START_IN_FLIGHT
    assert slots.room("ep", "fast") == MAX_IN_FLIGHT
    fill(slots, "ep", MAX_IN_FLIGHT, 0.5)
    assert slots.room("ep", "fast") == 0


def test_failures_take_places_away_down_to_one() -> None:
    slots = Slots()
    for key in fill(slots, "ep", 4, 0.0):
        slots.finish(key, 0.0, succeeded=False)
    assert slots.room("ep", "fast") == 1


def test_an_idle_endpoint_starts_small_again() -> None:
    slots = Slots()
    for _ in range(40):
        for key in fill(slots, "ep", 1, 0.0):
            slots.finish(key, 0.0, succeeded=True)
    slots.advance(1.5)
    assert slots.room("ep", "fast") == START_IN_FLIGHT


def test_an_endpoint_of_which_nothing_good_is_known_has_few_places() -> None:
    slots = Slots()
    assert (slots.room("ep", "new"), slots.room("ep", "slow")) == (START_IN_FLIGHT, SLOW_IN_FLIGHT)
    fill(slots, "ep", 1, 0.0, lane="new")
    assert not slots.answers("ep")
    assert (slots.room("ep", "new"), slots.room("ep", "slow")) == (START_IN_FLIGHT - 1, 0)
    for key in fill(slots, "ep", 1, 0.0, lane="new"):
        slots.finish(key, 0.1, succeeded=True)
    assert slots.answers("ep")


def test_in_a_crowd_an_endpoint_that_has_not_just_answered_has_one_place() -> None:
    slots = Slots()
    assert slots.room("ep", "fast", crowded=True) == 1
    (key,) = fill(slots, "ep", 1, 0.0)
    assert slots.room("ep", "fast", crowded=True) == 0
    slots.finish(key, 0.1, succeeded=True)
    assert slots.room("ep", "fast", crowded=True) == START_IN_FLIGHT + 1


def test_endpoints_that_begin_to_hang_free_the_fast_lane_after_a_second() -> None:
    slots = Slots()
    for number in range(96):
        fill(slots, f"ep{number}", START_IN_FLIGHT, 0.0)
    assert slots.free("fast") == 0
    slots.advance(0.9)
    assert slots.free("fast") == 0
    slots.advance(1.0)
    assert slots.free("fast") == FAST_PLACES
    assert slots.hangs("ep7")
    assert slots.room("ep7", "slow") == 0
    assert not slots.hangs("healthy")


@pytest.mark.parametrize("hanging", [100, 500, 1000, 5000])
def test_however_many_begin_to_hang_the_others_find_places(hanging: int) -> None:
    """Second by second, every endpoint that has not been found to hang asks for a place and hangs."""
    slots = Slots()
    untried = [f"ep{number}" for number in range(hanging)]
    seconds_until_all_are_tried = 0
    for second in range(15):  # until the first of them times out
        slots.advance(float(second))
        free = slots.free("fast")
        assert free or hanging > FAST_PLACES_IN_ALL
        for endpoint_id in untried[:free]:
            fill(slots, endpoint_id, 1, float(second))
        untried = untried[free:]
        seconds_until_all_are_tried += bool(untried)
    assert slots.in_flight <= FAST_PLACES_IN_ALL
    if hanging <= 1000:
        assert seconds_until_all_are_tried == {100: 0, 500: 1, 1000: 3}[hanging]
    assert (slots.free("new"), slots.free("slow")) == (NEW_PLACES, SLOW_PLACES)


def test_unknown_endpoints_that_hang_take_nothing_from_known_ones() -> None:
    slots = Slots()
    for second in range(15):
        slots.advance(float(second))
        for number in range(slots.free("new")):
            fill(slots, f"ep{second}-{number}", 1, float(second), lane="new")
        assert slots.free("fast") == FAST_PLACES
    assert slots.in_flight <= NEW_PLACES_IN_ALL


def test_while_a_transfer_travels_alone_no_other_starts_for_a_second_or_until_it_ends() -> None:
    slots = Slots()
    for ends in (False, True):
        slots.start("poison", "ep", "fast", 10.0, alone=True)
        slots.advance(10.9)
        assert [slots.free(lane) for lane in LANES] == [0, 0, 0]
        if not ends:
            slots.advance(11.0)
            assert [slots.free(lane) for lane in LANES] == [FAST_PLACES, NEW_PLACES, SLOW_PLACES]
        slots.finish("poison", 11.0, succeeded=True)
        assert [slots.free(lane) for lane in LANES] == [FAST_PLACES, NEW_PLACES, SLOW_PLACES]


def test_the_slow_lane_cannot_take_the_fast_ones_places() -> None:
    slots = Slots()
    for number in range(SLOW_PLACES):
        fill(slots, f"ep{number}", 1, 0.0, lane="slow")
    assert slots.free("slow") == 0
    assert slots.free("fast") == FAST_PLACES
    slots.advance(5.0)
    assert slots.free("fast") == FAST_PLACES


def test_places_come_back_when_transfers_end_whatever_their_age() -> None:
    slots = Slots()
    keys = fill(slots, "a", 10, 0.0) + fill(slots, "b", 10, 0.0, lane="slow")
    slots.advance(2.0)
    keys += fill(slots, "c", 10, 2.0)
    for key in keys:
        slots.finish(key, 2.5, succeeded=key[0] == "a")
    assert slots.in_flight == 0
    assert not slots.hangs("a")
    assert (slots.free("fast"), slots.free("slow")) == (FAST_PLACES, SLOW_PLACES)
    slots.advance(9.0)
    assert slots.room("b", "fast") == START_IN_FLIGHT


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
@pytest.mark.parametrize("tat", [None, float("nan"), float("inf"), float("-inf"), -1e308, 0.0, 50.0])
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
