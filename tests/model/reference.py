"""What a drain's round, cancelling and people do to a delivery in the database, as pure functions: its row in
`deliveries`, and while it is pending the one in `due`, are one here.

The search in `delivery_model` runs through these; `test_reference` holds them to the real thing. Each
safeguard is a member of `Rules`, so that `mutants` can take it out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from app.core.webhook import retry
from app.core.webhook.retry import Decision, Outcome
from app.core.webhook.steering import Asked
from app.delivery import deliveries
from app.delivery.cancelling import why_cancelled
from app.delivery.claims import MOST_LOST_CLAIMS, SUSPICIOUS_LOST_CLAIMS

Token = str | int | None

FOR_EVER = datetime.max.replace(tzinfo=UTC)


class Rules(NamedTuple):
    """The safeguards. Each is there (True) unless a mutant takes it out."""

    decide: Callable[..., Decision] = retry.decide
    locks_claims: bool = True  # FOR UPDATE SKIP LOCKED: what is picked is nobody else's before it is leased
    leases_claims: bool = True  # a claim lasts until leased_until
    ends_leases: bool = True  # ... which comes, and is not for ever
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
    takes_heads_only: bool = True  # of a lane only the first is claimed
    awaits_sender: bool = True  # in a lane a late success counts for nothing while another sends the same
    sends_in_time: bool = True  # ... and what was claimed is sent only if that ends before the lease does


class Row(NamedTuple):
    """A delivery's columns. due_at, claims, leased_until and lease_token say nothing of one that has ended.

    A claim leaves due_at as it is: the lease is apart, so that no index has to be changed for it.
    """

    due_at: datetime
    window_started_at: datetime
    deadline_at: datetime
    status: str = "pending"
    reason: str | None = None
    trigger: str = "schedule"
    attempt_count: int = 0
    window_attempts: int = 0
    claims: int = 0
    leased_until: datetime | None = None
    lease_token: Token = None
    finished_at: datetime | None = None


class Endpoint(NamedTuple):
    """An endpoint's columns. status None: it has been deleted."""

    status: str | None = "enabled"
    disabled_reason: str | None = None


class Exchange(NamedTuple):
    """What came of one attempt. unanswered: the request went out, and no answer came, so that the receiver may have it.
    resent: another attempt was begun at once, and says more. asked: what the receiver asks for with a header."""

    token: Token
    outcome: Outcome
    status_code: int | None = None
    retry_after: str | None = None
    unanswered: bool = False
    resent: bool = False
    asked: Asked | None = None


def is_due(row: Row, now: datetime) -> bool:
    return row.status == "pending" and row.due_at <= now and not is_sent(row, now)


def wakes_at(row: Row) -> datetime:
    """From when on it is due, unless something happens to it before."""
    return row.due_at if row.leased_until is None else max(row.due_at, row.leased_until)


def lost_claims(row: Row, rules: Rules) -> int:
    """Claims that nothing has come of, as far as the row knows."""
    return row.claims - (row.attempt_count if rules.counts_attempts else 0)


def is_suspect(row: Row, rules: Rules) -> bool:
    return rules.isolates_suspects and lost_claims(row, rules) >= SUSPICIOUS_LOST_CLAIMS


def lease(row: Row, now: datetime, length: timedelta, token: Token, rules: Rules) -> Row:
    """A due row after its claim; it is to be sent unless it is hopeless."""
    leased_until = now + length if rules.leases_claims else None
    return row._replace(
        leased_until=leased_until if rules.ends_leases else FOR_EVER,
        lease_token=token,
        claims=row.claims + 1,
    )


def is_held(row: Row, token: Token) -> bool:
    """Whether a claim with this token has it, and nobody after that."""
    return row.status == "pending" and row.lease_token == token


def lease_again(row: Row, now: datetime, length: timedelta, rules: Rules) -> Row:
    """A leased row after the same claim was asked for again: the answer was lost, and the claim is none more."""
    leased_until = now + length if rules.leases_claims else None
    return row._replace(leased_until=leased_until if rules.ends_leases else FOR_EVER)


def why_hopeless(leased: Row, rules: Rules, *, has_event: bool = True) -> str | None:
    """Why a row that has just been leased cannot be sent. has_event: it is not past retention."""
    # Its last claim is the one just made, which is not lost yet.
    if rules.parks_after is not None and lost_claims(leased, rules) - 1 >= rules.parks_after:
        return deliveries.WORKER_CRASH
    return None if has_event else deliveries.EVENT_EXPIRED


def fail(row: Row, token: Token, reason: str, now: datetime) -> Row:
    """A hopeless row is ended by the drain that has leased it, in a transaction of its own after the claim's. Who has
    lost the lease meanwhile changes nothing: it may be delivered by now, by a success that came late."""
    if row.lease_token != token:
        return row
    return _end(row, "failed", reason, now)


def cancel(row: Row, endpoint: Endpoint, now: datetime, rules: Rules) -> Row:
    """A row of an endpoint that has ended."""
    if row.status != "pending" or (rules.spares_the_sent and is_sent(row, now)):
        return row
    return _end(row, "cancelled", why_cancelled(*endpoint), now)


def retry_by_person(row: Row, endpoint: Endpoint, now: datetime, window: timedelta, rules: Rules) -> Row:
    """A row after a person's retry, which is refused when the endpoint has ended."""
    if endpoint.status != "enabled":
        return row
    trigger = row.trigger if row.trigger == "test" else "manual"
    if row.status == "pending":
        if rules.spares_the_sent and is_sent(row, now):
            return row
        # A lease that has ended is taken away, too: whoever had it knows nothing of this retry, and can only report a
        # success. So the attempt that decides was claimed for what the row says now.
        return row._replace(due_at=now, trigger=trigger, leased_until=None, lease_token=None)
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
    exchange: Exchange,
    now: datetime,
    delays: Sequence[float],
    rules: Rules,
    *,
    decided_at: datetime | None = None,
    jitter: float = 0.0,
    is_doubtful: bool = False,
    is_known: bool = False,
    is_in_lane: bool = False,
) -> tuple[Row, bool]:
    """The row after an attempt, and whether the endpoint has said that it is gone.

    decided_at: the worker's idea of the database's time, by which it has decided what comes next; None: `now`.
    is_doubtful: it may have been recorded, by a call whose answer was lost; is_known: and it has been. is_in_lane: its
    endpoint keeps order.

    What is to be tried again at an endpoint that has ended is pending after this; whoever recorded it cancels it then,
    in another transaction.
    """
    has_told = rules.retells_gone and retry.told_to_disable(
        exchange.outcome, exchange.status_code, exchange.asked, row.status, row.reason
    )
    if is_known and rules.knows_attempts:
        return row, has_told
    row = row._replace(attempt_count=row.attempt_count + 1)
    if exchange.resent and rules.awaits_resent:
        return row._replace(claims=row.claims + 1), False
    counts = row.lease_token == exchange.token or not rules.fences_failures
    if exchange.outcome == Outcome.SUCCESS:
        is_others = is_in_lane and rules.awaits_sender and is_sent(row, now)
        counts = counts or (rules.takes_late_successes and not is_others)
    if not counts or (rules.keeps_ends and row.status != "pending"):
        return row, has_told and is_doubtful
    scheduled = row.trigger != "manual" or row.window_attempts == 0
    row = row._replace(window_attempts=row.window_attempts + scheduled)
    decision = rules.decide(
        now=decided_at or now,
        window_started_at=row.window_started_at,
        deadline_at=row.deadline_at,
        scheduled_attempts=row.window_attempts,
        outcome=exchange.outcome,
        status_code=exchange.status_code,
        retry_after=exchange.retry_after,
        jitter=jitter,
        delays=delays,
        unanswered=exchange.unanswered and rules.says_unknown,
        asked=exchange.asked,
    )
    return _move(row, decision, now), decision.disable_endpoint


def _move(row: Row, decision: Decision, now: datetime) -> Row:
    if decision.status == "pending":
        if row.trigger == "test":
            return _end(row, "failed", f"{deliveries.TEST_FAILED}: {decision.reason}", now)
        assert decision.due_at is not None
        return row._replace(
            status="pending",
            reason=decision.reason,
            due_at=decision.due_at,
            trigger="schedule",
            leased_until=None,
            lease_token=None,
            finished_at=None,
        )
    return _end(row, decision.status, decision.reason, now)


def is_sent(row: Row, now: datetime) -> bool:
    """Whether somebody's lease of it lasts."""
    return row.leased_until is not None and row.leased_until > now


def _end(row: Row, status: str, reason: str | None, now: datetime) -> Row:
    return row._replace(status=status, reason=reason, leased_until=None, lease_token=None, finished_at=now)
