"""Which subscribers are to be looked at when, so that a tick costs what is due and not what is connected."""

from __future__ import annotations

import math
from collections.abc import Iterator

from app.live.subscriber import Subscriber

FINENESS_SECONDS = 0.25  # a look is this late at most, besides what its tick is late: 0.5 s together


class Wheel:
    """Subscribers by the time of their next look."""

    def __init__(self) -> None:
        self._slots: dict[int, set[Subscriber]] = {}

    def add(self, subscriber: Subscriber) -> None:
        """Have it looked at at its next time."""
        subscriber.slot = math.ceil(subscriber.next_look() / FINENESS_SECONDS)
        self._slots.setdefault(subscriber.slot, set()).add(subscriber)

    def discard(self, subscriber: Subscriber) -> None:
        """Forget it, if it is here."""
        if subscriber.slot is not None:
            self._slots.get(subscriber.slot, set()).discard(subscriber)
            subscriber.slot = None

    def due(self, now: float) -> Iterator[Subscriber]:
        """Those whose time has come. Each is looked at while it is given, and then has its next time here."""
        present = math.floor(now / FINENESS_SECONDS)
        for slot in [slot for slot in self._slots if slot <= present]:
            for subscriber in self._slots.pop(slot):
                yield subscriber
                if subscriber.slot == slot:
                    self.add(subscriber)
