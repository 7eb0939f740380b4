"""Places for transfers: equal shares, bounded endpoints, and nobody waits for one that hangs."""

from __future__ import annotations

import pytest

from app.core.webhook.fairness import FAST_PLACES, MAX_IN_FLIGHT, PLACES, SLOW_PLACES, START_IN_FLIGHT, Slots, divide


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
def test_places_are_shared_equally_and_none_is_left_unused(rooms, places, shares):
    assert divide(rooms, places) == shares


def fill(slots: Slots, endpoint_id: str, count: int, now: float, lane="fast") -> list[tuple[str, int]]:
    keys = [(endpoint_id, slots.in_flight + number) for number in range(count)]
    for key in keys:
        slots.start(key, endpoint_id, lane, now)
    return keys


def test_an_endpoint_starts_small_and_earns_its_places():
    slots = Slots()
    for now in range(40):
        for key in fill(slots, "ep", 1, now / 100):
            slots.finish(key, now / 100, succeeded=True)
    assert slots.room("new") == START_IN_FLIGHT
    assert slots.room("ep") == MAX_IN_FLIGHT
    fill(slots, "ep", MAX_IN_FLIGHT, 0.5)
    assert slots.room("ep") == 0


def test_failures_take_places_away_down_to_one():
    slots = Slots()
    for key in fill(slots, "ep", 4, 0.0):
        slots.finish(key, 0.0, succeeded=False)
    assert slots.room("ep") == 1


def test_an_idle_endpoint_starts_small_again():
    slots = Slots()
    for _ in range(40):
        for key in fill(slots, "ep", 1, 0.0):
            slots.finish(key, 0.0, succeeded=True)
    slots.advance(1.5)
    assert slots.room("ep") == START_IN_FLIGHT


def test_a_hundred_endpoints_that_begin_to_hang_free_the_fast_lane_after_a_second():
    slots = Slots()
    for number in range(96):
        fill(slots, f"ep{number}", START_IN_FLIGHT, 0.0)
    assert slots.free("fast") == 0
    slots.advance(0.9)
    assert slots.free("fast") == 0
    slots.advance(1.0)
    assert slots.free("fast") == PLACES - FAST_PLACES
    assert slots.free("slow") == 0
    assert slots.hangs("ep7")
    assert not slots.hangs("healthy")


def test_the_slow_lane_cannot_take_the_fast_ones_places():
    slots = Slots()
    for number in range(SLOW_PLACES):
        fill(slots, f"ep{number}", 1, 0.0, lane="slow")
    assert slots.free("slow") == 0
    assert slots.free("fast") == FAST_PLACES
    slots.advance(5.0)
    assert slots.free("fast") == FAST_PLACES


def test_places_come_back_when_transfers_end_whatever_their_age():
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
    assert slots.room("b") == START_IN_FLIGHT
