"""Where the newest events begin that somebody wants to see: people read a feed from its end, programs go on in it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from app.core.event.filters import like_patterns
from app.core.feed.wanted import Wanted, stream_names

WINDOW = 10_000  # events of the workspace that are looked at

# When the first of a workspace's newest events was accepted that fit, so many at most, of a window of them.
SINCE = """
SELECT min(created_at) FROM (
  SELECT v.created_at FROM (
    SELECT v.id, v.created_at, v.type, v.stream_id FROM events v WHERE v.workspace_id = %(workspace)s
    ORDER BY v.id DESC LIMIT %(window)s
  ) AS v JOIN streams s ON s.id = v.stream_id
  WHERE (%(streams)s::text[] IS NULL OR s.kind || ':' || s.external_id = ANY (%(streams)s::text[]))
    AND (%(kinds)s::text[] IS NULL OR s.kind = ANY (%(kinds)s::text[]))
    AND (%(types)s::text[] IS NULL OR v.type LIKE ANY (%(types)s::text[]))
  ORDER BY v.id DESC LIMIT %(most)s
) AS newest
"""


def since(connection: Connection, workspace_id: str, wanted: Wanted, most: int) -> datetime | None:
    """When the first of the newest `most` events was accepted that are wanted, whatever their content; None: there is
    none among the last WINDOW."""
    values = {
        "workspace": workspace_id,
        "window": WINDOW,
        "streams": None if wanted.streams is None else stream_names(wanted.streams),
        "kinds": None if wanted.kinds is None else sorted(wanted.kinds),
        "types": None if wanted.types is None else like_patterns(list(wanted.types)),
        "most": most,
    }
    found: datetime | None = connection.exec_driver_sql(SINCE, values).scalar_one()
    return found
