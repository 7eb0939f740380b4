"""Something that is done every so many seconds, by a clock that is passed in."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Beat:
    """at: when it is due next, in monotonic seconds."""

    seconds: float
    at: float

    def is_due(self, now: float) -> bool:
        """Whether it is due now. Asked late, it is due once, and then at its next regular time."""
        if now < self.at:
            return False
        while self.at <= now:
            self.at += self.seconds
        return True
