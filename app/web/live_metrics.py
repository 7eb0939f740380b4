"""What the hub and the ledger's announcer have done, for /metrics."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge

from app.hub import Hub

SUBSCRIBERS = Gauge("twofold_subscribers", "Live connections now.", multiprocess_mode="livesum")
SENT = Counter("twofold_frames_sent", "Frames handed to subscribers.")
DROPPED = Counter("twofold_frames_dropped", "Frames that a slow subscriber lost, where its contract drops.")
CAUGHT_UP = Counter("twofold_catch_ups", "Slow subscribers sent back to the log, where their contract catches up.")
HOLES = Counter("twofold_bus_holes", "Times that the bus had lost something and the log was read.")


def observer() -> Callable[[Hub], None]:
    """A function that carries the figures of one hub over, each time what is new since the last."""
    before = [0, 0, 0, 0]

    def observe(hub: Hub) -> None:
        SUBSCRIBERS.set(hub.open[""])
        now = [hub.frames_sent, hub.frames_dropped, hub.caught_up, hub.holes]
        for counter, old, new in zip((SENT, DROPPED, CAUGHT_UP, HOLES), before, now, strict=True):
            counter.inc(new - old)
        before[:] = now

    return observe
