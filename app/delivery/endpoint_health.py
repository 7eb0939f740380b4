"""Endpoint health: how an endpoint has been answering, and its end when it has not answered for days.

Written by the drain after each batch of outcomes, in a transaction of its own: endpoints are locked before their
deliveries, as everywhere else. A worker that dies in between loses a count, which the next outcome makes good. So does
an endpoint that somebody else holds at the moment (a recovery may take long): all others' deliveries would wait for it.
Only that it is gone is remembered, because an endpoint that says so is not asked again.
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
class News:
    """What is left to do. disabled: the endpoints whose pending deliveries are to be cancelled, which may be many;
    missed: those that have said that they are gone, and when, whose rows somebody else held."""

    disabled: list[str] = field(default_factory=list)
    missed: dict[str, datetime] = field(default_factory=dict)


@dataclass(slots=True)
class _Tally:
    """A batch's news of one endpoint. failures: after the last success, or all of them when there was none."""

    succeeded: bool = False
    failures: int = 0
    failing_since: datetime | None = None
    last_outcome: str = ""


def update_health(connection: Connection, recorded: Sequence[RecordedAttempt], *, disable_after_seconds: int) -> News:
    """Bring the endpoints' health up to date; disable those that are gone or have failed for too long.

    Without news (successes of endpoints that were well) nothing is locked or written.
    """
    tallies = _tallies(recorded)
    if not tallies:
        return News()
    ids, found = list(tallies), list(tallies.values())
    values = {
        "ids": ids,
        "succeeded": [tally.succeeded for tally in found],
        "failures": [tally.failures for tally in found],
        "since": [tally.failing_since for tally in found],
        "outcomes": [tally.last_outcome for tally in found],
        "patience": disable_after_seconds,
        "now": max(one.ended_at for one in recorded),
    }
    news = News(missed={one.endpoint_id: one.ended_at for one in recorded if one.gone})
    for row in connection.exec_driver_sql(_UPDATE, values).all():
        gone = news.missed.pop(row.id, None)
        if gone or row.out_of_patience:
            _disable(connection, row.id, GONE if gone else FAILING.format(since=row.failing_since))
            news.disabled.append(row.id)
    return news


def disable_gone(connection: Connection, missed: Mapping[str, datetime]) -> News:
    """Disable endpoints that update_health has missed, unless somebody has changed them since they said so."""
    values = {"ids": list(missed), "since": list(missed.values())}
    rows = connection.exec_driver_sql(_STILL_GONE, values).all()
    disabled = list(connection.exec_driver_sql(_LOCK, {"ids": [row.id for row in rows]}).scalars()) if rows else []
    for endpoint_id in disabled:
        _disable(connection, endpoint_id, GONE)
    return News(disabled, {row.id: missed[row.id] for row in rows if row.id not in disabled})


def _tallies(recorded: Sequence[RecordedAttempt]) -> dict[str, _Tally]:
    tallies: dict[str, _Tally] = {}
    for one in recorded:
        tally = tallies.get(one.endpoint_id)
        if one.outcome == Outcome.SUCCESS:
            if tally is None and one.healthy:
                continue
            tallies[one.endpoint_id] = _Tally(succeeded=True, last_outcome=one.outcome)
            continue
        if tally is None:
            tally = tallies[one.endpoint_id] = _Tally()
        tally.failures += 1
        tally.failing_since = tally.failing_since or one.ended_at
        tally.last_outcome = one.outcome
    return tallies


def _disable(connection: Connection, endpoint_id: str, reason: str) -> None:
    connection.exec_driver_sql(_DISABLE, {"id": endpoint_id, "reason": reason})
    log.warning("endpoint %s is disabled (%s); what it has pending is cancelled", endpoint_id, reason)


_UPDATE = """
WITH news AS (
  SELECT * FROM unnest(%(ids)s::text[], %(succeeded)s::boolean[], %(failures)s::int[], %(since)s::timestamptz[],
    %(outcomes)s::text[]) AS n (id, succeeded, failures, since, outcome)
), locked AS MATERIALIZED (
  SELECT e.id FROM endpoints e JOIN news ON news.id = e.id ORDER BY e.id
  FOR UPDATE OF e SKIP LOCKED
)
UPDATE endpoints AS e SET
  consecutive_failures = news.failures + CASE WHEN news.succeeded THEN 0 ELSE e.consecutive_failures END,
  failing_since = CASE WHEN news.succeeded THEN news.since ELSE coalesce(e.failing_since, news.since) END,
  last_outcome = news.outcome
FROM locked JOIN news ON news.id = locked.id WHERE e.id = locked.id
RETURNING e.id, e.failing_since,
  coalesce(e.failing_since <= %(now)s::timestamptz - make_interval(secs => %(patience)s), false)
    AND e.status = 'enabled' AS out_of_patience
"""

_STILL_GONE = """
SELECT e.id FROM endpoints e
JOIN unnest(%(ids)s::text[], %(since)s::timestamptz[]) AS gone (id, since) ON gone.id = e.id
WHERE e.status = 'enabled' AND e.updated_at <= gone.since
"""

_LOCK = "SELECT id FROM endpoints WHERE id = ANY (%(ids)s::text[]) ORDER BY id FOR UPDATE SKIP LOCKED"

_DISABLE = """
UPDATE endpoints SET status = 'disabled', disabled_reason = %(reason)s, disabled_at = now(), updated_at = now()
WHERE id = %(id)s AND status = 'enabled'
"""
