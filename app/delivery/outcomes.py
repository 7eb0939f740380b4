"""Outcomes: what the results of attempts change, a batch of them in one transaction.

Every attempt is appended to the log. Its delivery changes only for the drain that holds the lease, with one exception:
a drain that has lost its lease (it was frozen, or cut off from the database) may still report a success, which counts;
its failures change nothing. No outcome leads out of a terminal state.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from app.core.webhook import retry
from app.core.webhook.retry import Outcome
from app.database.partitions import partitions_of
from app.delivery import cancelling, deliveries
from app.delivery.attempts import Exchange, attempt_row, insert_attempts, written_attempts


@dataclass(frozen=True, slots=True)
class RecordedAttempt:
    """One attempt after it was recorded, for the endpoint's health and for whoever watches the log.

    ended_at: the database's time of recording. ended: the status in which this attempt ended the delivery, None if it
    did not. gone: it answered 410, and its endpoint is to be disabled. healthy: the endpoint's row already says that
    its last attempt succeeded and no failure is counted. resent: another attempt was begun at once, and says more about
    the endpoint.
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
    resent: bool


@dataclass(slots=True)
class _LockedDelivery:
    """A delivery's changing columns, read under a lock and written back, with what decides about them."""

    id: str
    created_at: datetime
    status: str
    reason: str | None
    trigger: str
    attempt_count: int
    window_attempts: int
    window_started_at: datetime
    deadline_at: datetime
    finished_at: datetime | None
    endpoint_status: str | None
    disabled_reason: str | None
    healthy: bool
    now: datetime
    due_at: datetime | None = None  # this and what follows: of its row in `due`
    claims: int = 0
    leased_until: datetime | None = None
    lease_token: str | None = None


class Recorder:
    """Records exchanges for one drain."""

    def __init__(self, delays: Sequence[float]) -> None:
        """delays: the retry schedule, seconds."""
        self._delays = delays

    def record(
        self,
        connection: Connection,
        exchanges: Sequence[Exchange],
        *,
        jitters: Sequence[float],
        doubtful: Collection[str] = (),
    ) -> tuple[list[RecordedAttempt], list[Exchange]]:
        """Append the attempts and move the deliveries on. Rows that are gone (a deleted workspace) are left out.

        jitters: a random number in [0, 1) for each exchange. doubtful: ids of attempts that may have been recorded
        before, by a transaction whose end nobody has heard of; if so, nothing is written. Returns the attempts, and
        those exchanges whose deliveries somebody else has locked, with which nothing was done.
        """
        if not exchanges:
            return [], []
        rows = _lock(connection, exchanges)
        written = written_attempts(connection, [each for each in exchanges if each.attempt_id in doubtful])
        recorded: list[RecordedAttempt] = []
        attempts: list[dict[str, Any]] = []
        for exchange, jitter in zip(exchanges, jitters, strict=True):
            row = rows.get(exchange.claimed.id)
            if row is None:
                continue
            if exchange.attempt_id in written:
                recorded.append(_recorded_before(exchange, row))
                continue
            status, trigger = row.status, row.trigger
            gone = self._apply(row, exchange, jitter)
            attempts.append(attempt_row(exchange, row.attempt_count, trigger))
            recorded.append(_recorded(exchange, row, gone, ended=row.status != status))
        insert_attempts(connection, attempts)
        _write(connection, rows)
        return recorded, _locked(connection, [each for each in exchanges if each.claimed.id not in rows])

    def _apply(self, row: _LockedDelivery, exchange: Exchange, jitter: float) -> bool:
        """Change the row as the exchange says; returns whether the endpoint is to be disabled because it is gone."""
        row.attempt_count += 1
        if exchange.resent:
            row.claims += 1  # there is one for each attempt, so that a lost one is seen
            return False
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
            unanswered=exchange.unanswered,
        )
        _move(row, decision)
        return decision.disable_endpoint


def _lock(connection: Connection, exchanges: Sequence[Exchange]) -> dict[str, _LockedDelivery]:
    """The deliveries of these exchanges that still exist and that nobody else has locked, by id; locked from now on."""
    keys = {(exchange.claimed.id, exchange.claimed.created_at) for exchange in exchanges}
    locked: dict[str, _LockedDelivery] = {}
    for partition, ids_in_it in partitions_of("deliveries", keys).items():
        rows = connection.exec_driver_sql(_LOCK.format(partition=partition), {"ids": ids_in_it})
        locked.update((row.id, _LockedDelivery(**row._mapping)) for row in rows)
    pending = [id for id, row in locked.items() if row.status == "pending"]
    if pending:
        due = {row.delivery_id: row for row in connection.exec_driver_sql(_LOCK_DUE, {"ids": pending})}
        for id in pending:
            if id in due:
                row = locked[id]
                row.due_at, row.leased_until, row.lease_token = due[id].due_at, due[id].leased_until, due[id].token
                row.claims = due[id].claims
            else:  # it is being claimed
                del locked[id]
    return locked


def _locked(connection: Connection, exchanges: Sequence[Exchange]) -> list[Exchange]:
    """Those whose deliveries still exist, so that only a lock can have kept them from being recorded."""
    there: set[str] = set()
    keys = {(exchange.claimed.id, exchange.claimed.created_at) for exchange in exchanges}
    for partition, ids_in_it in partitions_of("deliveries", keys).items():
        there.update(connection.exec_driver_sql(_EXIST.format(partition=partition), {"ids": ids_in_it}).scalars())
    return [exchange for exchange in exchanges if exchange.claimed.id in there]


def _move(row: _LockedDelivery, decision: retry.Decision) -> None:
    """Write a decision into the row."""
    row.leased_until = row.lease_token = None
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


def _recorded_before(exchange: Exchange, row: _LockedDelivery) -> RecordedAttempt:
    """What an attempt did that an unanswered COMMIT has recorded, as far as the delivery still shows it."""
    gone = row.reason == retry.ENDPOINT_GONE and exchange.status_code == retry.GONE_STATUS
    return _recorded(exchange, row, gone, ended=row.status != "pending" and not exchange.resent)


def _recorded(exchange: Exchange, row: _LockedDelivery, gone: bool, *, ended: bool) -> RecordedAttempt:
    return RecordedAttempt(
        workspace_id=exchange.claimed.workspace_id,
        endpoint_id=exchange.claimed.endpoint_id,
        delivery_id=row.id,
        attempt_id=exchange.attempt_id,
        outcome=exchange.outcome,
        ended_at=row.now,
        ended=row.status if ended else None,
        gone=gone,
        healthy=row.healthy,
        by_us=exchange.by_us,
        resent=exchange.resent,
    )


def _write(connection: Connection, rows: dict[str, _LockedDelivery]) -> None:
    keys = ((row.id, row.created_at) for row in rows.values())
    for partition, ids_in_it in partitions_of("deliveries", keys).items():
        columns = {name: [getattr(rows[id], name) for id in ids_in_it] for name in _WRITTEN}
        connection.exec_driver_sql(_WRITE.format(partition=partition), columns)
    due = {id: row for id, row in rows.items() if row.due_at is not None}
    waiting = [row for row in due.values() if row.status == "pending"]
    if waiting:
        columns = {name: [getattr(row, name) for row in waiting] for name in _WRITTEN_DUE}
        connection.exec_driver_sql(_WRITE_DUE, columns)
    if len(waiting) < len(due):
        ended = [id for id, row in due.items() if row.status != "pending"]
        connection.exec_driver_sql(_END_DUE, {"ids": ended})


# Read and lock deliveries of one partition, with how their endpoints are. What somebody else has locked, perhaps for
# minutes, is left for the next round: all other deliveries would wait for it.
_LOCK = """
SELECT d.id, d.created_at, d.status, d.reason, d.trigger, d.attempt_count, d.window_attempts,
  d.window_started_at, d.deadline_at, d.finished_at, e.status AS endpoint_status, e.disabled_reason,
  coalesce(e.consecutive_failures = 0 AND e.last_outcome = 'success', false) AS healthy, now() AS now
FROM {partition} AS d LEFT JOIN endpoints e ON e.id = d.endpoint_id
WHERE d.id = ANY (%(ids)s::text[])
ORDER BY d.id FOR UPDATE OF d SKIP LOCKED
"""

# Read and lock the rows of pending deliveries that are locked already; one that is missing is being claimed.
_LOCK_DUE = """
SELECT delivery_id, due_at, claims, leased_until, lease_token::text AS token FROM due
WHERE delivery_id = ANY (%(ids)s::text[]) FOR UPDATE SKIP LOCKED
"""

# Which deliveries of one partition there are, locked or not.
_EXIST = "SELECT id FROM {partition} WHERE id = ANY (%(ids)s::text[])"

# Write back what has changed of deliveries of one partition. %(…)b: lists go in binary form, which costs the client a
# fifth of the textual one.
_WRITE = """
UPDATE {partition} AS d
SET status = n.status, reason = n.reason, trigger = n.trigger, attempt_count = n.attempt_count,
  window_attempts = n.window_attempts, finished_at = n.finished_at
FROM unnest(%(id)b::text[], %(status)b::text[], %(reason)b::text[], %(trigger)b::text[], %(attempt_count)b::int[],
  %(window_attempts)b::int[], %(finished_at)b::timestamptz[])
  AS n (id, status, reason, trigger, attempt_count, window_attempts, finished_at)
WHERE d.id = n.id AND d.id = ANY (%(id)b::text[])
"""
_WRITTEN = ("id", "status", "reason", "trigger", "attempt_count", "window_attempts", "finished_at")

# The same of what stays pending.
_WRITE_DUE = """
UPDATE due SET due_at = n.due_at, trigger = n.trigger, attempt_count = n.attempt_count, claims = n.claims,
  window_attempts = n.window_attempts, leased_until = n.leased_until, lease_token = n.lease_token
FROM unnest(%(id)b::text[], %(due_at)b::timestamptz[], %(trigger)b::text[], %(attempt_count)b::int[],
  %(claims)b::int[], %(window_attempts)b::int[], %(leased_until)b::timestamptz[], %(lease_token)b::uuid[])
  AS n (id, due_at, trigger, attempt_count, claims, window_attempts, leased_until, lease_token)
WHERE delivery_id = n.id
"""
_WRITTEN_DUE = (
    "id",
    "due_at",
    "trigger",
    "attempt_count",
    "claims",
    "window_attempts",
    "leased_until",
    "lease_token",
)

# Forget what has ended.
_END_DUE = "DELETE FROM due WHERE delivery_id = ANY (%(ids)s::text[])"
