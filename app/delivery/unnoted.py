"""Deliveries that have failed, of which it is still to be noted that they were given up.

The note is a transaction of its own, after the one that records. What it cannot write is kept and tried again, and does
not end the drain's run: to deliver is more urgent than to tell of it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

from sqlalchemy.exc import DBAPIError

from app.core.problem import first_line
from app.database import faults
from app.database.connection import Database
from app.delivery.notices import note_exhausted

log = logging.getLogger(__name__)

# Each try may wait for a lock until it times out, and a drain that waits delivers nothing.
PAUSE_SECONDS = 10.0
MOST_KEPT = 10_000  # ids of 30 bytes; what the note loses beyond them is part of a count


class Unnoted:
    """The deliveries of one drain. clock: monotonic seconds."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database, self._clock = database, clock
        self._ids: list[str] = []
        self._again_at = -math.inf

    def __len__(self) -> int:
        return len(self._ids)

    def note(self, delivery_ids: Sequence[str]) -> None:
        """These have failed: note them with those that are left of before. Not within PAUSE_SECONDS of an error."""
        self._ids = [*self._ids, *delivery_ids][:MOST_KEPT]
        if not self._ids or self._clock() < self._again_at:
            return
        try:
            with self._database.begin() as connection:
                note_exhausted(connection, self._ids)
        except DBAPIError as error:
            if faults.is_requests_fault(error):
                log.error("%d deliveries that were given up are not told of: %s", len(self._ids), first_line(error))
                self._ids = []
                return
            log.warning("%d deliveries that were given up are told of later: %s", len(self._ids), first_line(error))
            self._again_at = self._clock() + PAUSE_SECONDS
        else:
            self._ids = []
