"""What this process's hub, ledger, bus and schemas have done, for /metrics."""

from __future__ import annotations

import collections
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace

from prometheus_client import Counter, Gauge, Histogram

from app.core import ids
from app.core.wire.envelope import Event
from app.live.hub import Hub
from app.live.live_stream import Totals

SUBSCRIBERS = Gauge("twofold_subscribers", "Live connections now.", multiprocess_mode="livesum")
SENT = Counter("twofold_frames_sent", "Frames handed to subscribers.")
DROPPED = Counter("twofold_frames_dropped", "Frames that a slow subscriber lost, where its contract drops.")
CAUGHT_UP = Counter("twofold_catch_ups", "Slow subscribers sent back to the log, where their contract catches up.")
HOLES = Counter("twofold_bus_holes", "Times that the bus had lost something and the log was read.")
CURSORS_AHEAD = Counter("twofold_cursors_ahead", "Cursors that were ahead of their stream.")

BUS_LOST = Counter("twofold_bus_lost", "Announcements that Redis did not take; the streams found them in PostgreSQL.")

EVENTS = Counter("twofold_events_accepted", "Events stored; repeats by idempotency key are not counted again.")
# Up to the ledger's bound for one transaction, 1,000; a single request may bring more.
GROUP_EVENTS = Histogram(
    "twofold_group_events", "Events stored by one transaction.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
)
GROUP_REQUESTS = Histogram(
    "twofold_group_requests", "Requests that shared one transaction.", buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
)
WARNINGS = Counter(
    "twofold_schema_warnings", "Events that do not fit their type's schema, where it only warns.", ["kind", "type"]
)

OWN_WARNINGS = Counter(
    "twofold_own_schema_warnings", "Events that do not fit a schema of their workspace's own, where it only warns."
)


class _Delays(Histogram):
    """A histogram that takes many at once. One at a time, each writes a sum and a bucket into shared memory."""

    def observe_all(self, amounts: Sequence[float]) -> None:
        """The same as to observe each."""
        self._sum.inc(sum(amounts))
        for bucket, count in collections.Counter(bisect_left(self._upper_bounds, one) for one in amounts).items():
            self._buckets[bucket].inc(count)


# To a twentieth of a second where all is well; a second is what the poll for a lost announcement takes.
FRAME_SECONDS = _Delays(
    "twofold_frame_delay_seconds",
    "From an event's acceptance until it was handed to those who watch its stream.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


def shown(events: Sequence[Event]) -> None:
    """Time events that have just been handed on: an event's id says when it was accepted."""
    now = 1000 * time.time()
    FRAME_SECONDS.observe_all([max(0.0, now - ids.milliseconds_of(event.id)) / 1000 for event in events])


def committed(requests: int, events: int) -> None:
    """Count one transaction of the ledger."""
    EVENTS.inc(events)
    GROUP_EVENTS.observe(events)
    GROUP_REQUESTS.observe(requests)


def warned(kind: str, type: str) -> None:
    """Count an event that does not fit its schema. Only declared types come here, so the labels are few."""
    WARNINGS.labels(kind, type).inc()


def observer() -> Callable[[Hub], None]:
    """A function that brings these metrics up to date with one hub, each time it is called."""
    seen = Totals()

    def observe(hub: Hub) -> None:
        nonlocal seen
        now = replace(hub.totals)
        SUBSCRIBERS.set(hub.connections.process)
        SENT.inc(now.frames_sent - seen.frames_sent)
        DROPPED.inc(now.frames_dropped - seen.frames_dropped)
        CAUGHT_UP.inc(now.caught_up - seen.caught_up)
        HOLES.inc(now.holes - seen.holes)
        seen = now

    return observe
