"""Batches: what an answer acknowledges, how events are divided, how small a refused batch comes again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.webhook import batches
from app.core.webhook.batches import Acknowledged, acknowledged, body, most_bytes, most_next, split


def read(answer: Any, events: int = 5, status: int = 200, **other: Any) -> Acknowledged:
    text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return acknowledged(events, status, text, **{"error": None, "is_cut": False, **other})


@settings(max_examples=40)
@given(st.integers(1, 1000), st.data())
def test_a_prefix_is_what_the_answer_says(events: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, events))
    for number in (count, float(count)):
        assert read({"accepted": number, "more": [1]}, events).events == count


@settings(max_examples=60)
@given(
    st.integers(1, 1000), st.one_of(st.integers(-3, 2000), st.floats(), st.text(max_size=5), st.none(), st.booleans())
)
def test_what_is_no_count_of_these_events_acknowledges_nothing(events: int, value: Any) -> None:
    is_count = (
        isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= events and value == int(value)
    )
    found = read({"accepted": value}, events)
    assert found.events == (value if is_count else 0)
    assert (found.error is None) == (found.events == events)


@pytest.mark.parametrize(
    ("answer", "other", "count"),
    [
        (b"", {}, 5),
        (b"ok", {}, 5),
        ([3], {}, 5),
        ({"accepted_": 3}, {}, 5),
        ({"result": {"accepted": 3}}, {}, 5),
        (b"\xff\xfe", {}, 5),
        (b"[" * 20_000, {}, 5),
        ({"accepted": 3}, {"status": 201}, 5),
        ({"accepted": 3}, {"status": 207}, 5),
        ({"accepted": 3}, {"is_cut": True}, 5),
        ({"accepted": 3}, {"is_cut": True, "error": "broke off"}, 5),
        ({"accepted": 5}, {"error": "broke off"}, 0),
        ({"accepted": 3}, {"error": "broke off", "status": 204}, 5),
        (b'{"accepted": 1, "accepted": 2}', {}, 2),
        (b'\xef\xbb\xbf{"accepted": 2}', {}, 2),
        (b'{"accepted": 1' + b"0" * 10_000 + b"}", {}, 0),
        (b'{"accepted": -0.0}', {}, 0),
        (b'{"accepted": NaN}', {}, 0),
    ],
)
def test_which_answers_are_read(answer: Any, other: dict[str, Any], count: int) -> None:
    assert read(answer, **other).events == count


def test_why_not_all_is_said_in_words() -> None:
    assert read({"accepted": 3}).error == "the receiver accepted 3 of 5 events"
    assert read({"accepted": True}).error == '"accepted" must be a whole number from 0 to 5, not true'
    assert len(str(read({"accepted": "x" * 10_000}).error)) < 120


@settings(max_examples=40)
@given(st.lists(st.integers(0, 600_000), max_size=30))
def test_division_keeps_all_in_order_and_to_the_bounds(lengths: list[int]) -> None:
    items = list(enumerate(lengths))
    divided = split(items, lambda item: item[1])
    assert [item for batch in divided for item in batch] == items
    for batch in divided:
        assert batch
        assert len(batch) == 1 or len(body([b"x" * length for _, length in batch])) <= batches.MOST_BYTES


def test_division_at_the_most_events() -> None:
    assert [len(batch) for batch in split([1] * 2001, lambda item: 1)] == [1000, 1000, 1]


def test_a_body_is_an_array_of_the_envelopes() -> None:
    assert body([b'{"a":1.0}', b"{}"]) == b'[{"a":1.0},{}]'


def test_bytes_in_flight_make_batches_smaller_but_not_smaller_than_an_event() -> None:
    assert most_bytes(0) == batches.MOST_BYTES
    assert most_bytes(60 * 2**20) == 2**19
    assert most_bytes(10**12) == batches.LEAST_BYTES


@pytest.mark.parametrize(
    ("events", "outcome", "status", "failures", "most"),
    [
        (100, "http_error", 500, 0, 10),
        (9, "http_error", 413, 2, 1),
        (1, "http_error", 500, 0, None),
        (100, "http_error", 500, 3, None),
        (100, "http_error", 503, 0, None),
        (100, "http_error", 429, 0, None),
        (100, "not_accepted", 200, 0, 10),
        (1000, "timeout", None, 0, 100),
        (100, "connect_error", None, 0, None),
    ],
)
def test_how_many_travel_together_after_a_refusal(
    events: int, outcome: str, status: int | None, failures: int, most: int | None
) -> None:
    assert most_next(events, outcome, status, failures) == most
