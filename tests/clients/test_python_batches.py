"""What is posted, how much at once, and what an answer means."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from twofold import batches
from twofold.batches import MOST_BYTES, MOST_EVENTS, Posted, fitting, read, retry_after_seconds, spell


def test_an_event_is_spelled_with_its_key() -> None:
    moment = datetime(2026, 11, 20, 10, 0, tzinfo=UTC)
    event = spell("call", "call_1", "call.noted", {"é": 1.0}, "k-1", moment)
    assert (
        event
        == (
            '{"stream":{"kind":"call","id":"call_1"},"type":"call.noted","idempotency_key":"k-1",'
            '"occurred_at":"2026-11-20T10:00:00+00:00","data":{"é":1.0}}'
        ).encode()
    )


def test_metadata_and_channels_are_posted_when_they_are_given() -> None:
    event = json.loads(spell("a", "b", "c", {}, "k", metadata={"tenant": 7}, channels=("eu",)))
    assert (event["metadata"], event["channels"]) == ({"tenant": 7}, ["eu"])


def test_bytes_are_posted_as_they_are_spelled() -> None:
    assert spell("a", "b", "c", b'{ "n": 1e2 }', "k").endswith(b',"data":{ "n": 1e2 }}')


def test_half_a_surrogate_pair_is_posted_as_an_escape() -> None:
    assert spell("a", "b", "c", {"t": "\ud83d"}, "k").endswith(b'"data":{"t":"\\ud83d"}}')


@pytest.mark.parametrize("data", [b"[]", b"1", b'{"a":NaN}', b"{", b"\xff", {"a": float("nan")}])
def test_what_is_no_json_object_is_refused_before_it_spoils_a_request(data: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        spell("a", "b", "c", data, "k")


def test_a_moment_needs_its_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        spell("a", "b", "c", {}, "k", datetime(2026, 11, 20))


@pytest.mark.parametrize(
    ("sizes", "count"),
    [
        ([], 0),
        ([1] * 3, 3),
        ([1] * (MOST_EVENTS + 1), MOST_EVENTS),
        ([MOST_BYTES + 1, 1], 1),
        ([MOST_BYTES, 1], 1),
        ([MOST_BYTES - 1, 1, 1], 2),
    ],
)
def test_a_request_holds_what_fits(sizes: list[int], count: int) -> None:
    assert fitting(sizes, MOST_EVENTS) == count


def test_each_event_has_its_answer() -> None:
    answers = [{"seq": 1}, {"status": 409, "code": "stream_ended"}, {"status": 503, "code": "unavailable"}]
    assert read(json.dumps({"data": answers}).encode(), 3) == [
        Posted(answers[0], stored=True, for_now=False),
        Posted(answers[1], stored=False, for_now=False),
        Posted(answers[2], stored=False, for_now=True),
    ]


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"data":[]}', b'{"data":[1]}', b"<html>"])
def test_an_answer_to_something_else_is_none(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read(text, 1)


@pytest.mark.parametrize(("header", "seconds"), [(None, 0), ("", 0), ("3", 3), ("-1", 0), ("soon", 0), ("٣", 0)])
def test_retry_after_is_seconds(header: str | None, seconds: float) -> None:
    assert retry_after_seconds(header) == seconds


@pytest.mark.parametrize("text", [b"<html>502</html>", b"[]", b"\xff"])
def test_what_a_proxy_says_is_kept_as_the_detail(text: bytes) -> None:
    assert batches.problem(text) == {"detail": text.decode("utf-8", "replace")}
