"""How the model reaches the product: everything that it knows of today's SQL and of how a drain's parts are called.

The shadow compares rows and takes steps; only here it is said how a row is read, and how a drain claims and records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from app.core.webhook.fairness import Slots
from app.core.webhook.retry import Outcome
from app.core.webhook.shares import LANES, Lane
from app.delivery.attempts import Exchange
from app.delivery.claims import Claimed, Claimer
from app.delivery.outcomes import Recorder
from tests.model import reference
from tests.model.reference import Row

Answer = tuple[Outcome, int | None, str | None]
"""An attempt's outcome, status code and Retry-After."""

DELAYS = (5.0, 30.0)
LEASE_SECONDS = 60
JITTER = 0.25

# Every column that the model knows, and how many attempts the log has.
_ROWS = """
SELECT id, due_at, window_started_at, deadline_at, status, reason, trigger, attempt_count, window_attempts, claims,
  lease_token::text AS lease_token, finished_at,
  (SELECT count(*) FROM attempts WHERE delivery_id = deliveries.id) AS logged
FROM deliveries ORDER BY id
"""
_EMPTY = ("DELETE FROM workspaces", "TRUNCATE events, deliveries, attempts")


def empty(connection: Connection) -> None:
    """Nothing is left of another shadow."""
    for statement in _EMPTY:
        connection.exec_driver_sql(statement)


def read(connection: Connection) -> dict[str, Row]:
    """The rows as they are, by delivery id; each counts as many attempts as the log has."""
    rows = connection.exec_driver_sql(_ROWS).all()
    assert all(row.logged == row.attempt_count for row in rows)
    return {row.id: Row(*row[1:-1]) for row in rows}


def now_of(connection: Connection) -> datetime:
    """The transaction's time, by which claims and records go."""
    now: datetime = connection.exec_driver_sql("SELECT now()").scalar_one()
    return now


@dataclass(slots=True)
class Worker:
    """A drain's parts, without its sender. held: what it has claimed and not recorded; recorded: its last batch.

    taken: places that others have of its slots, by lane.
    """

    taken: dict[Lane, int]
    held: list[Claimed] = field(init=False)
    recorded: list[Exchange] = field(init=False)
    slots: Slots = field(init=False)
    _claimer: Claimer = field(init=False)
    _recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        self.restart(0.0)

    def restart(self, clock: float) -> None:
        """Killed, and started again."""
        self._claimer, self._recorder = Claimer(lease_seconds=LEASE_SECONDS), Recorder(DELAYS)
        self.slots, self.held, self.recorded = Slots(), [], []
        for lane, count in self.taken.items():
            for number in range(count):
                self.slots.start((lane, number), f"another {lane} {number}", lane, clock)

    def claim(self, connection: Connection, *, fast_only: bool) -> list[Claimed]:
        """Claim in this transaction. What it has taken becomes the worker's with `take`, after the commit."""
        return self._claimer.claim(connection, self.slots, fast_only=fast_only).rows

    def may_take(self, outcomes: dict[str, str | None], *, fast_only: bool) -> tuple[dict[str, Lane], dict[str, int]]:
        """By endpoint, its lane, and how many rows a claim takes at most. outcomes: of the last attempts, by row."""
        lanes = {id: self.slots.lane(id, 0, outcome) for id, outcome in outcomes.items()}
        asking = {id: lane for id, lane in lanes.items() if lane in LANES[: 2 if fast_only else 3]}
        return lanes, self.slots.shares(asking).rows

    def take(self, found: Sequence[Claimed], clock: float) -> None:
        """Its claim is committed, and it sends."""
        self.held += found
        for claimed in found:
            self.slots.start(claimed, claimed.endpoint_id, claimed.lane, clock, alone=claimed.alone)

    def let_go(self, exchanges: Sequence[Exchange], clock: float) -> None:
        """Its record is committed."""
        for exchange in exchanges:
            self.held.remove(exchange.claimed)
            self.slots.finish(exchange.claimed, clock, succeeded=exchange.outcome == Outcome.SUCCESS)

    def record(
        self, connection: Connection, exchanges: Sequence[Exchange], *, are_known: bool
    ) -> tuple[list[bool], list[Exchange]]:
        """Record in this transaction: of each whether its endpoint is gone, and what is left because of locks.
        are_known: they may have been recorded before."""
        doubtful = [exchange.attempt_id for exchange in exchanges if are_known]
        jitters = [JITTER] * len(exchanges)
        recorded, left = self._recorder.record(connection, exchanges, jitters=jitters, doubtful=doubtful)
        return [attempt.gone for attempt in recorded], left


def exchange_of(claimed: Claimed, answer: Answer, *, resent: bool = False) -> Exchange:
    """What came of a claimed delivery that was answered so. resent: it was sent once more at once."""
    outcome, status_code, retry_after = answer
    return Exchange(
        claimed,
        outcome,
        status_code,
        None,
        None,
        (),
        b"",
        retry_after,
        claimed.claimed_at,
        0.1,
        unanswered=status_code is None,
        resent=resent,
    )


def as_reference(exchange: Exchange) -> reference.Exchange:
    """The same for the reference."""
    token = exchange.claimed.lease_token
    return reference.Exchange(
        token, exchange.outcome, exchange.status_code, exchange.retry_after, exchange.unanswered, exchange.resent
    )
