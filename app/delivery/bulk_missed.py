"""Bulk recovery of what one endpoint has missed: events that its filters let through and that have no delivery to it.

It was disabled, or made or given its filters later. An order looks through the events of its span piece by piece,
oldest first, by the same conditions as app/delivery/missed.py, and makes deliveries; bulk.py has the order's row, its
progress and its end. Nothing is made twice: whoever makes deliveries of missed events for an endpoint keeps others from
it, and looks under that lock for those that it has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from app.core import ids
from app.core.event.filters import like_patterns
from app.core.event.filters.reading import stored_filter
from app.core.problem import not_found
from app.core.wire.envelope import data_of
from app.core.wire.json_text import value_of
from app.database.spans import FIRST, LAST
from app.delivery import deliveries, missed

WINDOW = 1_000  # events that a piece looks at
PIECE_BYTES = 4 * 1024 * 1024  # of those whose data the endpoint's content filter is asked about: some 50 ms
BODIES = 50  # read at once: some 12 MB, if all of them are as large as an event may be
MOST_COUNTED = 500_000  # events that a dry run looks at
MOST_ASKED = missed.MOST_LOOKED_AT  # events that a dry run asks a content filter about
MOST_BYTES = missed.MOST_BYTES


@dataclass(frozen=True, slots=True)
class Span:
    """Which events an order is about, besides what the endpoint takes. since, until: of their creation, the latter
    excluded. event_type: a type, or a prefix such as `call.*`."""

    since: datetime | None = None
    until: datetime | None = None
    event_type: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A dry run's. more: whether there may be events that it has not looked at."""

    count: int
    enabled: bool
    more: bool


@dataclass(frozen=True, slots=True)
class Step:
    """What a piece has done. made: deliveries. cursor: the event up to which all have been looked at. at_end: whether
    none is left. blocked: whether nothing could be done now: no room, or somebody else has the endpoint."""

    made: int = 0
    cursor: str | None = None
    at_end: bool = False
    blocked: bool = False


def count(connection: Connection, endpoint_id: str, workspace: str | None, span: Span) -> Found:
    """How many events an endpoint has missed. workspace: whose it has to be, None for any. Raises Problem not_found."""
    key = {"endpoint": endpoint_id, "workspace": workspace}
    endpoint = connection.exec_driver_sql(FIND_ENDPOINT, key).one_or_none()
    if endpoint is None:
        raise not_found("endpoint")
    enabled = endpoint.status == "enabled"
    values = _values(endpoint, span)
    connection.exec_driver_sql(NO_JIT)
    if endpoint.content_filter is None:
        row = connection.exec_driver_sql(COUNT, {**values, "window": MOST_COUNTED}).one()
        return Found(row.missed, enabled, row.looked == MOST_COUNTED)
    rows = connection.exec_driver_sql(MISSED, {**values, "window": MOST_COUNTED, "most": MOST_ASKED + 1}).all()
    wanted, asked = _let_through(connection, endpoint, rows[:MOST_ASKED], MOST_BYTES)
    return Found(len(wanted), enabled, asked < len(rows))


def step(
    connection: Connection,
    endpoint_id: str,
    workspace: str | None,
    span: Span,
    *,
    cursor: str | None,
    most: int,
    window_seconds: int,
) -> Step:
    """Do the next piece: deliveries of at most `most` events behind the cursor."""
    key = {"endpoint": endpoint_id, "workspace": workspace}
    endpoint = connection.exec_driver_sql(LOCK_ENDPOINT, key).one_or_none()
    if endpoint is None:  # locked by somebody else, or deleted
        is_there = connection.exec_driver_sql(FIND_ENDPOINT, key).one_or_none() is not None
        return Step(cursor=cursor, at_end=not is_there, blocked=is_there)
    if endpoint.status != "enabled":
        return Step(cursor=cursor, at_end=True)
    if not most or not connection.exec_driver_sql(LOCK_MISSED, key).scalar():
        return Step(cursor=cursor, blocked=True)
    rows = connection.exec_driver_sql(LOOK_ON, {**_values(endpoint, span, cursor), "window": WINDOW}).all()
    fitting = [row for row in rows if row.fits]
    wanted, asked = _let_through(connection, endpoint, fitting, PIECE_BYTES)
    taken = wanted[:most]
    deliveries.add_missed(connection, endpoint.workspace_id, endpoint_id, taken, window_seconds)
    if len(taken) < len(wanted):
        last = taken[-1].id
    else:
        last = fitting[asked - 1].id if asked < len(fitting) else rows[-1].id if rows else cursor
    return Step(len(taken), last, at_end=len(rows) < WINDOW and (not rows or last == rows[-1].id))


def _let_through(
    connection: Connection, endpoint: Row[Any], rows: Sequence[Row[Any]], most_bytes: int
) -> tuple[list[Row[Any]], int]:
    """Those of some events that the endpoint's content filter lets through, and how many it has been asked about: fewer
    than all when their bodies are large together."""
    if endpoint.content_filter is None:
        return list(rows), len(rows)
    wanted = stored_filter(endpoint.content_filter)
    let_through: list[Row[Any]] = []
    read_bytes = asked = 0
    while asked < len(rows) and read_bytes < most_bytes:
        page = rows[asked : asked + BODIES]
        values = {"ids": [row.id for row in page], "from": page[0].created_at, "to": page[-1].created_at}
        bodies = {row.id: bytes(row.body) for row in connection.exec_driver_sql(READ_BODIES, values)}
        read_bytes += sum(map(len, bodies.values()))
        let_through += [row for row in page if row.id in bodies and wanted.holds(value_of(data_of(bodies[row.id])))]
        asked += len(page)
    return let_through, asked


def _values(endpoint: Row[Any], span: Span, cursor: str | None = None) -> dict[str, Any]:
    """The parameters of the statements below."""
    since = span.since or FIRST
    return {
        "workspace": endpoint.workspace_id,
        "endpoint": endpoint.id,
        "types": like_patterns(endpoint.event_types),
        "kinds": endpoint.stream_kinds,
        "channels": endpoint.channels,
        "asked_types": None if span.event_type is None else like_patterns([span.event_type]),
        "after": cursor or "",
        "since": since if cursor is None else max(since, ids.created_at_of(cursor)),
        "until": span.until or LAST,
    }


# An endpoint, whoever has locked it.
FIND_ENDPOINT = """
SELECT * FROM endpoints WHERE id = %(endpoint)s AND (%(workspace)s::text IS NULL OR workspace_id = %(workspace)s)
"""

# Keep an endpoint as it is, unless somebody has locked it: a person who pauses or deletes it, or recovers it now.
# Drains that note its health do not wait.
LOCK_ENDPOINT = f"{FIND_ENDPOINT} FOR KEY SHARE SKIP LOCKED"

# One order at a time makes deliveries of what an endpoint has missed.
LOCK_MISSED = "SELECT pg_try_advisory_xact_lock(hashtext('missed'), hashtext(%(endpoint)s))"

# The events of a span, oldest first, as far as a window reaches, and whether the endpoint has missed each: by the
# conditions of missed.py. A delivery is no older than its event, but clocks may differ a little.
WINDOW_OF_EVENTS = """
SELECT e.id, e.created_at, e.type, (
  (%(types)s::text[] IS NULL OR e.type LIKE ANY (%(types)s::text[]))
  AND (%(asked_types)s::text[] IS NULL OR e.type LIKE ANY (%(asked_types)s::text[]))
  AND (%(kinds)s::text[] IS NULL OR (SELECT s.kind FROM streams s WHERE s.id = e.stream_id) = ANY (%(kinds)s::text[]))
  AND (%(channels)s::text[] IS NULL OR e.channels && %(channels)s::text[])
  AND NOT EXISTS (
    SELECT FROM deliveries d WHERE d.event_id = e.id AND d.created_at >= e.created_at - interval '1 min'
      AND d.created_at <= now() + interval '1 min'  -- so that the partitions of the coming weeks are left out
      AND (d.endpoint_id = %(endpoint)s OR d.trigger = 'test')
  )
) IS TRUE AS fits
FROM (
  SELECT id, created_at, type, stream_id, channels FROM events
  WHERE workspace_id = %(workspace)s AND id > %(after)s AND created_at >= %(since)s AND created_at < %(until)s
  ORDER BY id LIMIT %(window)s
) AS e
"""

# A window that an order looks at.
LOOK_ON = f"{WINDOW_OF_EVENTS} ORDER BY e.id"

# A window of 100,000 looks so dear that PostgreSQL would compile its conditions, once for each week's partition: that
# takes longer than the count.
NO_JIT = "SELECT set_config('jit', 'off', true)"

# How many of a window were missed, and how far it reaches.
COUNT = f"SELECT count(*) AS looked, count(*) FILTER (WHERE fits) AS missed FROM ({WINDOW_OF_EVENTS}) AS w"

# Those of a window that were missed.
MISSED = f"SELECT * FROM ({WINDOW_OF_EVENTS}) AS w WHERE fits ORDER BY id LIMIT %(most)s"

# The bodies of some events.
READ_BODIES = """
SELECT id, body FROM events WHERE id = ANY (%(ids)s::text[]) AND created_at BETWEEN %(from)s AND %(to)s
"""
