"""Places for transfers: lanes, bounded endpoints that earn what they have, and nobody waits for one that hangs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.webhook.fairness import (
    FAST_PLACES,
    LEAST_PATIENCE_SECONDS,
    MAX_IN_FLIGHT,
    MIN_IN_FLIGHT,
    MOST_MAX_IN_FLIGHT,
    NEW_PLACES,
    NEW_PLACES_IN_ALL,
    PROBE_PLACES,
    SLOW_PLACES,
    Slots,
    lane,
    resized,
)
from app.core.webhook.shares import LANES, PROBES_AT_ONCE, Lane, Shares


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
        (40, True, 40),  # more than it has used twice over: kept, and not grown
        (1, True, 2),
        (32, False, 16),
        (5, False, 2),
        (2, False, 1),
        (1, False, 1),
    ],
)
def test_an_endpoint_earns_its_transfers_one_by_one_and_loses_half(limit: int, succeeded: bool, expected: int) -> None:
    assert resized(limit, MAX_IN_FLIGHT, succeeded=succeeded) == expected


def fill(slots: Slots, endpoint_id: str, count: int, now: float, lane: Lane = "fast") -> list[tuple[str, int]]:
    keys = [(endpoint_id, slots.in_flight + number) for number in range(count)]
    for key in keys:
        slots.start(key, endpoint_id, lane, now)
    return keys


def answer(slots: Slots, keys: list[tuple[str, int]], now: float, *, succeeded: bool = True) -> None:
    for key in keys:
        slots.finish(key, now, succeeded=succeeded)


def earn(slots: Slots, endpoint_id: str, rounds: int, now: float = 0.0, lane: Lane = "fast") -> float:
    """Have an endpoint use all it may have, so many times, and answer after 10 ms. Returns the time after that."""
    for _ in range(rounds):
        keys = fill(slots, endpoint_id, slots.room(endpoint_id, lane), now, lane)
        now += 0.01
        answer(slots, keys, now)
    return now


def test_an_endpoint_begins_with_one_and_doubles_with_each_round_trip() -> None:
    slots = Slots()
    now, rooms = 0.0, []
    for _ in range(7):
        rooms.append(slots.room("ep", "fast"))
        now = earn(slots, "ep", 1, now)
    assert rooms == [1, 2, 4, 8, 16, 32, MAX_IN_FLIGHT]
    fill(slots, "ep", MAX_IN_FLIGHT, now)
    assert slots.room("ep", "fast") == 0


@pytest.mark.parametrize("most", [1, 2, 100, MOST_MAX_IN_FLIGHT])
def test_how_many_an_endpoint_may_earn_is_a_setting(most: int) -> None:
    slots = Slots(most)
    earn(slots, "ep", 12)
    assert slots.room("ep", "fast") == most


def test_an_endpoint_earns_twice_as_many_as_it_has_used() -> None:
    """One that has an event now and then cannot begin to hang with 32."""
    slots = Slots()
    for number in range(40):
        answer(slots, fill(slots, "ep", 1, number / 100), number / 100)
    assert slots.room("ep", "fast") == 2


def test_failures_take_places_away_down_to_one() -> None:
    slots = Slots()
    now = earn(slots, "ep", 5)
    keys = fill(slots, "ep", 4, now)
    answer(slots, keys[:2], now, succeeded=False)
    answer(slots, keys[2:3], now)
    assert slots.room("ep", "fast") == 32 // 2 // 2 + 1 - 1  # two halves, one more, one in flight
    answer(slots, keys[3:], now, succeeded=False)
    assert slots.room("ep", "fast") == MIN_IN_FLIGHT
    assert not slots.answers("ep")


def test_what_was_earned_holds_while_answers_come() -> None:
    slots = Slots()
    now = earn(slots, "ep", 5)
    keys = fill(slots, "ep", 3, now)
    slots.advance(now + LEAST_PATIENCE_SECONDS - 0.01)
    assert slots.room("ep", "fast") == 29
    slots.advance(now + LEAST_PATIENCE_SECONDS + 0.01)
    assert slots.room("ep", "fast") == 0  # it has three in flight, and has not answered for a while
    answer(slots, keys[:1], now + 0.3)
    assert slots.room("ep", "fast") == 30
    answer(slots, keys[1:], now + 0.3)
    slots.advance(now + 0.95)
    assert slots.room("ep", "fast") == MIN_IN_FLIGHT  # what it has earned may be outdated: one asks
    assert slots.answers("ep")


@pytest.mark.parametrize("round_trip_seconds", [0.03, 0.2, 0.9])
def test_an_endpoint_that_is_far_away_is_waited_for_as_long_as_it_usually_takes(round_trip_seconds: float) -> None:
    slots, now = Slots(), 0.0
    for _ in range(5):
        keys = fill(slots, "ep", slots.room("ep", "fast"), now)
        now += round_trip_seconds
        slots.advance(now)
        answer(slots, keys, now)
    slots.advance(now + min(1.0, 3.9 * round_trip_seconds))
    assert slots.room("ep", "fast") == MAX_IN_FLIGHT


def test_an_idle_endpoint_starts_small_again() -> None:
    slots = Slots()
    now = earn(slots, "ep", 6)
    slots.advance(now + 1.5)
    assert slots.room("ep", "fast") == MIN_IN_FLIGHT
    assert not slots.answers("ep")
    assert slots.answering == []


def test_an_endpoint_of_which_nothing_good_is_known_has_one_place() -> None:
    slots = Slots()
    assert (slots.room("ep", "new"), slots.room("ep", "slow")) == (1, 1)
    keys = fill(slots, "ep", 1, 0.0, lane="new")
    assert (slots.room("ep", "new"), slots.room("ep", "slow")) == (0, 0)
    assert not slots.answers("ep")
    answer(slots, keys, 0.1)
    assert slots.answers("ep")
    assert slots.answering == ["ep"]
    now = earn(slots, "ep", 4, 0.1, lane="fast")
    slots.advance(now)
    assert (slots.room("ep", "new"), slots.room("ep", "slow")) == (1, 1)


@pytest.mark.parametrize(
    ("failures", "last_outcome", "seen", "expected"),
    [
        (0, "success", None, "fast"),
        (0, None, None, "new"),
        (0, None, "answered", "fast"),  # before its row says so
        (1, "connect_error", "answered", "fast"),
        (3, "http_error", "answered", "slow"),  # its row says so again when the success is recorded
        (0, "success", "hangs", "slow"),
        (0, None, "failed", "new"),
    ],
)
def test_a_drain_knows_more_than_the_row_says(failures: int, last_outcome: str, seen: str, expected: str) -> None:
    slots = Slots()
    if seen:
        keys = fill(slots, "ep", 1, 0.0)
        slots.advance(1.0)
        if seen != "hangs":
            answer(slots, keys, 1.0, succeeded=seen == "answered")
    assert slots.lane("ep", failures, last_outcome) == expected


def test_endpoints_that_begin_to_hang_have_one_place_each_in_the_slow_lane() -> None:
    slots = Slots()
    for number in range(1000):
        fill(slots, f"ep{number}", slots.room(f"ep{number}", "fast"), 0.0)
    slots.advance(0.99)
    assert not slots.hangs("ep7")
    slots.advance(1.0)
    assert slots.hangs("ep7")
    assert slots.room("ep7", "slow") == 0
    assert not slots.hangs("healthy")
    assert slots.free("fast") == FAST_PLACES - 1000
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
            assert [slots.free(lane) for lane in LANES] == [FAST_PLACES - 1, NEW_PLACES, SLOW_PLACES]
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
    assert slots.room("b", "fast") == MIN_IN_FLIGHT


@pytest.mark.parametrize(
    ("taken", "lane", "ample"),
    [
        (0, "fast", PROBES_AT_ONCE["fast"]),
        (PROBE_PLACES - 5, "fast", 5),
        (PROBE_PLACES, "fast", 0),
        (0, "new", PROBES_AT_ONCE["new"]),
        (NEW_PLACES - 3, "new", 3),
        (SLOW_PLACES, "slow", 0),
    ],
)
def test_what_is_ample_need_not_be_shared(taken: int, lane: Lane, ample: int) -> None:
    slots = Slots()
    for number in range(taken):
        fill(slots, f"other {number}", 1, 0.0, lane)
    assert slots.ample(lane) == ample


@given(
    hanging=st.integers(0, FAST_PLACES),
    rounds=st.lists(st.integers(0, 6), max_size=8),
    unknown=st.integers(0, 40),
    lane=st.sampled_from(LANES),
)
@settings(max_examples=40)
def test_as_long_as_places_are_ample_everybody_gets_all_he_asks_for(
    hanging: int, rounds: list[int], unknown: int, lane: Lane
) -> None:
    slots = Slots()
    for number in range(hanging):
        slots.start(number, f"hangs {number}", "fast", 0.0)
    for number, times in enumerate(rounds):
        earn(slots, f"ep{number}", times)
    slots.advance(0.06)
    lanes = {f"ep{number}": lane for number in range(len(rounds) + unknown)}
    rooms = {endpoint_id: slots.room(endpoint_id, lane) for endpoint_id in lanes}
    if sum(rooms.values()) <= slots.ample(lane):
        assert slots.shares(lanes) == Shares(rooms)
    due = {endpoint_id: number % 3 for number, endpoint_id in enumerate(lanes)}
    assert all(got <= due[endpoint_id] for endpoint_id, got in slots.shares(lanes, due).rows.items())
