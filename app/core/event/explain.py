"""Why an event has, or has not, reached an endpoint: one sentence for a person, and a code.

Pure: judges what the rows say. What filters were in force when the event came is not kept; where an endpoint has been
changed since, the sentence says so rather than guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.core.event.filters import matches, shares_channel
from app.core.event.filters.content import ContentFilter, why_not

# The code at the beginning of a delivery's reason -> (our code, what to tell a person).
_ENDED = {
    "endpoint_disabled": (
        "endpoint_disabled",
        "Cancelled: the endpoint was disabled while this delivery was waiting. Enable it, then retry or recover.",
    ),
    "endpoint_deleted": ("endpoint_deleted", "Cancelled: the endpoint was deleted while this delivery was waiting."),
    "endpoint_gone": (
        "endpoint_gone",
        "The endpoint answered 410 Gone, which says that it wants no more; it was disabled.",
    ),
    "disabled_by_receiver": (
        "disabled_by_receiver",
        "The endpoint answered with webhook-delivery: disable, which asks for no more; it was disabled.",
    ),
    "aborted_by_receiver": (
        "aborted_by_receiver",
        "Failed: the endpoint answered with webhook-delivery: abort-message, so it is not tried again.",
    ),
    "event_expired": ("event_expired", "Cancelled: the event is older than events are kept."),
    "worker_crash": (
        "worker_crash",
        "Failed: workers took this delivery again and again and ended before they could record an outcome.",
    ),
    "test_failed": ("test_failed", "This was a test, which has one attempt. It failed."),
    "unknown_outcome": (
        "unknown_outcome",
        "Not known: the last attempt was sent and never answered. The receiver may have it; it is not tried again.",
    ),
}


# Every code that `explain` gives. A delivery that another release has ended for a reason of its own is told as how it
# stands: failed or cancelled.
CODES = (
    "delivered",
    "sending",
    "in_order",
    "due",
    "due_again",
    "rate_limited",
    "retrying",
    "blocked",
    "exhausted",
    *_ENDED,
    "failed",
    "cancelled",
    "test_of_another",
    "registered_later",
    "filtered_kind",
    "filtered_type",
    "filtered_channel",
    "filtered_content",
    "disabled_then",
    "disabled_since",
    "changed_since",
    "missed",
)


@dataclass(frozen=True, slots=True)
class EventFacts:
    """What of an event decides who gets it. is_test: it was made to test one endpoint. data: its data as a value, where
    an endpoint has a content filter."""

    type: str
    kind: str
    created_at: datetime
    is_test: bool = False
    channels: Sequence[str] = ()
    data: Any = None


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """An endpoint as it is now. event_types, stream_kinds, channels, content: None where it asks for nothing."""

    enabled: bool
    event_types: Sequence[str] | None
    stream_kinds: Sequence[str] | None
    created_at: datetime
    updated_at: datetime
    disabled_at: datetime | None = None
    disabled_reason: str | None = None
    rate_limited_until: datetime | None = None
    channels: Sequence[str] | None = None
    content: ContentFilter | None = None


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """A delivery as it is now. last_outcome, last_status: of its last attempt. due_at: None when it has ended.
    waits_its_turn: behind others of its stream, whose order the endpoint keeps."""

    status: str
    reason: str | None
    attempt_count: int
    deadline_at: datetime
    finished_at: datetime | None = None
    due_at: datetime | None = None
    sending: bool = False
    last_outcome: str | None = None
    last_status: int | None = None
    last_error: str | None = None
    waits_its_turn: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """code: for programs; sentence: for people."""

    code: str
    sentence: str


def explain(
    event: EventFacts, endpoint: EndpointFacts | None, delivery: DeliveryFacts | None, now: datetime
) -> Explanation:
    """Why the event has, or has not, reached the endpoint. endpoint None: deleted; delivery None: there is none."""
    if delivery is None:
        return _without_delivery(event, endpoint)
    if delivery.status == "delivered":
        return Explanation("delivered", f"Delivered {_at(delivery.finished_at)} at attempt {delivery.attempt_count}.")
    if delivery.status == "pending":
        return _pending(endpoint, delivery, now)
    return _ended(delivery)


def _without_delivery(event: EventFacts, endpoint: EndpointFacts | None) -> Explanation:
    if endpoint is None:
        return Explanation("endpoint_deleted", "The endpoint is deleted, and this event has no delivery to it.")
    if event.is_test:
        return Explanation("test_of_another", "This event is a test of another endpoint; tests go to that one alone.")
    if endpoint.created_at > event.created_at:
        words = f"The endpoint was registered {_at(endpoint.created_at)}, after the event came. Recover brings it."
        return Explanation("registered_later", words)
    if endpoint.stream_kinds is not None and event.kind not in endpoint.stream_kinds:
        wanted = ", ".join(endpoint.stream_kinds) or "none"
        words = f"Filtered out: the endpoint takes streams of the kinds {wanted}; this one is {event.kind}."
        return Explanation("filtered_kind", words)
    if not matches(endpoint.event_types, None, type=event.type, kind=event.kind):
        wanted = ", ".join(endpoint.event_types or ()) or "none"
        words = f"Filtered out: the endpoint takes {wanted}; this event is {event.type}."
        return Explanation("filtered_type", words)
    if (closer := _looking_closer(event, endpoint)) is not None:
        return closer
    if not endpoint.enabled:
        return _disabled(event, endpoint)
    if endpoint.updated_at > event.created_at:
        words = (
            f"The endpoint would get such an event now, but it was changed {_at(endpoint.updated_at)}, after the event"
            " came: it was disabled then, or its filters were others. Recover brings it."
        )
        return Explanation("changed_since", words)
    return Explanation("missed", "The endpoint should have a delivery of this event and has none. Recover brings it.")


def _looking_closer(event: EventFacts, endpoint: EndpointFacts) -> Explanation | None:
    if not shares_channel(endpoint.channels, event.channels):
        wanted, carried = ", ".join(endpoint.channels or ()), ", ".join(event.channels) or "none"
        words = f"Filtered out: the endpoint takes the channels {wanted}; this event carries {carried}."
        return Explanation("filtered_channel", words)
    if endpoint.content is not None and (reason := why_not(endpoint.content, event.data)) is not None:
        return Explanation("filtered_content", f"Filtered out by {reason}.")
    return None


def _disabled(event: EventFacts, endpoint: EndpointFacts) -> Explanation:
    by_owner = (endpoint.disabled_reason or "").startswith("disabled_by_owner")
    why = "by a person" if by_owner else f"by Twofold ({endpoint.disabled_reason})"
    when = _at(endpoint.disabled_at)
    if endpoint.disabled_at is not None and endpoint.disabled_at > event.created_at:
        words = f"The endpoint was disabled after the event came: {when}, {why}. Enable it, then recover."
        return Explanation("disabled_since", words)
    words = f"The endpoint was disabled when the event came: since {when}, {why}. Enable it, then recover."
    return Explanation("disabled_then", words)


def _pending(endpoint: EndpointFacts | None, delivery: DeliveryFacts, now: datetime) -> Explanation:
    if delivery.sending:
        return Explanation("sending", f"Being sent now: attempt {delivery.attempt_count + 1} is under way.")
    if delivery.waits_its_turn:
        words = "Waits for its turn: the endpoint gets the events of a stream in order, and an earlier one is not over."
        return Explanation("in_order", words)
    due = delivery.due_at is None or delivery.due_at <= now
    limited = None if endpoint is None else endpoint.rate_limited_until
    if due and limited is not None and limited > now:
        return Explanation("rate_limited", f"Waits for the endpoint's rate limit until {_at(limited)}.")
    if due and delivery.attempt_count == 0:
        return Explanation("due", "Due now: it waits for a worker to take it for the first time.")
    if due:
        return Explanation("due_again", f"Due now for attempt {delivery.attempt_count + 1}; {_last(delivery)}.")
    words = f"The next attempt is due {_at(delivery.due_at)}; {_last(delivery)}. Given up {_at(delivery.deadline_at)}."
    if delivery.last_outcome == "blocked_address":
        return Explanation("blocked", f"{words} {_BLOCKED}")
    return Explanation("retrying", words)


def _ended(delivery: DeliveryFacts) -> Explanation:
    code = (delivery.reason or "").partition(":")[0]
    if code == "window_exhausted":
        attempts = f"{delivery.attempt_count} attempt{'' if delivery.attempt_count == 1 else 's'}"
        if delivery.last_outcome == "blocked_address":
            return Explanation("blocked", f"Given up {_at(delivery.finished_at)} after {attempts}. {_BLOCKED}")
        words = f"Given up {_at(delivery.finished_at)} after {attempts} until the deadline; {_last(delivery)}."
        return Explanation("exhausted", words)
    if code in _ENDED:
        return Explanation(*_ENDED[code])
    return Explanation(delivery.status, f"{delivery.status.capitalize()}: {delivery.reason or 'no reason is known'}.")


_BLOCKED = "The endpoint's name leads to an address that webhooks may not be sent to (a private or reserved network)."


def _last(delivery: DeliveryFacts) -> str:
    if delivery.last_outcome is None:
        return "no attempt was made yet"
    status = f" {delivery.last_status}" if delivery.last_status is not None else ""
    error = f" ({delivery.last_error})" if delivery.last_error else ""
    return f"the last attempt ended as {delivery.last_outcome.replace('_', ' ')}{status}{error}"


def _at(moment: datetime | None) -> str:
    return "at an unknown time" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"
