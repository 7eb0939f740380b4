"""Shares: the emptiest first, in turns, and some places are kept for those that answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.webhook.shares import (
    FREE_FOR_EACH,
    KEPT_PLACES,
    LANES,
    PROBES_AT_ONCE,
    STARTS_AT_ONCE,
    Asker,
    Lane,
    divide,
    share,
)

ALL_FREE: Mapping[Lane, int] = {"fast": 2048, "new": 64, "slow": 64}


def answering(*wanted: tuple[int, int]) -> list[Asker]:
    """Endpoints that answer: room and in flight of each."""
    return [Asker(f"ep{number}", "fast", room, busy, True, number) for number, (room, busy) in enumerate(wanted)]


@pytest.mark.parametrize(
    ("wanted", "free", "shares"),
    [
        ([], 10, []),
        ([(4, 0), (4, 0)], 1000, [4, 4]),
        ([(32, 0), (1, 0), (32, 0)], KEPT_PLACES + 20, [5, 1, 5]),  # equal shares of what is not kept
        ([(32, 0), (0, 0), (32, 0)], 1000, [32, 0, 32]),
        ([(32, 0), (0, 32), (32, 0)], 1000, [32, 0, 32]),
        ([(4, 0), (4, 0), (4, 0), (4, 0)], 2, [1, 1, 0, 0]),
        ([(4, 0), (4, 0)], 0, [0, 0]),
        ([(31, 1), (30, 2), (32, 0)], KEPT_PLACES + 11, [2, 1, 3]),  # so that each has three
        ([(31, 1)] * 100 + [(1, 0)], 1, [0] * 100 + [1]),  # the newcomer, whatever its number
        ([(31, 1)] * 3 + [(9, 0)], KEPT_PLACES, [0, 0, 0, 1]),  # the last places are for the first of each
        ([(512, 0)], 2048, [STARTS_AT_ONCE]),
        ([(400, 112)], 2048 - 112, [STARTS_AT_ONCE]),
        ([(512, 512)], KEPT_PLACES + FREE_FOR_EACH * 512, [0]),
        ([(512, 512)], KEPT_PLACES + FREE_FOR_EACH * 512 + 1, [1]),
    ],
)
def test_the_emptiest_are_served_first(wanted: list[tuple[int, int]], free: int, shares: list[int]) -> None:
    assert divide(answering(*wanted), free, STARTS_AT_ONCE, 0)[0] == shares


@pytest.mark.parametrize(
    ("lane", "answers", "free", "probes", "got"),
    [
        ("fast", False, 1, 1, 1),
        ("fast", False, 2048, 0, 0),  # too many are being tried already
        ("fast", True, 1, 0, 1),
        ("fast", True, 0, 1, 0),
        ("new", False, 1, 0, 1),
        ("slow", False, 1, 0, 1),
        ("slow", True, 1, 0, 1),  # with a transfer that is old, and another that was answered
        ("slow", False, 0, 1, 0),
    ],
)
def test_places_are_kept_for_endpoints_that_answer(lane: Lane, answers: bool, free: int, probes: int, got: int) -> None:
    none: dict[Lane, int] = dict.fromkeys(LANES, 0)
    shares = share([Asker("ep", lane, 1, 0, answers)], {**none, lane: free}, probes)
    assert shares.rows == ({"ep": 1} if got else {})


def test_a_newcomer_gets_a_place_beside_any_number_of_busy_endpoints_that_have_taken_all_they_may() -> None:
    for count in (1, 10, 64, 100, 1000):
        in_flight, free = [0] * count, ALL_FREE["fast"]
        while True:
            asking = [Asker(str(number), "fast", 32, busy, True) for number, busy in enumerate(in_flight)]
            shares, _ = divide(asking, free, STARTS_AT_ONCE, 0)
            if not any(shares):
                break
            in_flight, free = [n + got for n, got in zip(in_flight, shares, strict=True)], free - sum(shares)
        newcomer = Asker("newcomer", "fast", 1)
        assert share([*asking, newcomer], {**ALL_FREE, "fast": free}, 1).rows == {"newcomer": 1}


def test_a_claim_tries_few_of_those_that_have_not_just_answered_and_those_that_have_come_first() -> None:
    lanes: Sequence[Lane] = LANES
    asking = [Asker(f"{lane}{number}", lane, 1, 0) for lane in lanes for number in range(100)]
    asking += [Asker("answers", "fast", 3, 1, True), Asker("answers, idle", "fast", 3, 0, True)]
    shares = share(asking, ALL_FREE, 999)
    assert shares.held_back
    assert list(shares.rows)[:2] == ["answers, idle", "answers"]
    assert shares.rows["answers"] == shares.rows["answers, idle"] == 3
    for lane in lanes:
        assert sum(endpoint_id.startswith(lane) for endpoint_id in shares.rows) == PROBES_AT_ONCE[lane]
    assert not share(asking[:20] + asking[-2:], ALL_FREE, 999).held_back


LANE = st.sampled_from(LANES)
NUMBER = st.integers(0, 600)


@st.composite
def crowds(draw: st.DrawFn) -> list[Asker]:
    """Endpoints as a drain has them: only those that answer have more than one place."""
    made = []
    for number in range(draw(st.integers(0, 60))):
        lane, answers, in_flight = draw(LANE), draw(st.booleans()), draw(st.sampled_from([0, 0, 1, 2, 5, 100]))
        most = draw(st.integers(0, 512)) if lane == "fast" and answers else 1
        room = max(0, most - in_flight)
        made.append(Asker(str(number), lane, room, in_flight, answers, draw(st.integers(0, 9))))
    return made


@given(
    asking=crowds(),
    fast=st.integers(0, 2048),
    new=st.integers(0, 64),
    slow=st.integers(0, 64),
    probes=st.integers(0, 99),
)
def test_whoever_asks(asking: list[Asker], fast: int, new: int, slow: int, probes: int) -> None:
    """Within rooms and places; who answers and has nothing in flight gets a place before anybody gets a second one,
    and before anybody who has one; the order of asking changes nothing."""
    free: dict[Lane, int] = {"fast": fast, "new": new, "slow": slow}
    shares = share(asking, free, probes)
    got = {asker: shares.rows.get(asker.endpoint_id, 0) for asker in asking}
    assert all(0 <= got[asker] <= asker.room for asker in asking)
    for lane in LANES:
        here = [asker for asker in asking if asker.lane == lane]
        assert sum(got[asker] for asker in here) <= free[lane]
        assert sum(got[asker] for asker in here if not asker.answers) <= PROBES_AT_ONCE[lane]
    assert sum(got[asker] for asker in asking if asker.lane == "fast" and not asker.answers) <= probes
    prompt = [asker for asker in asking if asker.lane == "fast" and asker.answers and asker.room]
    assert sum(got[asker] for asker in prompt) <= STARTS_AT_ONCE
    for lower in prompt:
        for higher in prompt:
            if got[higher]:  # nobody ends above another who asked for more, but for the one place in between
                assert higher.in_flight + got[higher] <= lower.in_flight + got[lower] + 1 or got[lower] == lower.room
    if len(asking) <= min(fast, STARTS_AT_ONCE):
        assert all(got[asker] for asker in prompt if not asker.in_flight)
    assert share(asking[::-1], free, probes).rows == shares.rows or len({asker.served for asker in asking}) < len(
        asking
    )


@given(busy=st.integers(1, 120), places=st.integers(1, 10), held=st.integers(1, 5), most=st.integers(1, 32))
def test_a_newcomer_is_served_before_everybody_else_has_been_served_twice(
    busy: int, places: int, held: int, most: int
) -> None:
    """However few places there are, although each place that becomes free is asked for by all at once, and although
    nothing is known of the newcomer."""
    in_flight, served, claims = [0] * (busy + 1), [0] * (busy + 1), 0
    running: list[int] = []
    last = busy  # the newcomer, who asks from the second round on
    while not served[last]:
        asking = [
            Asker(str(number), "fast", most - in_flight[number], in_flight[number], number < busy, served[number])
            for number in range(busy + (claims > 0))
        ]
        shares, _ = divide(asking, places - len(running), STARTS_AT_ONCE, STARTS_AT_ONCE)
        for number, got in enumerate(shares):
            for _ in range(got):
                claims += 1
                in_flight[number], served[number] = in_flight[number] + 1, claims
                running.append(number)
        for number in running[:held]:
            in_flight[number] -= 1
        del running[:held]
        assert claims <= places + 2 * busy + 1
