"""Cancelling: the end of what a disabled or deleted endpoint has pending.

When a person disables or deletes an endpoint, that is cancelled within the same request, up to a bound: the request
holds the workspace's row. A drain that disables one, or that comes across one that has ended, cancels a part with each
claim, because all others' deliveries wait meanwhile; what a person's request leaves is brought before a drain at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection

from app.database.connection import ROW_BY_ROW
from app.delivery import deliveries

CANCEL_BATCH = 5_000  # rows in one statement: some tenths of a second
MOST_AT_ONCE = 2 * CANCEL_BATCH  # rows that one request cancels: a second or two, within its limit of ten
# Rows of disabled and deleted endpoints that one claim cancels: some 80 ms, for which all others' deliveries wait. And
# of how many endpoints, in the same statement: when hundreds are deleted at once, most have a few rows each, or none.
MOST_CANCELLED = 1000
MOST_ENDED = 256
# Codes of an endpoint's disabled_reason with a sentence of their own for its deliveries.
_ENDED_WITH = {
    "endpoint_gone": deliveries.ENDPOINT_GONE,
    "endpoint_failing": deliveries.ENDPOINT_FAILING,
    "disabled_by_receiver": deliveries.DISABLED_BY_RECEIVER,
}


class EndedEndpoints:
    """Endpoints that are disabled or deleted and may still have something pending. One drain's."""

    def __init__(self) -> None:
        self._ids: dict[str, None] = {}  # a set in the order in which they came

    @property
    def are_left(self) -> bool:
        """Whether any of them may have more pending than has been cancelled."""
        return bool(self._ids)

    def add(self, endpoint_ids: Iterable[str]) -> None:
        """These are disabled or deleted, too."""
        self._ids.update(dict.fromkeys(endpoint_ids))

    def cancel_some(self, connection: Connection) -> None:
        """Cancel as much of what they have pending as one claim may."""
        if not self._ids:
            return
        first = list(self._ids)[:MOST_ENDED]
        # One that is enabled was so by a person meanwhile.
        ended = {
            row.id: why_cancelled(row.status, row.disabled_reason)
            for row in connection.exec_driver_sql(_ENDED, {"ids": first}).all()
            if row.status != "enabled"
        }
        cancelled: Sequence[int] = ()
        if ended:
            connection.exec_driver_sql(ROW_BY_ROW, {})
            values = {"ids": list(ended), "reasons": list(ended.values()), "most": MOST_CANCELLED}
            cancelled = connection.exec_driver_sql(_CANCEL, values).scalars().all()
        if len(cancelled) == MOST_CANCELLED:  # the last one that it came to may have more, and who follows it
            left = set(list(ended)[max(cancelled) - 1 :])
            first = [id for id in first if id not in left]
        for id in first:
            del self._ids[id]


def why_cancelled(endpoint_status: str | None, disabled_reason: str | None) -> str:
    """Why a delivery ends with its endpoint, from the endpoint's columns (status None: it has been deleted)."""
    if endpoint_status is None:
        return deliveries.ENDPOINT_DELETED
    return _ENDED_WITH.get((disabled_reason or "").partition(":")[0], deliveries.ENDPOINT_DISABLED)


def cancel_at_once(connection: Connection, endpoint_id: str, reason: str) -> None:
    """Cancel what an endpoint that a person ends has pending; if it is very much, leave the rest to the drains."""
    if cancel_pending(connection, endpoint_id, reason, most=MOST_AT_ONCE) == MOST_AT_ONCE:
        connection.exec_driver_sql(_SHOW_TO_A_DRAIN, {"endpoint": endpoint_id})


def cancel_pending(connection: Connection, endpoint_id: str, reason: str, *, most: int | None = None) -> int:
    """Cancel what an endpoint has pending (at most the first `most`), and return how many.

    Rows that are being sent at the moment are left to their drain: a success counts, a failure is cancelled there.
    """
    connection.exec_driver_sql(ROW_BY_ROW, {})
    total = 0
    while True:
        batch = CANCEL_BATCH if most is None else min(CANCEL_BATCH, most - total)
        values = {"ids": [endpoint_id], "reasons": [reason], "most": batch}
        cancelled = connection.exec_driver_sql(_CANCEL, values).rowcount
        total += cancelled
        if cancelled < batch or total == most:
            return total


# What has become of endpoints whose pending deliveries are being cancelled (status NULL: deleted), first come first.
_ENDED = """
SELECT wanted.id, e.status, e.disabled_reason
FROM unnest(%(ids)s::text[]) WITH ORDINALITY AS wanted (id, place) LEFT JOIN endpoints e ON e.id = wanted.id
ORDER BY wanted.place
"""

# Cancel a batch of what endpoints have pending, in their order, each with its reason, but for rows that are being sent:
# whose each row was, by its place among them. SKIP LOCKED: a row that is locked now is being claimed, recorded or
# retried; whoever does that looks at the endpoint's state. Bounds and order leave one index (see drain_round.sql).
_CANCEL = """
WITH batch AS MATERIALIZED (
  SELECT p.id, p.created_at, wanted.reason, wanted.place
  FROM unnest(%(ids)s::text[], %(reasons)s::text[]) WITH ORDINALITY AS wanted (id, reason, place)
  CROSS JOIN LATERAL (
    SELECT d.id, d.created_at FROM due JOIN deliveries d ON d.id = due.delivery_id AND d.created_at = due.created_at
    WHERE (due.endpoint_id, due.due_at) >= (wanted.id, '-infinity'::timestamptz)
      AND (due.endpoint_id, due.due_at) <= (wanted.id, 'infinity'::timestamptz)
      AND (due.leased_until IS NULL OR due.leased_until <= now())
    ORDER BY due.endpoint_id, due.due_at LIMIT %(most)s FOR UPDATE SKIP LOCKED
  ) AS p LIMIT %(most)s
), ended AS (
  DELETE FROM due WHERE delivery_id = ANY (ARRAY(SELECT id FROM batch))
)
UPDATE deliveries SET status = 'cancelled', reason = batch.reason, finished_at = now()
FROM batch WHERE deliveries.id = batch.id AND deliveries.created_at = batch.created_at
RETURNING batch.place
"""

# Make one of an endpoint's rows due now, if none is, so that a drain comes across the endpoint.
_SHOW_TO_A_DRAIN = """
UPDATE due SET due_at = now() WHERE due_at > now() AND delivery_id = (
  SELECT delivery_id FROM due
  WHERE (endpoint_id, due_at) >= (%(endpoint)s, '-infinity'::timestamptz)
    AND (endpoint_id, due_at) <= (%(endpoint)s, 'infinity'::timestamptz)
    AND (leased_until IS NULL OR leased_until <= now())
  ORDER BY endpoint_id, due_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
"""
