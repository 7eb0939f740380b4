"""Outcomes that wait for the database: however many are locked, the others are recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from app.core.webhook.retry import Outcome
from app.delivery import unrecorded
from app.delivery.attempts import Exchange, InBatch
from app.delivery.claims import Claimed, EndpointAddress
from app.delivery.unrecorded import MOST_AT_ONCE, Unrecorded

NOW = datetime(2026, 11, 21, tzinfo=UTC)
_seconds: Iterator[int] = count()


def exchange(delivery: str, *, resent: bool = False) -> Exchange:
    address = EndpointAddress("http://127.0.0.1:9/", None, ())
    claimed = Claimed(
        delivery, NOW, "ws_1", "ep_1", "evt_1", "token", "fast", NOW, "schedule", NOW, 0, NOW, address, b"{}"
    )
    started_at = NOW + timedelta(seconds=next(_seconds))
    return Exchange(
        claimed,
        Outcome.SUCCESS,
        200,
        None,
        None,
        (),
        b"",
        None,
        started_at=started_at,
        duration_seconds=0,
        resent=resent,
    )


def test_more_locked_outcomes_than_one_call_takes_keep_no_other_waiting() -> None:
    waiting = Unrecorded([])
    for number in range(MOST_AT_ONCE + 10):
        waiting.add(exchange(f"locked {number}"))
    other = exchange("other")
    waiting.add(other)
    first = waiting.next()
    assert other not in first
    waiting.settle(first, locked=first)
    assert other in waiting.next()
    assert len(waiting) == MOST_AT_ONCE + 11


def test_what_is_locked_does_not_count_among_those_that_wait_for_their_turn() -> None:
    waiting = Unrecorded([])
    locked, other = exchange("locked"), exchange("other")
    waiting.add(locked)
    waiting.add(other)
    assert waiting.unlocked == 2
    waiting.settle([locked], locked=[locked])
    waiting.add(exchange("locked"))
    assert (waiting.unlocked, len(waiting)) == (1, 3)
    waiting.settle([locked, other])
    assert (waiting.unlocked, len(waiting)) == (1, 1)


def test_what_came_of_one_delivery_stays_in_order() -> None:
    waiting = Unrecorded([])
    before, after, other = exchange("one", resent=True), exchange("one"), exchange("other")
    waiting.add(before)
    waiting.add(after)
    waiting.add(other)
    waiting.settle([before], locked=[before])
    assert waiting.next() == [other, before, after]


def test_the_oldest_is_given_up_when_too_many_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unrecorded, "MOST_KEPT", 2)
    waiting = Unrecorded([])
    locked, other, last = exchange("locked"), exchange("other"), exchange("last")
    waiting.add(locked)
    waiting.add(other)
    waiting.settle([locked], locked=[locked])
    waiting.add(last)
    assert waiting.next() == [other, last]


def test_those_of_batches_are_given_up_for_others_like_them_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unrecorded, "MOST_KEPT", 2)
    monkeypatch.setattr(unrecorded, "MOST_KEPT_OF_BATCHES", 3)
    waiting = Unrecorded([])
    alone = [exchange(f"alone {number}") for number in range(2)]
    shared = [replace(exchange(f"shared {number}"), batch=InBatch("bat_1", 5, number + 1, 0.5)) for number in range(5)]
    for each in (alone[0], *shared, alone[1]):
        waiting.add(each)
    assert waiting.next() == [alone[0], *shared[2:], alone[1]]
    waiting.settle([shared[2]])
    last = exchange("last")
    waiting.add(last)
    waiting.add(shared[0])
    assert waiting.next() == [*shared[3:], alone[1], last, shared[0]]
