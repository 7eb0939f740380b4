"""Lists for people, across workspaces: events with what became of them, endpoints, streams, customers; and what an id
that somebody has found in a log or a mail is the id of.

Each list is a page in the order of an index, with a window as in search.py where a filter has no index.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from app.core import ids
from app.core.event.filters import like_patterns
from app.database.spans import within

WINDOW = 10_000  # rows that one page of a list looks at
MOST_FOUND = 20  # things that one name may mean

# A page of events, newest first, as far as {narrow} and {rest} let them in; bodies are read for one event alone.
EVENTS = """
SELECT v.id, v.created_at, v.workspace_id, w.name AS workspace_name, v.type, v.seq, s.kind AS stream_kind,
  s.external_id AS stream_id
FROM (
  SELECT * FROM (
    SELECT id, created_at, workspace_id, type, seq, stream_id FROM events v
    WHERE {narrow} ORDER BY v.id DESC LIMIT %(window)s
  ) AS v WHERE {rest} ORDER BY v.id DESC LIMIT %(limit)s
) AS v JOIN streams s ON s.id = v.stream_id JOIN workspaces w ON w.id = v.workspace_id ORDER BY v.id DESC
"""

# What became of some events: how many deliveries of each are in which state.
FATES = """
SELECT d.event_id, d.status, count(*) AS deliveries FROM deliveries d
WHERE d.event_id = ANY (%(events)s::text[]) AND d.created_at >= %(oldest)s GROUP BY 1, 2
"""

# One event with its stream and its body. Its id names its partition.
EVENT = """
SELECT v.id, v.created_at, v.occurred_at, v.workspace_id, w.name AS workspace_name, v.type, v.seq, v.body,
  v.channels, s.kind AS stream_kind, s.external_id AS stream_id
FROM events v JOIN streams s ON s.id = v.stream_id JOIN workspaces w ON w.id = v.workspace_id
WHERE v.id = %(id)s AND v.created_at = %(at)s
"""

# A page of endpoints, newest first.
ENDPOINTS = """
SELECT e.id, e.url, e.description, e.status, e.disabled_reason, e.disabled_at, e.failing_since, e.consecutive_failures,
  e.last_outcome, e.event_types, e.stream_kinds, e.workspace_id, w.name AS workspace_name, e.created_at, e.updated_at,
  e.rate_limit, e.signing, e.uid, e.metadata, e.channels, e.content_filter, e.timeout_seconds, e.retry_delays_seconds,
  e.feed_cursor, e.ordering AS "order", e.order_patience_seconds,
  e.batch_max_events, e.batch_max_wait_ms,
  CASE WHEN e.rate_limit IS NULL THEN NULL ELSE to_timestamp(e.rate_tat) END AS rate_limited_until
FROM endpoints e JOIN workspaces w ON w.id = e.workspace_id
WHERE {conditions} ORDER BY e.id DESC LIMIT %(limit)s
"""

# A page of streams, newest first.
STREAMS = """
SELECT s.id, s.workspace_id, w.name AS workspace_name, s.kind, s.external_id, s.last_seq, s.created_at, s.ended_at,
  s.attributes
FROM (SELECT * FROM (SELECT * FROM streams s WHERE {narrow} ORDER BY s.id DESC LIMIT %(window)s) AS s
  WHERE {rest} ORDER BY s.id DESC LIMIT %(limit)s) AS s
JOIN workspaces w ON w.id = s.workspace_id ORDER BY s.id DESC
"""

# A stream's last events, newest first.
LAST_EVENTS = """
SELECT e.id, e.seq, e.type, e.created_at, e.body FROM events e JOIN streams s ON s.id = e.stream_id
WHERE e.stream_id = %(stream)s AND e.created_at >= s.created_at - interval '1 min' ORDER BY e.seq DESC LIMIT %(limit)s
"""

# A page of customers by name.
WORKSPACES = """
SELECT w.id, w.uid, w.name, w.created_at,
  (SELECT count(*) FROM endpoints e WHERE e.workspace_id = w.id) AS endpoints,
  (SELECT count(*) FROM endpoints e WHERE e.workspace_id = w.id AND e.failing_since IS NOT NULL
    AND e.status = 'enabled') AS failing
FROM workspaces w WHERE {conditions} ORDER BY w.name, w.id LIMIT %(limit)s OFFSET %(offset)s
"""

# Which delivery an attempt belongs to.
DELIVERY_OF_ATTEMPT = "SELECT delivery_id FROM attempts WHERE id = %(id)s AND created_at = %(at)s"

# The streams of a name, newest first.
STREAMS_NAMED = f"""
SELECT s.workspace_id, s.kind, s.external_id FROM streams s WHERE s.external_id = %(text)s
ORDER BY s.id DESC LIMIT {MOST_FOUND}
"""

# The customers that are called so, or whose uid it is.
WORKSPACES_NAMED = f"""
SELECT id FROM workspaces WHERE id = %(text)s OR uid = %(text)s OR lower(name) = lower(%(text)s) LIMIT {MOST_FOUND}
"""


@dataclass(frozen=True, slots=True)
class EventFilters:
    """What the list of events is narrowed by. event_type: a type, or a prefix such as `call.*`."""

    workspace: str | None = None
    event_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def events_page(
    connection: Connection, filters: EventFilters, *, limit: int, before: str | None = None
) -> Sequence[Row[Any]]:
    """Events, newest first, at most `limit`, of the WINDOW that begins before the id `before`."""
    values: dict[str, Any] = {"window": WINDOW, "limit": limit, "workspace": filters.workspace}
    narrow, rest = ["true"], ["true"]
    if filters.workspace is not None:
        narrow.append("v.workspace_id = %(workspace)s")
    if filters.event_type is not None:
        values["types"] = like_patterns([filters.event_type])
        rest.append("v.type LIKE ANY (%(types)s::text[])")
    narrow += within("v", ids.EVENT, values, since=filters.since, until=filters.until, before=before)
    statement = EVENTS.format(narrow=" AND ".join(narrow), rest=" AND ".join(rest))
    return connection.exec_driver_sql(statement, values).all()


def fates(connection: Connection, events: Sequence[Row[Any]]) -> dict[str, dict[str, int]]:
    """By event id: how many of its deliveries are in which state."""
    found: dict[str, dict[str, int]] = {row.id: {} for row in events}
    if events:
        values = {"events": list(found), "oldest": min(row.created_at for row in events)}
        for row in connection.exec_driver_sql(FATES, values):
            found[row.event_id][row.status] = row.deliveries
    return found


def get_event(connection: Connection, event_id: str) -> Row[Any] | None:
    """One event with its stream, its customer and its body."""
    values = {"id": event_id, "at": ids.created_at_of(event_id)}
    return connection.exec_driver_sql(EVENT, values).one_or_none()


def endpoints_page(
    connection: Connection,
    *,
    workspace: str | None = None,
    state: str | None = None,
    id: str | None = None,
    limit: int,
    before: str | None = None,
) -> Sequence[Row[Any]]:
    """Endpoints, newest first, at most `limit`, older than the id `before`. state: enabled, disabled or failing."""
    conditions = ["true"]
    if workspace is not None:
        conditions.append("e.workspace_id = %(workspace)s")
    if state == "failing":
        conditions.append("e.failing_since IS NOT NULL AND e.status = 'enabled'")
    elif state is not None:
        conditions.append("e.status = %(state)s")
    if id is not None:
        conditions.append("e.id = %(id)s")
    if before is not None:
        conditions.append("e.id < %(before)s")
    values = {"workspace": workspace, "state": state, "id": id, "before": before, "limit": limit}
    return connection.exec_driver_sql(ENDPOINTS.format(conditions=" AND ".join(conditions)), values).all()


def endpoints_of(connection: Connection, endpoint_ids: Sequence[str]) -> Sequence[Row[Any]]:
    """These endpoints, newest first; what is deleted is left out."""
    values = {"ids": list(endpoint_ids), "limit": len(endpoint_ids)}
    return connection.exec_driver_sql(ENDPOINTS.format(conditions="e.id = ANY (%(ids)s::text[])"), values).all()


def streams_page(
    connection: Connection,
    *,
    workspace: str | None = None,
    kind: str | None = None,
    external_id: str | None = None,
    state: str | None = None,
    limit: int,
    before: int | None = None,
) -> Sequence[Row[Any]]:
    """Streams, newest first, at most `limit`, older than the row id `before`. state: open or ended."""
    narrow, rest = ["true"], ["true"]
    if workspace is not None:
        narrow.append("s.workspace_id = %(workspace)s")
    if external_id is not None:
        narrow.append("s.external_id = %(external_id)s")
    if kind is not None:
        rest.append("s.kind = %(kind)s")
    if state is not None:
        rest.append("s.ended_at IS NULL" if state == "open" else "s.ended_at IS NOT NULL")
    if before is not None:
        narrow.append("s.id < %(before)s")
    values = {"workspace": workspace, "kind": kind, "external_id": external_id, "before": before}
    statement = STREAMS.format(narrow=" AND ".join(narrow), rest=" AND ".join(rest))
    return connection.exec_driver_sql(statement, {**values, "limit": limit, "window": WINDOW}).all()


def last_events(connection: Connection, stream: int, *, limit: int) -> Sequence[Row[Any]]:
    """A stream's last events, newest first. stream: its row id."""
    return connection.exec_driver_sql(LAST_EVENTS, {"stream": stream, "limit": limit}).all()


def workspaces_page(
    connection: Connection, *, text: str | None = None, id: str | None = None, limit: int, offset: int = 0
) -> Sequence[Row[Any]]:
    """Customers by name, each with how many endpoints it has and how many of them fail. text: part of name or uid."""
    conditions = ["true"]
    if text is not None:
        conditions.append("(w.name ILIKE %(pattern)s OR w.uid ILIKE %(pattern)s OR w.id = %(text)s)")
    if id is not None:
        conditions.append("w.id = %(id)s")
    escaped = (text or "").replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    values = {"pattern": f"%{escaped}%", "text": text, "id": id, "limit": limit, "offset": offset}
    return connection.exec_driver_sql(WORKSPACES.format(conditions=" AND ".join(conditions)), values).all()


def find(connection: Connection, text: str) -> list[tuple[str, ...]]:
    """What an id or a name may mean: ("deliveries", its id) and so on, ("streams", workspace, kind, its id).

    An id of ours says by itself what it is the id of; whether that exists is not asked.
    """
    if ids.is_id(ids.ATTEMPT, text):
        values = {"id": text, "at": ids.created_at_of(text)}
        found = connection.exec_driver_sql(DELIVERY_OF_ATTEMPT, values).scalars()
        return [("deliveries", id) for id in found]
    for prefix, noun in _NOUNS.items():
        if ids.is_id(prefix, text):
            return [(noun, text)]
    streams = connection.exec_driver_sql(STREAMS_NAMED, {"text": text}).all()
    workspaces = connection.exec_driver_sql(WORKSPACES_NAMED, {"text": text}).scalars()
    return [*(("workspaces", id) for id in workspaces), *(("streams", *row) for row in streams)]


_NOUNS = {
    ids.EVENT: "events",
    ids.DELIVERY: "deliveries",
    ids.ENDPOINT: "endpoints",
    ids.WORKSPACE: "workspaces",
}
