"""Lanes: the deliveries of one endpoint and one stream, which go out one after the other when the endpoint keeps order.

The first of a lane, its head, is attempted until it is delivered or given up; then the lane goes on. A head that fails
for long while the endpoint answers others steps aside: it is attempted further by its own schedule, and arrives late.
What a receiver has to know of that is in headers, which are not signed.

Pure: the caller passes the clock reading. Durations are seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

STREAM = "stream"  # the value of an endpoint's `order`
PATIENCE_SECONDS = 3_600
# Less would have a head step aside before its second attempt: what one restart of a receiver takes.
LEAST_PATIENCE_SECONDS = 5
LONGEST_PATIENCE_SECONDS = 30 * 86_400  # the most that DELIVERY_WINDOW_SECONDS may be

# Heads are looked at every few seconds. A longer gap says that nobody looked, and nothing of how the endpoint was.
LONGEST_STEP_SECONDS = 15.0

LATE, PREV_SEQ, SKIPPED_SEQ, REPLAY = "webhook-late", "webhook-prev-seq", "webhook-skipped-seq", "webhook-replay"


@dataclass(frozen=True, slots=True)
class Place:
    """A delivery's place in its lane. prev: the seq of the lane's delivery before it, None when none is known.
    skipped: what has left the lane without success since its last success, the last hundred. late: it has stepped aside
    itself, and is in no lane any more."""

    prev: int | None = None
    skipped: Sequence[int] = ()
    late: bool = False


def waited_seconds(before: float | None, counted_at: datetime | None, now: datetime) -> float:
    """For how long a head has held up its lane while its endpoint answered others.

    before, counted_at: what was counted until when; None the first time. The caller sees to it that the endpoint
    answers others now: while it does not, nothing is counted.
    """
    if before is None or counted_at is None:
        return 0.0
    return before + min(max((now - counted_at) / timedelta(seconds=1), 0.0), LONGEST_STEP_SECONDS)


def steps_aside(waited: float, patience_seconds: int | None) -> bool:
    """Whether the lane goes on without its head. patience_seconds: the endpoint's own, if it has one."""
    return waited >= (PATIENCE_SECONDS if patience_seconds is None else patience_seconds)


def is_replay(event_at: datetime, window_started_at: datetime) -> bool:
    """Whether a delivery was begun, or begun anew, by hand: the first schedule of one begins with its event."""
    return window_started_at > event_at


def headers(place: Place | None, *, replay: bool) -> list[tuple[str, str]]:
    """What the request says of its delivery's place."""
    told = []
    if place is not None:
        if place.late:
            told.append((LATE, "1"))
        if place.prev is not None:
            told.append((PREV_SEQ, str(place.prev)))
        if place.skipped:
            told.append((SKIPPED_SEQ, ",".join(map(str, place.skipped))))
    if replay:
        told.append((REPLAY, "1"))
    return told
