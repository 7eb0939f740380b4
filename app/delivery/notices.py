"""What an owner should be told of endpoints: that one fails, has recovered or was disabled, and that deliveries were
given up. Which of it has been told is in rows; telling it is somebody else's (workers/operations.py).

States are compared, not steps followed: a look sees what an endpoint is and what was told last. So nothing is lost with
a process, what changes to and fro between two looks is not told, and no endpoint makes more than one event in
GAP_SECONDS for its state and one for its deliveries. Deliveries of operations events themselves count for nothing here,
or an endpoint that fails would be told of its own notices for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, Row

from app.core import ids
from app.core.event.names import OWN_KIND
from app.core.event.own_streams import (
    DELIVERY_EXHAUSTED,
    ENDPOINT_DISABLED,
    ENDPOINT_FAILING,
    ENDPOINT_RECOVERED,
    LANE_SKIPPED,
    OPERATIONS,
)
from app.core.wire.envelope import rfc3339

FAILING_AFTER_SECONDS = 60  # an endpoint that is restarted is nobody's concern
GAP_SECONDS = 60  # between two events of the same kind about one endpoint
MOST_NOTICES = 100  # of one look: a thousand endpoints that fail at once are told of over a minute
MOST_IDS = 20  # of deliveries that one event names
_WINDOW = 100  # of an endpoint's last attempts, of which one must be another's than an operations event's

OK, FAILING, DISABLED = "ok", "failing", "disabled"

# Of an event v: whether it is one of ours about endpoints.
_IS_OPERATIONS = f"""EXISTS (SELECT FROM streams s
  WHERE s.id = v.stream_id AND s.kind = '{OWN_KIND}' AND s.external_id = '{OPERATIONS}')"""

# Note that deliveries were given up, by their endpoints: a few rows, however many there are. In the order of the ids,
# so that two drains do not wait for each other.
_NOTE_EXHAUSTED = f"""
INSERT INTO endpoint_notices AS n (endpoint_id, exhausted, exhausted_ids, exhausted_since)
SELECT d.endpoint_id, count(*), (array_agg(d.id ORDER BY d.id))[1:{MOST_IDS}], now()
FROM deliveries d JOIN events v ON v.id = d.event_id AND v.created_at = d.event_created_at
WHERE d.id = ANY (%(ids)s::text[]) AND d.created_at = ANY (%(times)s::timestamptz[]) AND d.status = 'failed'
  AND split_part(d.reason, ':', 1) IN ('window_exhausted', 'unknown_outcome') AND NOT {_IS_OPERATIONS}
GROUP BY d.endpoint_id ORDER BY d.endpoint_id
ON CONFLICT (endpoint_id) DO UPDATE SET exhausted = n.exhausted + excluded.exhausted,
  exhausted_ids = (n.exhausted_ids || excluded.exhausted_ids)[1:{MOST_IDS}],
  exhausted_since = coalesce(n.exhausted_since, excluded.exhausted_since)
"""

# Note that lanes go on without some of their deliveries, in the same way.
_NOTE_SKIPPED = f"""
INSERT INTO endpoint_notices AS n (endpoint_id, skipped, skipped_ids, skipped_since)
SELECT q.endpoint_id, count(*), (array_agg(q.delivery_id ORDER BY q.delivery_id))[1:{MOST_IDS}], now()
FROM due q JOIN events v ON v.id = q.event_id AND v.created_at = q.event_created_at
WHERE q.delivery_id = ANY (%(ids)s::text[]) AND NOT {_IS_OPERATIONS}
GROUP BY q.endpoint_id ORDER BY q.endpoint_id
ON CONFLICT (endpoint_id) DO UPDATE SET skipped = n.skipped + excluded.skipped,
  skipped_ids = (n.skipped_ids || excluded.skipped_ids)[1:{MOST_IDS}],
  skipped_since = coalesce(n.skipped_since, excluded.skipped_since)
"""

# Let one process look at a time.
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('twofold.operations'))"

# The endpoints of which something is to be told: those that fail, are disabled, or were told to be, and those with
# deliveries that were given up. First those that have waited longest since they were last looked at.
_LOOK = f"""
SELECT * FROM (
  SELECT e.id, e.workspace_id, e.url, e.description, e.disabled_reason, e.disabled_at, e.failing_since,
    e.consecutive_failures, e.last_outcome, coalesce(n.told, '{OK}') AS told, n.told_at,
    coalesce(n.exhausted, 0) AS exhausted, n.exhausted_ids, n.exhausted_since, n.exhausted_told_at,
    coalesce(n.skipped, 0) AS skipped, n.skipped_ids, n.skipped_since, n.skipped_told_at,
    n.skipped_told_at IS NULL OR n.skipped_told_at < now() - interval '{GAP_SECONDS} s' AS skipped_may_be_told,
    n.told_at IS NULL OR n.told_at < now() - interval '{GAP_SECONDS} s' AS state_may_be_told,
    n.exhausted_told_at IS NULL OR n.exhausted_told_at < now() - interval '{GAP_SECONDS} s' AS exhausted_may_be_told,
    CASE WHEN e.status = 'disabled' THEN '{DISABLED}'
      WHEN e.failing_since <= now() - interval '{FAILING_AFTER_SECONDS} s' THEN '{FAILING}'
      -- Between the two nothing is known: it was told to be failing, and goes on, or has begun to fail anew.
      WHEN e.failing_since IS NULL THEN '{OK}' ELSE coalesce(n.told, '{OK}') END AS state
  FROM (
    SELECT id FROM endpoints WHERE failing_since <= now() - interval '{FAILING_AFTER_SECONDS} s'
    UNION SELECT id FROM endpoints WHERE status = 'disabled'
    UNION SELECT endpoint_id FROM endpoint_notices WHERE told <> '{OK}' OR exhausted > 0 OR skipped > 0
  ) AS looked
  JOIN endpoints e ON e.id = looked.id LEFT JOIN endpoint_notices n ON n.endpoint_id = e.id
) AS found
WHERE (state <> told AND state_may_be_told) OR (exhausted > 0 AND exhausted_may_be_told)
  OR (skipped > 0 AND skipped_may_be_told)
ORDER BY greatest(told_at, exhausted_told_at, skipped_told_at) NULLS FIRST, id LIMIT %(most)s
"""

# Which of some endpoints have lately failed to take something else than operations events.
_FAIL_OTHERS = f"""
SELECT asked.id FROM unnest(%(ids)s::text[]) AS asked (id)
WHERE EXISTS (
  SELECT FROM (SELECT * FROM attempts a WHERE a.endpoint_id = asked.id ORDER BY a.id DESC LIMIT {_WINDOW}) AS a
  JOIN deliveries d ON d.id = a.delivery_id AND d.created_at <= a.created_at + interval '1 min'
  JOIN events v ON v.id = d.event_id AND v.created_at = d.event_created_at
  WHERE a.outcome <> 'success' AND NOT {_IS_OPERATIONS}
)
"""

# Remember what has been told of an endpoint's state.
_TOLD_STATE = """
INSERT INTO endpoint_notices (endpoint_id, told, told_at) VALUES (%(id)s, %(state)s, now())
ON CONFLICT (endpoint_id) DO UPDATE SET told = excluded.told, told_at = excluded.told_at
"""

# Remember that so many deliveries have been told of; there may have been more meanwhile.
_TOLD = """
UPDATE endpoint_notices SET {what} = {what} - %(count)s, {what}_told_at = now(),
  {what}_ids = {what}_ids[cardinality(%(ids)s::text[]) + 1:],
  {what}_since = CASE WHEN {what} > %(count)s THEN now() END
WHERE endpoint_id = %(id)s
"""

# Remember that something could not be told now: others come first, and it is tried again after the gap.
_PUT_OFF_STATE = """
INSERT INTO endpoint_notices (endpoint_id, told_at) VALUES (%(id)s, now())
ON CONFLICT (endpoint_id) DO UPDATE SET told_at = excluded.told_at
"""
_PUT_OFF = "UPDATE endpoint_notices SET {what}_told_at = now() WHERE endpoint_id = %(id)s"
# What is told of deliveries, and the columns that count them.
_COUNTED = {DELIVERY_EXHAUSTED: "exhausted", LANE_SKIPPED: "skipped"}

# Forget endpoints that have been deleted. A row that somebody has locked is left to the next time.
_FORGET = """
DELETE FROM endpoint_notices WHERE endpoint_id IN (
  SELECT n.endpoint_id FROM endpoint_notices n
  WHERE NOT EXISTS (SELECT FROM endpoints e WHERE e.id = n.endpoint_id) FOR UPDATE SKIP LOCKED
)
"""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell a workspace. type: of the event; key: the same however often it is told. state: what is told
    of the endpoint then; None where it is about deliveries. type None: to be remembered, and not to be told."""

    workspace_id: str
    endpoint_id: str
    type: str | None
    data: dict[str, Any]
    key: str
    state: str | None = None


def note_exhausted(connection: Connection, delivery_ids: Sequence[str]) -> None:
    """Some deliveries have failed: those that were given up are to be told of."""
    times = [ids.created_at_of(id) for id in delivery_ids]
    connection.exec_driver_sql(_NOTE_EXHAUSTED, {"ids": list(delivery_ids), "times": times})


def note_skipped(connection: Connection, delivery_ids: Sequence[str]) -> None:
    """Lanes go on without these deliveries, in the same transaction."""
    connection.exec_driver_sql(_NOTE_SKIPPED, {"ids": list(delivery_ids)})


def look(connection: Connection) -> list[Notice]:
    """What is to be told now, in the order in which the rows have to be locked afterwards. Nothing while another
    process looks: until the end of this transaction, which has locked no row so far."""
    if not connection.exec_driver_sql(_LOCK).scalar_one():
        return []
    rows = connection.exec_driver_sql(_LOOK, {"most": MOST_NOTICES}).all()
    begun = [row.id for row in rows if row.state == FAILING and row.told != FAILING]
    others = set(connection.exec_driver_sql(_FAIL_OTHERS, {"ids": begun}).scalars()) if begun else set()
    found = []
    for row in rows:
        if row.state != row.told and row.state_may_be_told:
            found.append(_of_state(row) if row.state != FAILING or row.id in others else _of_nothing(row))
        if row.exhausted and row.exhausted_may_be_told:
            found.append(_of_deliveries(row, DELIVERY_EXHAUSTED))
        if row.skipped and row.skipped_may_be_told:
            found.append(_of_deliveries(row, LANE_SKIPPED))
    return sorted(found, key=lambda notice: notice.endpoint_id)


def told(connection: Connection, notice: Notice) -> None:
    """A notice has become an event. Locks a row, as drains do in the order of the ids."""
    if notice.state is not None:
        connection.exec_driver_sql(_TOLD_STATE, {"id": notice.endpoint_id, "state": notice.state})
    else:
        values = {"id": notice.endpoint_id, "count": notice.data["count"], "ids": notice.data["delivery_ids"]}
        connection.exec_driver_sql(_TOLD.format(what=_COUNTED[notice.type or ""]), values)


def put_off(connection: Connection, notice: Notice) -> None:
    """A notice could not become an event now. Locks a row, as `told` does."""
    statement = _PUT_OFF.format(what=_COUNTED[notice.type or ""]) if notice.state is None else _PUT_OFF_STATE
    connection.exec_driver_sql(statement, {"id": notice.endpoint_id})


def forget(connection: Connection) -> None:
    """Remove what is known of endpoints that have been deleted."""
    connection.exec_driver_sql(_FORGET)


def _of_state(row: Row[Any]) -> Notice:
    data: dict[str, Any] = {"endpoint": _endpoint(row)}
    since: datetime | None = row.told_at
    type: str | None = None
    if row.state == DISABLED:
        type, since = ENDPOINT_DISABLED, row.disabled_at
        data |= {"reason": row.disabled_reason, "disabled_at": _time(since)}
    elif row.state == FAILING:
        type, since = ENDPOINT_FAILING, row.failing_since
        data |= {
            "failing_since": _time(since),
            "consecutive_failures": row.consecutive_failures,
            "last_outcome": row.last_outcome,
        }
    elif row.told == FAILING:
        type = ENDPOINT_RECOVERED
    return Notice(row.workspace_id, row.id, type, data, f"{type}/{row.id}/{_time(since)}", row.state)


def _of_nothing(row: Row[Any]) -> Notice:
    """It fails to take operations events only: what was told still holds."""
    return Notice(row.workspace_id, row.id, None, {}, "", row.told)


def _of_deliveries(row: Row[Any], type: str) -> Notice:
    what = _COUNTED[type]
    count, ids_told, since = (getattr(row, f"{what}{column}") for column in ("", "_ids", "_since"))
    data = {"endpoint": _endpoint(row), "count": count, "since": _time(since), "delivery_ids": list(ids_told)}
    first = ids_told[0] if ids_told else _time(since)
    # With the count: what was published and not noted would otherwise be taken for what has come since, too.
    return Notice(row.workspace_id, row.id, type, data, f"{type}/{row.id}/{first}/{count}")


def _endpoint(row: Row[Any]) -> dict[str, Any]:
    """The endpoint for whoever gets the event: without what may be a credential in its URL."""
    url = urlsplit(row.url)
    host = url.netloc.rpartition("@")[2]
    return {"id": row.id, "url": f"{url.scheme}://{host}{url.path}", "description": row.description}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(moment)
