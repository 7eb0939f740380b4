"""Batches: several events of one endpoint in one request, and what its answer says of them.

The body is a JSON array of envelopes, each with the bytes that it has in a request of its own. 2xx acknowledges all of
them; `200 {"accepted": n}` acknowledges the first n, and the others are sent again. Each event keeps its own schedule.

Pure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from app.core.webhook.fairness import SLOW_AFTER_FAILURES
from app.core.webhook.retry import Outcome

MAX_EVENTS, MOST_EVENTS = 100, 1_000
# Long enough to bring events together, short enough for whoever looks at a screen at the other end.
MAX_WAIT_MS, LONGEST_WAIT_MS = 1_000, 60_000
# Of a body: what a receiver takes behind nginx as that comes. An event of the largest size fits in it.
MOST_BYTES = 1024 * 1024
# While the batches that are in flight together have more than this, new ones are smaller, so that receivers that hang
# cannot fill a process's memory; but no smaller than the largest event.
MOST_BYTES_IN_FLIGHT = 64 * 1024 * 1024
LEAST_BYTES = 256 * 1024

# Of an answer, with the attempts of a batch's events but the first.
KEPT_BODY_BYTES = 1024
# A batch that is refused whole comes again as so many: an event that the receiver always refuses soon travels alone.
SPLIT = 10
# The due_at of events that wait behind another of their stream.
PARKED_AT = datetime(9998, 1, 1, tzinfo=UTC)

_BUSY = (401, 403, 404, 410, 429, 502, 503, 504)  # said of the endpoint and not of what it was sent
_LONGEST_COUNT = 18  # digits: more are no count of events

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What an answer acknowledges: the first `events` of a batch. error: why that is not all, in words."""

    events: int
    error: str | None = None


def body(envelopes: Sequence[bytes]) -> bytes:
    """The body of a batch."""
    return b"[%b]" % b",".join(envelopes)


def split(items: Sequence[Item], size: Callable[[Item], int]) -> list[list[Item]]:
    """Divide into batches, in order, none with more than MOST_EVENTS or, unless it is one item, MOST_BYTES.

    size: of an item's envelope, in bytes.
    """
    batches: list[list[Item]] = []
    length = 0
    for item in items:
        length += size(item) + 1
        if not batches or len(batches[-1]) == MOST_EVENTS or length + 1 > MOST_BYTES:
            batches.append([])
            length = size(item) + 1
        batches[-1].append(item)
    return batches


def most_bytes(in_flight_bytes: int) -> int:
    """How large the next batch may be, of which eight may be made at once."""
    return max(LEAST_BYTES, min(MOST_BYTES, (MOST_BYTES_IN_FLIGHT - in_flight_bytes) // 8))


def most_next(events: int, outcome: str, status_code: int | None, failures: int) -> int | None:
    """How many events of a batch that was refused whole may travel together next: fewer, where it may be one of them
    that the receiver refuses; None: no fewer.

    failures: requests in a row that failed before this one; when there were several, it is the endpoint that fails, and
    what waits for it need not come in small batches when it is back.
    """
    is_refused = outcome == Outcome.HTTP_ERROR and status_code not in _BUSY
    is_about_content = is_refused or outcome in (Outcome.NOT_ACCEPTED, Outcome.TIMEOUT)
    if events == 1 or failures >= SLOW_AFTER_FAILURES or not is_about_content:
        return None
    return max(1, events // SPLIT)


def acknowledged(events: int, status_code: int, answer: bytes, *, error: str | None, is_cut: bool) -> Acknowledged:
    """What a 2xx answer acknowledges of a batch of so many events.

    answer: what is kept of its body. error: why the body was not complete; is_cut: it is longer than what is kept. Only
    a 200 is read. One that is longer acknowledges all: nobody says a number in so many words. One that broke off
    before acknowledges nothing, as what it would have said is not known.
    """
    if status_code != 200:
        return Acknowledged(events)
    if is_cut:
        return Acknowledged(events)
    if error is not None:
        return Acknowledged(0, error)
    found, accepted = _accepted(answer)
    if not found:
        return Acknowledged(events)
    is_number = isinstance(accepted, int | float) and not isinstance(accepted, bool)
    if not is_number or not 0 <= accepted <= events or accepted != int(accepted):
        words = json.dumps(accepted)
        return Acknowledged(0, f'"accepted" must be a whole number from 0 to {events}, not {words[:40]}')
    count = int(accepted)
    return Acknowledged(count, None if count == events else f"the receiver accepted {count} of {events} events")


def _accepted(answer: bytes) -> tuple[bool, Any]:
    """Whether an answer is a JSON object with a member `accepted`, and its value."""
    try:
        value = json.loads(answer, parse_int=_number)
    except (ValueError, RecursionError):
        return False, None
    return (True, value["accepted"]) if isinstance(value, dict) and "accepted" in value else (False, None)


def _number(text: str) -> int | float:
    """Python refuses to read an integer of thousands of digits."""
    return int(text) if len(text) <= _LONGEST_COUNT else float(text)
