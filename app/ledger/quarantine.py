"""Streams that somebody holds locked. For some seconds their events travel apart, so that nobody waits for them again.

Pure: the clock is passed in. One quarantine belongs to one ledger and serves all its groups, several of which are
committed at once: the streams of each are another workspace's.
"""

from __future__ import annotations

from collections.abc import Iterable

from app.core.event.acceptance import Subject

SECONDS = 5.0  # a lock that was held for so long that somebody gave up waiting is rarely let go at once


class Quarantine:
    """Which streams were found locked lately. now: monotonic seconds."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._until: dict[Subject, float] = {}

    def add(self, subjects: Iterable[Subject], now: float) -> None:
        """These streams were found locked. Those whose time is over are forgotten, which bounds the memory."""
        self._until = {subject: until for subject, until in self._until.items() if until > now}
        self._until.update(dict.fromkeys(subjects, now + self._seconds))

    def touches(self, subjects: Iterable[Subject], now: float) -> bool:
        """Whether one of these streams was found locked lately."""
        return bool(self._until) and any(self._until.get(subject, now) > now for subject in subjects)
