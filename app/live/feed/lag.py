"""How far consumers are behind: exactly for one, up to a bound; as a class for all of them together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

from app.core.feed.consumer import windows_behind
from app.core.feed.cursor import Cursor
from app.database.connection import ROW_BY_ROW
from app.live.feed import ticks
from app.live.feed.pages import parameters

MOST_COUNTED = 1000  # rows that are looked at for one consumer; whoever is farther behind is told "at least"
MOST_FIGURES = 10_000  # consumers that are looked at for the metrics
TICK_MILLISECONDS = 1000  # how old the newest tick may be: Feed.tick, before anybody is measured

# How many events of a workspace are in a window, up to a bound, and when the first of them was stored.
BEHIND = """
SELECT count(*) AS events, min(created_at) AS since
  FROM (SELECT created_at
          FROM events
         WHERE workspace_id = %(workspace)s
           AND xid = ANY((%(in_flight)s::text[])::xid8[])
           AND no > %(above)s
           AND no <= %(most)s
           AND (%(upto)s::text IS NULL OR pg_visible_in_snapshot(xid, %(upto)s::text::pg_snapshot))
         UNION ALL
        SELECT created_at
          FROM events
         WHERE workspace_id = %(workspace)s
           AND xid >= (%(began)s::text)::xid8
           AND xid < (%(ends)s::text)::xid8
           AND no > %(above)s
           AND no <= %(most)s
           AND (%(upto)s::text IS NULL OR pg_visible_in_snapshot(xid, %(upto)s::text::pg_snapshot))
         LIMIT %(bound)s) AS found
"""

# Consumers by how long there has been something that they have not read, of whichever workspace, and the longest. What
# each of them has not read is not looked at.
FIGURES = """
SELECT coalesce(max(seconds), 0)::float8 AS most,
       count(*) FILTER (WHERE seconds IS NULL) AS caught_up,
       count(*) FILTER (WHERE seconds < 60) AS under_1m,
       count(*) FILTER (WHERE seconds >= 60 AND seconds < 3600) AS under_1h,
       count(*) FILTER (WHERE seconds >= 3600) AS over_1h
  FROM (SELECT extract(epoch FROM now() - unread.created_at) AS seconds
          FROM (SELECT after_tick FROM feed_consumers LIMIT %(bound)s) AS known
          LEFT JOIN LATERAL (SELECT created_at FROM ticks WHERE id > after_tick ORDER BY id LIMIT 1) AS unread ON true
       ) AS behind
"""


@dataclass(frozen=True, slots=True)
class Lag:
    """events: of the workspace, behind a place; at_least: there may be more. since: when the first was stored."""

    events: int
    at_least: bool
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Figures:
    """counts: consumers by how far they are behind. most_seconds: the farthest."""

    counts: Mapping[str, int]
    most_seconds: float


def ruler(connection: Connection, workspace_id: str) -> Callable[[Cursor], Lag]:
    """A function that tells how much of a workspace's feed lies behind a place, whatever its reader wants of it. It may
    be used until the end of the transaction."""
    connection.exec_driver_sql(ROW_BY_ROW)
    newest, epochs = ticks.last(connection), ticks.epochs(connection)

    def measure(cursor: Cursor) -> Lag:
        events, since = 0, None
        for window in windows_behind(cursor, newest, epochs):
            asked = parameters(workspace_id, window) | {"bound": MOST_COUNTED - events + 1}
            row = connection.exec_driver_sql(BEHIND, asked).one()
            events, since = events + row.events, since or row.since
            if events > MOST_COUNTED:
                return Lag(MOST_COUNTED, True, since)
        return Lag(events, False, since)

    return measure


def figures(connection: Connection) -> Figures:
    """How all consumers do."""
    row = connection.exec_driver_sql(FIGURES, {"bound": MOST_FIGURES}).one()
    counts = {name: getattr(row, name) for name in ("caught_up", "under_1m", "under_1h", "over_1h")}
    return Figures(counts, row.most)
