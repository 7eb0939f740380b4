"""Endpoint health: how an endpoint has been answering, and its end when it has not answered for days.

Written by the drain after each batch of outcomes, in a transaction of its own: endpoints are locked before their
deliveries, as everywhere else. A worker that dies in between loses a count, which the next outcome makes good. So does
an endpoint that somebody else holds at the moment (a recovery may take long): all others' deliveries would wait for it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from app.core.retry import Outcome
from app.outcomes import Recorded

log = logging.getLogger(__name__)

GONE = "endpoint_gone: the endpoint answered 410 Gone"
FAILING = "endpoint_failing: every attempt has failed since {since:%Y-%m-%d %H:%M} UTC"


@dataclass(slots=True)
class _Tally:
    """A batch's news of one endpoint. failures: after the last success, or all of them when there was none."""

    succeeded: bool = False
    failures: int = 0
    failing_since: datetime | None = None
    last_outcome: str = ""
    gone: bool = False


def update_health(connection: Connection, recorded: Sequence[Recorded], *, disable_after_seconds: int) -> list[str]:
    """Bring the endpoints' health up to date; disable those that are gone or have failed for too long. The ids of
    these: the caller sees to it that what they have pending is cancelled, which may be a lot.

    Without news (successes of endpoints that were well) nothing is locked or written.
    """
    tallies = _tallies(recorded)
    if not tallies:
        return []
    ids, news = list(tallies), list(tallies.values())
    values = {
        "ids": ids,
        "succeeded": [tally.succeeded for tally in news],
        "failures": [tally.failures for tally in news],
        "since": [tally.failing_since for tally in news],
        "outcomes": [tally.last_outcome for tally in news],
        "patience": disable_after_seconds,
        "now": max(one.ended_at for one in recorded),
    }
    disabled = []
    for row in connection.exec_driver_sql(_UPDATE, values).all():
        if tallies[row.id].gone or row.out_of_patience:
            _disable(connection, row.id, GONE if tallies[row.id].gone else FAILING.format(since=row.failing_since))
            disabled.append(row.id)
    return disabled


def _tallies(recorded: Sequence[Recorded]) -> dict[str, _Tally]:
    tallies: dict[str, _Tally] = {}
    for one in recorded:
        tally = tallies.get(one.endpoint_id)
        if one.outcome == Outcome.SUCCESS:
            if tally is None and one.healthy:
                continue
            gone = tally is not None and tally.gone
            tallies[one.endpoint_id] = _Tally(succeeded=True, last_outcome=one.outcome, gone=gone)
            continue
        if tally is None:
            tally = tallies[one.endpoint_id] = _Tally()
        tally.failures += 1
        tally.failing_since = tally.failing_since or one.ended_at
        tally.last_outcome = one.outcome
        tally.gone |= one.gone
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

_DISABLE = """
UPDATE endpoints SET status = 'disabled', disabled_reason = %(reason)s, disabled_at = now(), updated_at = now()
WHERE id = %(id)s AND status = 'enabled'
"""
