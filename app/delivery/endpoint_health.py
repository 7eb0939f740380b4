"""Endpoint health: how an endpoint has been answering, and its end when it has not answered for days.

The drain writes it after each batch of outcomes, in a transaction of its own, because endpoints are locked before their
deliveries everywhere else. A worker that dies between the two loses a count of failures; the next outcome makes up for
it. An endpoint that somebody else has locked is skipped (a recovery may take long, and all others' deliveries would
wait for it), and its count is lost likewise. Only a 410 is remembered until its endpoint can be locked: an endpoint
that is gone is not sent anything again that could tell us once more.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection

from app.core.webhook.retry import Outcome
from app.delivery.outcomes import RecordedAttempt

log = logging.getLogger(__name__)

GONE = "endpoint_gone: the endpoint answered 410 Gone"
FAILING = "endpoint_failing: every attempt has failed since {since:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True, slots=True)
class Disabled:
    """What came of disabling endpoints.

    endpoint_ids: they are disabled now; what they have pending, which may be much, is to be cancelled.
    gone_but_locked: endpoints that answered 410 while somebody else had locked their rows, and when they did.
    """

    endpoint_ids: list[str] = field(default_factory=list)
    gone_but_locked: dict[str, datetime] = field(default_factory=dict)


@dataclass(slots=True)
class _Tally:
    """What a batch says of one endpoint. failures: after the last success, or all of them when there was none."""

    succeeded: bool = False
    failures: int = 0
    failing_since: datetime | None = None
    last_outcome: str = ""


def update_health(
    connection: Connection, attempts: Sequence[RecordedAttempt], *, disable_after_seconds: int
) -> Disabled:
    """Bring the endpoints' health up to date; disable those that are gone or have failed for too long.

    Successes of endpoints that were healthy before lock and write nothing.
    """
    tallies = _tallies(attempts)
    if not tallies:
        return Disabled()
    values = {
        "ids": list(tallies),
        "succeeded": [tally.succeeded for tally in tallies.values()],
        "failures": [tally.failures for tally in tallies.values()],
        "since": [tally.failing_since for tally in tallies.values()],
        "outcomes": [tally.last_outcome for tally in tallies.values()],
        "disable_after": disable_after_seconds,
        "now": max(attempt.ended_at for attempt in attempts),
    }
    disabled = Disabled(gone_but_locked={attempt.endpoint_id: attempt.ended_at for attempt in attempts if attempt.gone})
    for row in connection.exec_driver_sql(_UPDATE, values).all():
        gone = disabled.gone_but_locked.pop(row.id, None)
        if gone or row.failed_too_long:
            _disable(connection, row.id, GONE if gone else FAILING.format(since=row.failing_since))
            disabled.endpoint_ids.append(row.id)
    return disabled


def disable_gone(connection: Connection, gone: Mapping[str, datetime]) -> Disabled:
    """Disable endpoints that update_health found locked, unless somebody has changed them since they answered 410.

    gone: when each answered 410, by endpoint id.
    """
    unchanged = list(
        connection.exec_driver_sql(_STILL_GONE, {"ids": list(gone), "since": list(gone.values())}).scalars()
    )
    locked = set(connection.exec_driver_sql(_LOCK, {"ids": unchanged}).scalars()) if unchanged else set()
    for endpoint_id in sorted(locked):
        _disable(connection, endpoint_id, GONE)
    return Disabled(sorted(locked), {id: gone[id] for id in unchanged if id not in locked})


def _tallies(attempts: Sequence[RecordedAttempt]) -> dict[str, _Tally]:
    """By endpoint id; without endpoints that were healthy and have only succeeded."""
    tallies: dict[str, _Tally] = {}
    for attempt in attempts:
        tally = tallies.get(attempt.endpoint_id)
        if attempt.outcome == Outcome.SUCCESS:
            if tally is None and attempt.healthy:
                continue
            tallies[attempt.endpoint_id] = _Tally(succeeded=True, last_outcome=attempt.outcome)
            continue
        if tally is None:
            tally = tallies[attempt.endpoint_id] = _Tally()
        tally.failures += 1
        tally.failing_since = tally.failing_since or attempt.ended_at
        tally.last_outcome = attempt.outcome
    return tallies


def _disable(connection: Connection, endpoint_id: str, reason: str) -> None:
    connection.exec_driver_sql(_DISABLE, {"id": endpoint_id, "reason": reason})
    log.warning("endpoint %s is disabled (%s); what it has pending is cancelled", endpoint_id, reason)


# Add a batch's tallies to the endpoints' health, and say which of them have failed for too long. Endpoints that
# somebody else has locked are skipped; the others are locked in id order.
_UPDATE = """
WITH tallies AS (
  SELECT * FROM unnest(%(ids)s::text[], %(succeeded)s::boolean[], %(failures)s::int[], %(since)s::timestamptz[],
    %(outcomes)s::text[]) AS t (id, succeeded, failures, since, outcome)
), locked AS MATERIALIZED (
  SELECT e.id FROM endpoints e JOIN tallies ON tallies.id = e.id ORDER BY e.id
  FOR UPDATE OF e SKIP LOCKED
)
UPDATE endpoints AS e SET
  consecutive_failures = tallies.failures + CASE WHEN tallies.succeeded THEN 0 ELSE e.consecutive_failures END,
  failing_since = CASE WHEN tallies.succeeded THEN tallies.since ELSE coalesce(e.failing_since, tallies.since) END,
  last_outcome = tallies.outcome
FROM locked JOIN tallies ON tallies.id = locked.id WHERE e.id = locked.id
RETURNING e.id, e.failing_since,
  coalesce(e.failing_since <= %(now)s::timestamptz - make_interval(secs => %(disable_after)s), false)
    AND e.status = 'enabled' AS failed_too_long
"""

# Which of the endpoints that answered 410 are as they were then.
_STILL_GONE = """
SELECT e.id FROM endpoints e
JOIN unnest(%(ids)s::text[], %(since)s::timestamptz[]) AS gone (id, since) ON gone.id = e.id
WHERE e.status = 'enabled' AND e.updated_at <= gone.since
"""

# Lock endpoints, but for those that somebody else has locked.
_LOCK = "SELECT id FROM endpoints WHERE id = ANY (%(ids)s::text[]) ORDER BY id FOR UPDATE SKIP LOCKED"

# Disable one endpoint, which its owner may have done in the meantime.
_DISABLE = """
UPDATE endpoints SET status = 'disabled', disabled_reason = %(reason)s, disabled_at = now(), updated_at = now()
WHERE id = %(id)s AND status = 'enabled'
"""
