"""What an endpoint has missed: events that its filters let through and that have no delivery to it.

Types, kinds and channels are compared by the database. A content filter is asked here, by the same code as when an
event is accepted, so that what is recovered is what would have been delivered; that means reading the events, of which
one call looks at a bounded part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from app.core.event.filters import like_patterns
from app.core.event.filters.content import ContentFilter
from app.core.event.filters.reading import stored_filter
from app.core.wire.envelope import data_of
from app.core.wire.json_text import value_of

MOST_LOOKED_AT = 20_000  # events whose data one call reads: a second or two, for which a person waits
MOST_BYTES = 64 * 1024 * 1024  # of them: to parse so much takes as long
PAGE_EVENTS = 50  # read at once: some 12 MB, if all of them are as large as an event may be


@dataclass(frozen=True, slots=True)
class Missed:
    """Events, oldest first. looked_until: the time of the last one that was looked at, when there may be more behind it
    that nobody has looked at yet; else None."""

    events: Sequence[Row[Any]]
    looked_until: datetime | None = None


def missed(
    connection: Connection,
    endpoint: Row[Any],
    *,
    since: datetime,
    until: datetime | None,
    most: int,
    most_looked_at: int = MOST_LOOKED_AT,
) -> Missed:
    """At most so many events of a span that an endpoint has missed. endpoint: its row of the table. most_looked_at: how
    many its content filter is asked about."""
    values = {
        "workspace": endpoint.workspace_id,
        "endpoint": endpoint.id,
        "since": since,
        "until": until,
        "types": like_patterns(endpoint.event_types),
        "kinds": endpoint.stream_kinds,
        "channels": endpoint.channels,
    }
    if most <= 0:
        return Missed([])
    if endpoint.content_filter is None:
        return Missed(connection.exec_driver_sql(_MISSED.format(more=""), {**values, "after": "", "most": most}).all())
    return _look(connection, values, stored_filter(endpoint.content_filter), most, most_looked_at)


def _look(
    connection: Connection, values: dict[str, Any], wanted: ContentFilter, most: int, most_looked_at: int
) -> Missed:
    found: list[Row[Any]] = []
    after, looked_at, read_bytes = "", 0, 0
    while True:
        page = connection.exec_driver_sql(
            _MISSED.format(more=", e.body"), {**values, "after": after, "most": PAGE_EVENTS}
        ).all()
        for row in page:
            body = bytes(row.body)
            read_bytes += len(body)
            if wanted.holds(value_of(data_of(body))):
                found.append(row)
                if len(found) == most:
                    return Missed(found)
        if len(page) < PAGE_EVENTS:
            return Missed(found)
        after, looked_at = page[-1].id, looked_at + len(page)
        if looked_at >= most_looked_at or read_bytes >= MOST_BYTES:
            return Missed(found, page[-1].created_at)


# Find the events in a span that an endpoint takes by type and kind and that have no delivery to it, oldest first, those
# behind an id. Tests are nobody's to miss.
_MISSED = """
SELECT e.id, e.created_at, e.type{more} FROM events e JOIN streams s ON s.id = e.stream_id
WHERE e.workspace_id = %(workspace)s AND e.created_at >= %(since)s AND e.id > %(after)s
  AND (%(until)s::timestamptz IS NULL OR e.created_at < %(until)s)
  AND (%(types)s::text[] IS NULL OR e.type LIKE ANY (%(types)s::text[]))
  AND (%(kinds)s::text[] IS NULL OR s.kind = ANY (%(kinds)s::text[]))
  AND (%(channels)s::text[] IS NULL OR e.channels && %(channels)s::text[])
  AND NOT EXISTS (
    SELECT FROM deliveries d
    WHERE d.event_id = e.id AND d.created_at >= %(since)s AND (d.endpoint_id = %(endpoint)s OR d.trigger = 'test')
  )
ORDER BY e.id LIMIT %(most)s
"""
