"""What the SQL of app.delivery.claims, outcomes, cancelling and deliveries does to a row, as pure functions.

The search in `delivery_model` runs through these; `test_reference` holds them to the real thing. Each
safeguard is a member of `Rules`, so that `mutants` can take it out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from app.core.webhook import retry
from app.core.webhook.retry import Decision, Outcome
from app.delivery import deliveries
from app.delivery.cancelling import why_cancelled
from app.delivery.claims import MOST_LOST_CLAIMS, SUSPICIOUS_LOST_CLAIMS

Token = str | int | None

FOR_EVER = datetime.max.replace(tzinfo=UTC)


class Rules(NamedTuple):
    """The safeguards. Each is there (True) unless a mutant takes it out."""

    decide: Callable[..., Decision] = retry.decide
    locks_claims: bool = True  # FOR UPDATE SKIP LOCKED: what is picked is nobody else's before it is leased
    leases_claims: bool = True  # a claim moves due_at forward
    ends_leases: bool = True  # ... by the lease, and not for ever
    fresh_tokens: bool = True  # each claim has a token of its own
    fences_failures: bool = True  # a failure counts under its own lease only
    takes_late_successes: bool = True  # a success counts without its lease, too
    keeps_ends: bool = True  # no outcome leads out of a terminal state
    parks_after: int | None = MOST_LOST_CLAIMS  # lost claims, after which a row is given up
    counts_attempts: bool = True  # claims that had an outcome are not lost ones
    forgets_old_claims: bool = True  # a person's retry starts a new count of lost claims
    asks_enabled_only: bool = True  # a claim takes nothing for an endpoint that has ended
    spares_the_sent: bool = True  # what is being sent is neither cancelled nor made due by a person's retry
    keeps_outcomes: bool = True  # what a failed COMMIT may not have recorded is recorded again
    knows_attempts: bool = True  # an attempt that is recorded already is not counted again
    retells_gone: bool = True  # ... but says once more that its endpoint is gone
    isolates_suspects: bool = True  # a row with lost claims travels alone
    says_unknown: bool = True  # failed: unknown_outcome, when the last attempt was sent and not answered
    awaits_resent: bool = True  # an attempt that was sent once more at once leaves its delivery to that one


class Row(NamedTuple):
    """A delivery's columns."""

    due_at: datetime
    window_started_at: datetime
    deadline_at: datetime
    status: str = "pending"
    reason: str | None = None
    trigger: str = "schedule"
    attempt_count: int = 0
    window_attempts: int = 0
    claims: int = 0
    lease_token: Token = None
    finished_at: datetime | None = None


class Endpoint(NamedTuple):
    """An endpoint's columns. status None: it has been deleted."""

    status: str | None = "enabled"
    disabled_reason: str | None = None


class Exchange(NamedTuple):
    """What came of one attempt. unanswered: the request went out, and no answer came, so that the receiver may have it.
    resent: another attempt was begun at once, and says more."""

    token: Token
    outcome: Outcome
    status_code: int | None = None
    retry_after: str | None = None
    unanswered: bool = False
    resent: bool = False


def is_due(row: Row, now: datetime) -> bool:
    return row.status == "pending" and row.due_at <= now


def lost_claims(row: Row, rules: Rules) -> int:
    """Claims that nothing has come of, as far as the row knows."""
    return row.claims - (row.attempt_count if rules.counts_attempts else 0)


def is_suspect(row: Row, rules: Rules) -> bool:
    return rules.isolates_suspects and lost_claims(row, rules) >= SUSPICIOUS_LOST_CLAIMS


def lease(row: Row, now: datetime, length: timedelta, token: Token, rules: Rules) -> Row:
    """A due row after its claim; it is to be sent if it is still pending."""
    due_at = now + length if rules.leases_claims else row.due_at
    leased = row._replace(
        due_at=due_at if rules.ends_leases else FOR_EVER,
        lease_token=token,
        claims=row.claims + 1,
    )
    if rules.parks_after is not None and lost_claims(row, rules) >= rules.parks_after:
        return _end(leased, "failed", deliveries.WORKER_CRASH, now)
    return leased


def expire(row: Row, now: datetime) -> Row:
    """A claimed row whose event is past retention."""
    return _end(row, "failed", deliveries.EVENT_EXPIRED, now)


def cancel(row: Row, endpoint: Endpoint, now: datetime, rules: Rules) -> Row:
    """A row of an endpoint that has ended."""
    if row.status != "pending" or (rules.spares_the_sent and _is_sent(row, now)):
        return row
    return _end(row, "cancelled", why_cancelled(*endpoint), now)


def retry_by_person(row: Row, endpoint: Endpoint, now: datetime, window: timedelta, rules: Rules) -> Row:
    """A row after a person's retry, which is refused when the endpoint has ended."""
    if endpoint.status != "enabled":
        return row
    trigger = row.trigger if row.trigger == "test" else "manual"
    if row.status == "pending":
        if rules.spares_the_sent and _is_sent(row, now):
            return row
        return row._replace(due_at=now, trigger=trigger)
    return Row(
        due_at=now,
        window_started_at=now,
        deadline_at=now + window,
        trigger=trigger,
        attempt_count=row.attempt_count,
        claims=row.attempt_count if rules.forgets_old_claims else row.claims,
    )


def record(
    row: Row,
    endpoint: Endpoint,
    exchange: Exchange,
    now: datetime,
    delays: Sequence[float],
    rules: Rules,
    *,
    jitter: float = 0.0,
    is_known: bool = False,
) -> tuple[Row, bool]:
    """The row after an attempt, and whether the endpoint has said that it is gone. is_known: recorded already."""
    if is_known and rules.knows_attempts:
        is_gone = row.reason == retry.ENDPOINT_GONE and exchange.status_code == retry.GONE_STATUS
        return row, is_gone and rules.retells_gone
    row = row._replace(attempt_count=row.attempt_count + 1)
    if exchange.resent and rules.awaits_resent:
        return row._replace(claims=row.claims + 1), False
    counts = row.lease_token == exchange.token or not rules.fences_failures
    if exchange.outcome == Outcome.SUCCESS:
        counts = counts or rules.takes_late_successes
    if not counts or (rules.keeps_ends and row.status != "pending"):
        return row, False
    scheduled = row.trigger != "manual" or row.window_attempts == 0
    row = row._replace(window_attempts=row.window_attempts + scheduled)
    decision = rules.decide(
        now=now,
        window_started_at=row.window_started_at,
        deadline_at=row.deadline_at,
        scheduled_attempts=row.window_attempts,
        outcome=exchange.outcome,
        status_code=exchange.status_code,
        retry_after=exchange.retry_after,
        jitter=jitter,
        delays=delays,
        unanswered=exchange.unanswered and rules.says_unknown,
    )
    return _move(row, endpoint, decision, now), decision.disable_endpoint


def _move(row: Row, endpoint: Endpoint, decision: Decision, now: datetime) -> Row:
    if decision.status == "pending":
        if row.trigger == "test":
            return _end(row, "failed", f"{deliveries.TEST_FAILED}: {decision.reason}", now)
        if endpoint.status != "enabled":
            return _end(row, "cancelled", why_cancelled(*endpoint), now)
        assert decision.due_at is not None
        return row._replace(
            status="pending",
            reason=decision.reason,
            due_at=decision.due_at,
            trigger="schedule",
            lease_token=None,
            finished_at=None,
        )
    return _end(row, decision.status, decision.reason, now)


def _is_sent(row: Row, now: datetime) -> bool:
    return row.lease_token is not None and row.due_at > now


def _end(row: Row, status: str, reason: str | None, now: datetime) -> Row:
    return row._replace(status=status, reason=reason, lease_token=None, finished_at=now)
