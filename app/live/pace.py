"""When each event is due while an ended stream is replayed at its own pace, or so many times faster."""

from __future__ import annotations

from collections import deque
from datetime import datetime

from app.core.wire.envelope import Event


class Pace:
    """A recording that is played `speed` times faster than it happened. waiting: events that are not yet shown."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._began: tuple[float, datetime] | None = None  # (monotonic seconds, time of the first event)
        self.waiting: deque[Event] = deque()

    def seconds_left(self, now: float) -> float:
        """Seconds until the next waiting event is due, 0 when it is due or none waits. now: monotonic seconds.

        The first event is due when this is first asked; the others follow by their `occurred_at`.
        """
        if not self.waiting:
            return 0.0
        happened = datetime.fromisoformat(self.waiting[0].timestamp)
        if self._began is None:
            self._began = (now, happened)
        began, first = self._began
        return max(0.0, began + (happened - first).total_seconds() / self._speed - now)
