"""Outcomes that the database does not have yet: kept until it has taken them, however often it has to be asked.

An outcome is dropped in two cases only: its delivery is gone, or the database refuses the row itself (and would again).
Everything else (no connection, a read-only server after a fail-over, a lock) says nothing about the row.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.exc import DBAPIError

from app.database import faults
from app.delivery.attempts import Exchange
from app.delivery.outcomes import Batch

log = logging.getLogger(__name__)

UNDEFINED_TABLE = "42P01"  # SQLSTATE: the partition of a row that is past retention has been dropped

# More are held by nobody's lock in real life; a receiver may make each of them 80 KiB large. Beyond, the oldest are
# let go: their deliveries are made again when their leases have ended.
MOST_KEPT = 4096
# Those of a batch share an answer. They are counted by themselves, and let go only for others like them.
MOST_KEPT_OF_BATCHES = 65_536
# In one call: some 10 ms, for which everybody else's results wait.
MOST_AT_ONCE = 256


class Unrecorded:
    """One drain's outcomes, in the order in which they came, those that were found locked last.

    delays: the retry schedule, seconds.
    """

    def __init__(self, delays: Sequence[float]) -> None:
        self._delays = delays
        self._exchanges: list[Exchange] = []
        self._of_batches = 0  # of these
        self._locked: set[str] = set()  # deliveries that the last call with them has found locked
        # Attempts that a call has written whose answer was lost: it may have taken effect.
        self._doubtful: set[str] = set()

    def __len__(self) -> int:
        return len(self._exchanges)

    @property
    def unlocked(self) -> int:
        """How many wait for nothing but their turn."""
        if not self._locked:
            return len(self._exchanges)
        return sum(exchange.claimed.id not in self._locked for exchange in self._exchanges)

    @property
    def are_many(self) -> bool:
        """Whether to claim nothing until some of them are recorded: batches can bring more than calls can take."""
        return self.unlocked > 2 * MOST_AT_ONCE

    def add(self, exchange: Exchange) -> None:
        """This has come."""
        is_shared = exchange.batch is not None
        if self._of_batches >= MOST_KEPT_OF_BATCHES if is_shared else len(self) - self._of_batches >= MOST_KEPT:
            alike = (kept for kept in self._exchanges if (kept.batch is not None) == is_shared)
            first = min(alike, key=lambda kept: kept.ended_at)
            self._exchanges.remove(first)
            self._of_batches -= is_shared
            self._doubtful.discard(first.attempt_id)
            self._locked.discard(first.claimed.id)
            log.error("an outcome of delivery %s is given up: too many wait for the database", first.claimed.id)
        self._exchanges.append(exchange)
        self._of_batches += is_shared

    def next(self) -> list[Exchange]:
        """The first ones, as many as one call takes: of each delivery at most one that decides."""
        if len(self._exchanges) == 1:
            return list(self._exchanges)
        taken: list[Exchange] = []
        decided: set[str] = set()
        for exchange in self._exchanges:
            if len(taken) == MOST_AT_ONCE:
                break
            if exchange.claimed.id not in decided:
                taken.append(exchange)
                if not exchange.resent:
                    decided.add(exchange.claimed.id)
        return taken

    def batch(self, exchanges: Sequence[Exchange], now: datetime) -> Batch:
        """Decide about these, and give them to a call. From now on it is in doubt whether they are recorded. now: the
        database's time."""
        before = frozenset(self._doubtful)
        self._doubtful.update(exchange.attempt_id for exchange in exchanges)
        jitters = [random.random() for _ in exchanges]
        return Batch(exchanges, now, jitters=jitters, delays=self._delays, doubtful=before)

    def settle(self, exchanges: Sequence[Exchange], locked: Sequence[Exchange] = ()) -> None:
        """The call has answered: of these, only `locked` are still to be recorded. They go to the end with all others
        of their deliveries: however many there are, the next call has room for what nobody has locked."""
        done = {exchange.attempt_id for exchange in exchanges} - {exchange.attempt_id for exchange in locked}
        waiting = {exchange.claimed.id for exchange in locked}
        kept = [exchange for exchange in self._exchanges if exchange.attempt_id not in done]
        self._of_batches = sum(exchange.batch is not None for exchange in kept)
        self._exchanges = sorted(kept, key=lambda exchange: exchange.claimed.id in waiting)
        self._doubtful -= done
        self._locked = (self._locked - {exchange.claimed.id for exchange in exchanges}) | waiting


def is_rows_fault(error: DBAPIError) -> bool:
    """Whether the database refused what it was given, rather than was unable to take anything."""
    return faults.is_requests_fault(error) or faults.sqlstate(error) == UNDEFINED_TABLE
