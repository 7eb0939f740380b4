"""Outcomes that the database does not have yet: kept until it has taken them, however often it has to be asked.

An outcome is dropped in two cases only: its delivery is gone, or the database refuses the row itself (and would again).
Everything else (no connection, a read-only server after a fail-over, a lock) says nothing about the row.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from app.core.problem import first_line
from app.database import faults
from app.database.connection import Database
from app.delivery.attempts import Exchange
from app.delivery.outcomes import RecordedAttempt, Recorder

log = logging.getLogger(__name__)

UNDEFINED_TABLE = "42P01"  # SQLSTATE: the partition of a row that is past retention has been dropped

# More are held by nobody's lock in real life; a receiver may make each of them 80 KiB large. Beyond, the oldest are
# let go: their deliveries are made again when their leases have ended.
MOST_KEPT = 4096


class Unrecorded:
    """One drain's outcomes, in the order in which they came."""

    def __init__(self, database: Database, recorder: Recorder) -> None:
        self._database, self._recorder = database, recorder
        self._exchanges: list[Exchange] = []
        # Attempts that a transaction has written whose COMMIT was not answered: it may have taken effect.
        self._doubtful: set[str] = set()

    def __len__(self) -> int:
        return len(self._exchanges)

    def add(self, exchange: Exchange) -> None:
        """This has come."""
        if len(self._exchanges) >= MOST_KEPT:
            first = self._exchanges.pop(0)
            self._doubtful.discard(first.attempt_id)
            log.error("an outcome of delivery %s is given up: too many wait for the database", first.claimed.id)
        self._exchanges.append(exchange)

    def record(self, connection: Connection) -> tuple[list[RecordedAttempt], list[Exchange]]:
        """Record all of them in the caller's transaction. Returns what was recorded, and whose deliveries somebody
        else has locked: give these to `committed` when the transaction is over."""
        return self._record(connection, self._exchanges)

    def committed(self, locked: Sequence[Exchange]) -> None:
        """The transaction of `record` has taken effect: only these are still to be recorded."""
        self._exchanges = list(locked)
        self._doubtful = {exchange.attempt_id for exchange in locked}

    def record_singly(self) -> Iterator[list[RecordedAttempt]]:
        """Record each in a transaction of its own, and drop those that the database refuses. Yields what each
        transaction has recorded. Raises what a database that cannot be used raises; what is left is kept."""
        kept: list[Exchange] = []
        left = list(self._exchanges)
        while left:
            try:
                with self._database.begin() as connection:
                    attempts, locked = self._record(connection, left[:1])
            except DBAPIError as error:
                if not is_rows_fault(error):
                    raise
                log.error("an outcome of delivery %s cannot be recorded: %s", left[0].claimed.id, first_line(error))
                attempts, locked = [], []
            kept += locked
            del left[0]
            self.committed([*kept, *left])
            yield attempts

    def _record(
        self, connection: Connection, exchanges: Sequence[Exchange]
    ) -> tuple[list[RecordedAttempt], list[Exchange]]:
        before = frozenset(self._doubtful)
        self._doubtful.update(exchange.attempt_id for exchange in exchanges)
        jitters = [random.random() for _ in exchanges]
        return self._recorder.record(connection, exchanges, jitters=jitters, doubtful=before)


def is_rows_fault(error: DBAPIError) -> bool:
    """Whether the database refused what it was given, rather than was unable to take anything."""
    return faults.is_requests_fault(error) or faults.sqlstate(error) == UNDEFINED_TABLE
