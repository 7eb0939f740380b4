"""What an endpoint has been: enabled, disabled and why, failing, recovered. note_endpoint_change notes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

STATES = ("enabled", "disabled", "failing", "recovered")
MOST_CHANGES = 100  # of one endpoint, the last: as many as note_endpoint_change keeps, and the present failure


@dataclass(frozen=True, slots=True)
class Change:
    """What an endpoint became. reason: why it was disabled, or how the last attempt of a failure ended."""

    changed_at: datetime
    state: str
    reason: str | None


def changes_of(connection: Connection, endpoint_id: str) -> Sequence[Change]:
    """The changes of an endpoint's state, newest first; a failure that lasts is the first of them."""
    rows = connection.exec_driver_sql(_CHANGES, {"id": endpoint_id, "most": MOST_CHANGES}).all()
    return [Change(row.changed_at, row.state, row.reason) for row in rows]


# The last changes of an endpoint, and the failure that it is in.
_CHANGES = """
SELECT changed_at, state, reason FROM (
  SELECT failing_since AS changed_at, 'failing' AS state, last_outcome AS reason, NULL::bigint AS id FROM endpoints
  WHERE id = %(id)s AND status = 'enabled' AND failing_since IS NOT NULL
  UNION ALL
  SELECT changed_at, state, reason, id FROM endpoint_changes WHERE endpoint_id = %(id)s
) AS known ORDER BY id DESC NULLS FIRST LIMIT %(most)s
"""
