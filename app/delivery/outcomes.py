"""Outcomes: what the results of attempts change, many of them in one call of a function of the database.

Every attempt is appended to the log. Its delivery changes only for the drain that holds the lease, with one exception:
a drain that has lost its lease (it was frozen, or cut off from the database) may still report a success, which counts;
its failures change nothing. No outcome leads out of a terminal state. What becomes of a delivery is decided here, from
what the claim said of it; whether that still holds, the function finds out (database/functions/record_outcomes.sql).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from app.core.webhook import retry
from app.core.webhook.batches import PARKED_AT
from app.core.webhook.retry import Decision, Outcome
from app.core.webhook.steering import asked
from app.delivery import deliveries
from app.delivery.attempts import Exchange, InBatch, attempt_fields
from app.delivery.claims import Claimed


@dataclass(frozen=True, slots=True)
class RecordedAttempt:
    """One attempt after it was recorded, for whoever watches the log.

    ended_at: the database's time of recording. answered_at: when its result was there, by the database's clock, perhaps
    long before: outcomes are kept while the database is away. ended: the status in which this attempt ended the
    delivery, None if it did not. gone: it answered that its endpoint wants no more, which is to be disabled; by_header:
    by a header and not by 410. resent: another attempt was begun at once. sent_after_seconds: from the commit until it
    was sent, of a delivery's first attempt. delivered_after_seconds: from the commit until now, if it ended the
    delivery well.
    """

    workspace_id: str
    endpoint_id: str
    delivery_id: str
    attempt_id: str
    outcome: Outcome
    ended_at: datetime
    answered_at: datetime
    ended: str | None
    gone: bool
    by_us: bool
    resent: bool
    sent_after_seconds: float | None
    delivered_after_seconds: float | None
    by_header: bool = False


@dataclass(frozen=True, slots=True)
class Recorded:
    """What came of recording. locked: exchanges whose deliveries somebody else has locked, with which nothing was done.
    unwanted: endpoints that are disabled or deleted and have a delivery that is to be tried again. failing: those that
    have failed for too long, and since when."""

    attempts: list[RecordedAttempt] = field(default_factory=list)
    locked: list[Exchange] = field(default_factory=list)
    unwanted: list[str] = field(default_factory=list)
    failing: dict[str, datetime] = field(default_factory=dict)


def decide(exchange: Exchange, now: datetime, jitter: float, delays: Sequence[float]) -> Decision:
    """What becomes of the delivery, if this drain still holds its lease. delays: the retry schedule of an endpoint that
    has none of its own, seconds."""
    claimed, asks = exchange.claimed, asked(exchange.response_headers)
    # A person's attempt in the middle of a window does not use up one of the schedule.
    of_schedule = claimed.trigger != "manual" or claimed.window_attempts == 0
    decision = retry.decide(
        now=now,
        window_started_at=claimed.window_started_at,
        deadline_at=claimed.deadline_at,
        scheduled_attempts=claimed.window_attempts + of_schedule,
        outcome=exchange.outcome,
        status_code=exchange.status_code,
        retry_after=exchange.retry_after,
        jitter=jitter,
        delays=claimed.address.delays or delays,
        unanswered=exchange.unanswered,
        asked=asks,
    )
    if decision.status == "pending" and claimed.trigger == "test":
        return Decision("failed", reason=f"{deliveries.TEST_FAILED}: {decision.reason}")
    if exchange.batch is None:
        return decision
    if exchange.batch.at_once and asks is None:  # past the deadline, too: each such answer ends others
        words = retry.describe(exchange.outcome, exchange.status_code)
        decision = Decision("pending", due_at=now, reason=words)
    return _in_batch(exchange.batch, decision) if decision.status == "pending" else decision


def _in_batch(batch: InBatch, decision: Decision) -> Decision:
    """When an event goes again that shared a request with others."""
    return replace(decision, due_at=PARKED_AT) if batch.waits_behind else decision


class Batch:
    """Outcomes for one call, with what has been decided about each."""

    def __init__(
        self,
        exchanges: Sequence[Exchange],
        now: datetime,
        *,
        jitters: Sequence[float],
        delays: Sequence[float],
        doubtful: Collection[str] = (),
    ) -> None:
        """exchanges: of each delivery at most one that was not resent. now: the database's time. jitters: a random
        number in [0, 1) for each. doubtful: ids of attempts that may have been recorded before, by a call whose answer
        was lost."""
        self._exchanges = list(exchanges)
        self._decisions = [
            decide(exchange, now, jitter if exchange.batch is None else exchange.batch.jitter, delays)
            for exchange, jitter in zip(exchanges, jitters, strict=True)
        ]
        self._doubtful = doubtful

    def doubt(self) -> None:
        """All of them may have been recorded, by a call whose answer was lost."""
        self._doubtful = {exchange.attempt_id for exchange in self._exchanges}

    def as_json(self) -> list[dict[str, Any]]:
        """As record_outcomes takes it."""
        return [
            _fields(number, exchange, decision, exchange.attempt_id in self._doubtful)
            for number, (exchange, decision) in enumerate(zip(self._exchanges, self._decisions, strict=True))
        ]

    def recorded(self, answer: dict[str, Any], now: datetime) -> Recorded:
        """What came of it, from what record_outcomes answered. Those that are in none of its lists went as decided."""
        odd = {number: (status, reason) for number, status, reason in answer.get("odd") or ()}
        left = set(answer.get("left") or ())
        attempts = []
        for number, (exchange, decision) in enumerate(zip(self._exchanges, self._decisions, strict=True)):
            if number in left:
                continue
            if number in odd:
                attempts.append(_not_as_decided(exchange, *odd[number], now, exchange.attempt_id in self._doubtful))
            else:
                ended = None if exchange.resent or decision.status == "pending" else decision.status
                gone = decision.disable_endpoint and not exchange.resent
                attempts.append(_recorded(exchange, now, ended, gone=gone))
        return Recorded(
            attempts,
            [self._exchanges[number] for number in answer.get("locked") or ()],
            answer.get("unwanted") or [],
            {id: datetime.fromisoformat(since) for id, since in answer.get("failing") or ()},
        )


def _fields(number: int, exchange: Exchange, decision: Decision, doubtful: bool) -> dict[str, Any]:
    fields = attempt_fields(exchange)
    fields["n"] = number
    fields["lease_token"] = exchange.claimed.lease_token
    fields["status"], fields["reason"] = decision.status, decision.reason
    fields["due_at"] = None if decision.due_at is None else decision.due_at.isoformat()
    fields["resent"], fields["by_us"], fields["doubtful"] = exchange.resent, exchange.by_us, doubtful
    if (batch := exchange.batch) is not None:
        fields["batch_most"], fields["uncounted"] = batch.most, batch.at_once
        fields["by_us"] |= (
            batch.position > 1
        )  # an endpoint's health is told by its requests: by the first event of each
    return fields


def _not_as_decided(
    exchange: Exchange, status: str, reason: str | None, now: datetime, doubtful: bool
) -> RecordedAttempt:
    """An attempt that did not move its delivery, of which the function says how it stands: a late one, or one that was
    recorded before, by a call whose answer was lost."""
    if not doubtful:
        return _recorded(exchange, now, None, gone=False)
    asks = asked(exchange.response_headers)
    gone = retry.told_to_disable(exchange.outcome, exchange.status_code, asks, status, reason)
    return _recorded(exchange, now, None if status == "pending" or exchange.resent else status, gone=gone)


def _recorded(exchange: Exchange, now: datetime, ended: str | None, *, gone: bool) -> RecordedAttempt:
    claimed = exchange.claimed
    return RecordedAttempt(
        workspace_id=claimed.workspace_id,
        endpoint_id=claimed.endpoint_id,
        delivery_id=claimed.id,
        attempt_id=exchange.attempt_id,
        outcome=exchange.outcome,
        ended_at=now,
        answered_at=exchange.ended_at,
        ended=ended,
        gone=gone,
        by_us=exchange.by_us,
        resent=exchange.resent,
        sent_after_seconds=_between(claimed.created_at, exchange.started_at) if _is_first(claimed) else None,
        delivered_after_seconds=_between(claimed.window_started_at, now) if ended == "delivered" else None,
        by_header=gone and exchange.status_code != retry.GONE_STATUS,
    )


def _is_first(claimed: Claimed) -> bool:
    return claimed.trigger == "schedule" and claimed.window_attempts == 0


def _between(earlier: datetime, later: datetime) -> float:
    return (later - earlier).total_seconds()
