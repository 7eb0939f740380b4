"""Why an event has, or has not, arrived: each reason by a case of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.core.event.explain import DeliveryFacts, EndpointFacts, EventFacts, explain
from app.core.event.filters.reading import stored_filter

CAME = datetime(2026, 11, 20, 10, tzinfo=UTC)
HOUR = timedelta(hours=1)
NOW = CAME + 2 * HOUR
EVENT = EventFacts("call.started", "call", CAME)
ENDPOINT = EndpointFacts(True, None, None, CAME - 24 * HOUR, CAME - 24 * HOUR)
OFF = replace(ENDPOINT, enabled=False, disabled_reason="disabled_by_owner")
PENDING = DeliveryFacts("pending", None, 0, CAME + 24 * HOUR, due_at=CAME)
TRIED = replace(
    PENDING, attempt_count=3, due_at=NOW + HOUR, last_outcome="http_error", last_status=500, reason="http_error 500"
)
FAILED = replace(TRIED, status="failed", due_at=None, finished_at=NOW)
LATER = CAME + HOUR

CASES = {
    "delivered": (ENDPOINT, replace(TRIED, status="delivered", finished_at=LATER), "Delivered 2026-11-20 11:00:00 UTC"),
    "sending": (ENDPOINT, replace(TRIED, sending=True), "attempt 4 is under way"),
    "due": (ENDPOINT, PENDING, "waits for a worker to take it for the first time"),
    "due_again": (
        ENDPOINT,
        replace(TRIED, due_at=LATER),
        "Due now for attempt 4; the last attempt ended as http error",
    ),
    "rate_limited": (replace(ENDPOINT, rate_limited_until=NOW + HOUR), PENDING, "rate limit until 2026-11-20 13:00"),
    "retrying": (ENDPOINT, TRIED, "due 2026-11-20 13:00:00 UTC; the last attempt ended as http error 500"),
    "blocked": (ENDPOINT, replace(TRIED, last_outcome="blocked_address", last_status=None), "may not be sent to"),
    "exhausted": (ENDPOINT, replace(FAILED, reason="window_exhausted: no success"), "after 3 attempts until the"),
    "unknown_outcome": (ENDPOINT, replace(FAILED, reason="unknown_outcome: the last"), "The receiver may have it"),
    "endpoint_gone": (OFF, replace(FAILED, reason="endpoint_gone"), "answered 410 Gone"),
    "endpoint_disabled": (
        OFF,
        replace(FAILED, status="cancelled", reason="endpoint_disabled"),
        "Enable it, then retry",
    ),
    "endpoint_deleted": (None, replace(FAILED, status="cancelled", reason="endpoint_deleted"), "was deleted while"),
    "event_expired": (ENDPOINT, replace(FAILED, reason="event_expired: the event is"), "older than events are kept"),
    "worker_crash": (ENDPOINT, replace(FAILED, reason="worker_crash: it was claimed"), "again and again"),
    "test_failed": (ENDPOINT, replace(FAILED, reason="test_failed"), "has one attempt"),
    "registered_later": (replace(ENDPOINT, created_at=LATER), None, "after the event came"),
    "filtered_kind": (
        replace(ENDPOINT, stream_kinds=["bot"]),
        None,
        "takes streams of the kinds bot; this one is call",
    ),
    "filtered_type": (replace(ENDPOINT, event_types=["bot.*", "call.ended"]), None, "takes bot.*, call.ended; this"),
    "filtered_channel": (
        replace(ENDPOINT, channels=["a", "b"]),
        None,
        "takes the channels a, b; this event carries none",
    ),
    "filtered_content": (
        replace(ENDPOINT, content=stored_filter('{"path":"/tier","eq":"gold"}')),
        None,
        'Filtered out by content_filter: /tier must be "gold", and it is absent.',
    ),
    "disabled_then": (
        replace(OFF, disabled_at=CAME - HOUR),
        None,
        "when the event came: since 2026-11-20 09:00:00 UTC",
    ),
    "disabled_since": (replace(OFF, disabled_at=LATER), None, "disabled after the event came"),
    "changed_since": (replace(ENDPOINT, updated_at=LATER), None, "changed 2026-11-20 11:00:00 UTC, after the event"),
    "missed": (ENDPOINT, None, "should have a delivery"),
}


@pytest.mark.parametrize("code", CASES)
def test_each_reason_is_found_and_told(code: str) -> None:
    endpoint, delivery, words = CASES[code]
    found = explain(EVENT, endpoint, delivery, NOW)
    assert found.code == code
    assert words in found.sentence
    assert found.sentence.endswith((".", ")"))


def test_a_blocked_address_is_named_also_when_it_was_given_up() -> None:
    given_up = replace(FAILED, reason="window_exhausted: x", last_outcome="blocked_address", last_status=None)
    assert explain(EVENT, ENDPOINT, given_up, NOW).code == "blocked"


def test_an_endpoint_that_an_outage_disabled_is_not_said_to_be_disabled_by_a_person() -> None:
    endpoint = replace(OFF, disabled_reason="endpoint_failing: every attempt", disabled_at=CAME - HOUR)
    assert "by Twofold (endpoint_failing: every attempt)" in explain(EVENT, endpoint, None, NOW).sentence


@pytest.mark.parametrize("types", [["*"], ["call.*"], ["call.started"], None])
def test_filters_that_match_are_not_blamed(types: list[str] | None) -> None:
    assert explain(EVENT, replace(ENDPOINT, event_types=types), None, NOW).code == "missed"


def test_a_test_of_one_endpoint_is_not_missed_by_the_others() -> None:
    assert explain(replace(EVENT, is_test=True), ENDPOINT, None, NOW).code == "test_of_another"


def test_an_endpoint_that_is_gone_without_a_trace_is_said_to_be() -> None:
    assert explain(EVENT, None, None, NOW).code == "endpoint_deleted"


def test_a_reason_of_another_release_is_shown_as_it_is() -> None:
    found = explain(EVENT, ENDPOINT, replace(FAILED, reason="brand_new: words"), NOW)
    assert found.sentence == "Failed: brand_new: words."
