"""Outcomes: what the results of attempts change, a batch of them in one transaction.

Every attempt is appended to the log. Its delivery changes only for the drain that holds the lease, with one exception:
a drain that has lost its lease (it was frozen, or cut off from the database) may still report a success, which counts;
its failures change nothing. No outcome leads out of a terminal state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from app.core.webhook import retry
from app.core.webhook.retry import Outcome
from app.database.partitions import partitions_of
from app.delivery import cancelling, deliveries
from app.delivery.attempts import Exchange, attempt_row, insert_attempts


@dataclass(frozen=True, slots=True)
class RecordedAttempt:
    """One attempt after it was recorded, for the endpoint's health and for whoever watches the log.

    ended_at: the database's time of recording. ended: the status in which this attempt ended the delivery, None if it
    did not. gone: it answered 410, and its endpoint is to be disabled. healthy: the endpoint's row already says that
    its last attempt succeeded and no failure is counted.
    """

    workspace_id: str
    endpoint_id: str
    delivery_id: str
    attempt_id: str
    outcome: Outcome
    ended_at: datetime
    ended: str | None
    gone: bool
    healthy: bool
    by_us: bool


@dataclass(slots=True)
class _LockedDelivery:
    """A delivery's changing columns, read under a lock and written back, with what decides about them."""

    id: str
    created_at: datetime
    status: str
    reason: str | None
    due_at: datetime
    trigger: str
    attempt_count: int
    window_attempts: int
    window_started_at: datetime
    deadline_at: datetime
    lease_token: str | None
    finished_at: datetime | None
    endpoint_status: str | None
    disabled_reason: str | None
    healthy: bool
    now: datetime


class Recorder:
    """Records exchanges for one drain."""

    def __init__(self, delays: Sequence[float]) -> None:
        """delays: the retry schedule, seconds."""
        self._delays = delays

    def record(
        self, connection: Connection, exchanges: Sequence[Exchange], *, monotonic: float, jitters: Sequence[float]
    ) -> list[RecordedAttempt]:
        """Append the attempts and move the deliveries on. Rows that are gone (a deleted workspace) are left out.

        monotonic: the clock of `started_monotonic`, now. jitters: a random number in [0, 1) for each exchange.
        """
        if not exchanges:
            return []
        rows = _lock(connection, exchanges)
        recorded: list[RecordedAttempt] = []
        attempts: list[dict[str, Any]] = []
        for exchange, jitter in zip(exchanges, jitters, strict=True):
            row = rows.get(exchange.claimed.id)
            if row is None:
                continue
            started_at = row.now - timedelta(seconds=monotonic - exchange.started_monotonic)
            status, trigger = row.status, row.trigger
            gone = self._apply(row, exchange, jitter)
            attempts.append(attempt_row(exchange, row.attempt_count, started_at, trigger))
            recorded.append(_recorded(exchange, row, attempts[-1]["id"], gone, ended=row.status != status))
        insert_attempts(connection, attempts)
        _write(connection, rows)
        return recorded

    def _apply(self, row: _LockedDelivery, exchange: Exchange, jitter: float) -> bool:
        """Change the row as the exchange says; returns whether the endpoint is to be disabled because it is gone."""
        row.attempt_count += 1
        holds_lease = row.lease_token == exchange.claimed.lease_token
        if row.status != "pending" or not (holds_lease or exchange.outcome == Outcome.SUCCESS):
            return False
        # A person's attempt in the middle of a window does not use up one of the schedule.
        row.window_attempts += row.trigger != "manual" or row.window_attempts == 0
        decision = retry.decide(
            now=row.now,
            window_started_at=row.window_started_at,
            deadline_at=row.deadline_at,
            scheduled_attempts=row.window_attempts,
            outcome=exchange.outcome,
            status_code=exchange.status_code,
            retry_after=exchange.retry_after,
            jitter=jitter,
            delays=self._delays,
        )
        _move(row, decision)
        return decision.disable_endpoint


def _lock(connection: Connection, exchanges: Sequence[Exchange]) -> dict[str, _LockedDelivery]:
    """The deliveries of these exchanges that still exist, by id, locked until the transaction ends."""
    keys = {(exchange.claimed.id, exchange.claimed.created_at) for exchange in exchanges}
    locked: dict[str, _LockedDelivery] = {}
    for partition, ids_in_it in partitions_of("deliveries", keys).items():
        rows = connection.exec_driver_sql(_LOCK.format(partition=partition), {"ids": ids_in_it})
        locked.update((row.id, _LockedDelivery(**row._mapping)) for row in rows)
    return locked


def _move(row: _LockedDelivery, decision: retry.Decision) -> None:
    """Write a decision into the row."""
    row.lease_token = None
    row.status, row.reason = decision.status, decision.reason
    if decision.status == "pending":
        if row.trigger == "test":
            row.status, row.reason = "failed", f"{deliveries.TEST_FAILED}: {decision.reason}"
        elif row.endpoint_status != "enabled":
            row.status = "cancelled"
            row.reason = cancelling.why_cancelled(row.endpoint_status, row.disabled_reason)
        else:
            assert decision.due_at is not None
            row.due_at, row.trigger = decision.due_at, "schedule"
    if row.status != "pending":
        row.finished_at = row.now


def _recorded(exchange: Exchange, row: _LockedDelivery, attempt_id: str, gone: bool, *, ended: bool) -> RecordedAttempt:
    return RecordedAttempt(
        workspace_id=exchange.claimed.workspace_id,
        endpoint_id=exchange.claimed.endpoint_id,
        delivery_id=row.id,
        attempt_id=attempt_id,
        outcome=exchange.outcome,
        ended_at=row.now,
        ended=row.status if ended else None,
        gone=gone,
        healthy=row.healthy,
        by_us=exchange.by_us,
    )


def _write(connection: Connection, rows: dict[str, _LockedDelivery]) -> None:
    keys = ((row.id, row.created_at) for row in rows.values())
    for partition, ids_in_it in partitions_of("deliveries", keys).items():
        columns = {name: [getattr(rows[id], name) for id in ids_in_it] for name in _WRITTEN}
        connection.exec_driver_sql(_WRITE.format(partition=partition), columns)


# Read and lock deliveries of one partition, with how their endpoints are. In id order (and partitions in theirs), so
# that two that lock some of the same rows never wait in a circle.
_LOCK = """
SELECT d.id, d.created_at, d.status, d.reason, d.due_at, d.trigger, d.attempt_count, d.window_attempts,
  d.window_started_at, d.deadline_at, d.lease_token::text AS lease_token, d.finished_at, e.status AS endpoint_status,
  e.disabled_reason, coalesce(e.consecutive_failures = 0 AND e.last_outcome = 'success', false) AS healthy,
  now() AS now
FROM {partition} AS d LEFT JOIN endpoints e ON e.id = d.endpoint_id
WHERE d.id = ANY (%(ids)s::text[])
ORDER BY d.id FOR UPDATE OF d
"""

# Write back what has changed of deliveries of one partition. %(…)b: lists go in binary form, which costs the client a
# fifth of the textual one.
_WRITE = """
UPDATE {partition} AS d
SET status = n.status, reason = n.reason, due_at = n.due_at, trigger = n.trigger, attempt_count = n.attempt_count,
  window_attempts = n.window_attempts, lease_token = n.lease_token, finished_at = n.finished_at
FROM unnest(%(id)b::text[], %(status)b::text[], %(reason)b::text[],
  %(due_at)b::timestamptz[], %(trigger)b::text[], %(attempt_count)b::int[], %(window_attempts)b::int[],
  %(lease_token)b::uuid[], %(finished_at)b::timestamptz[])
  AS n (id, status, reason, due_at, trigger, attempt_count, window_attempts, lease_token, finished_at)
WHERE d.id = n.id AND d.id = ANY (%(id)b::text[])
"""
_WRITTEN = (
    "id",
    "status",
    "reason",
    "due_at",
    "trigger",
    "attempt_count",
    "window_attempts",
    "lease_token",
    "finished_at",
)
