"""Accepted events read back, as the canonical envelopes that were stored: how a consumer catches up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from app.core import ids
from app.core.event.filters import like_patterns
from app.core.problem import Problem, not_found
from app.database.spans import within

WINDOW = 10_000  # events that one page looks at, where a filter has no index: some tens of milliseconds
PAGE_BYTES = 4 * 2**20  # a page ends early when its events are large, so that an answer has a bound

# One event. Its id says when it was created, so that one partition is read.
GET_EVENT = """
SELECT id, seq, body FROM events
WHERE id = %(id)s AND created_at = %(created_at)s AND workspace_id = %(workspace)s
"""

# A page of events by {order}, as far as {rest} lets them in of the window that begins at {narrow}: at most `limit` of
# them, and no more after the bytes are used up. total tells whether there is a next page: it counts one more event than
# the page may have.
GET_PAGE = """
SELECT id, seq, body, total FROM (
  SELECT candidate.*, count(*) OVER () AS total, row_number() OVER () AS place,
    sum(octet_length(body)) OVER (ROWS UNBOUNDED PRECEDING) - octet_length(body) AS bytes_before
  FROM (
    SELECT e.id, e.seq, e.body FROM (
      SELECT e.* FROM events e {join} WHERE {narrow} ORDER BY {order} LIMIT %(window)s
    ) AS e WHERE {rest} ORDER BY {order} LIMIT %(limit)s + 1
  ) candidate
) counted
WHERE place <= %(limit)s AND bytes_before < %(bytes)s ORDER BY place
"""

# How far a window reaches: how many events it has, and the last of them.
REACH = """
SELECT count(*) AS looked, {last} FROM (
  SELECT e.id, e.seq, e.created_at FROM events e {join} WHERE {narrow} ORDER BY {order} LIMIT %(window)s
) AS w
"""

LAST_BY_SEQ = "max(seq)::text AS mark, max(created_at) AS at"
LAST_BY_ID = "min(id) AS mark, min(created_at) AS at"

# How far one stream has come.
LAST_SEQ = """
SELECT last_seq FROM streams WHERE workspace_id = %(workspace)s AND kind = %(kind)s AND external_id = %(stream)s
"""

# Conditions of GET_PAGE. No event is older than its stream, so partitions from before that are not read.
TO_STREAM = "JOIN streams s ON s.id = e.stream_id"
OF_STREAM = """s.workspace_id = %(workspace)s AND s.kind = %(kind)s AND s.external_id = %(stream)s
    AND e.seq > %(after_seq)s AND e.created_at >= s.created_at - interval '1 minute'"""
OF_WORKSPACE = "e.workspace_id = %(workspace)s"
OF_KIND = "(SELECT s.kind FROM streams s WHERE s.id = e.stream_id) = %(kind)s"
OF_TYPE = "e.type LIKE %(type)s"
SINCE, UNTIL = "e.created_at >= %(since)s", "e.created_at < %(until)s"


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as stored. body: its envelope, byte for byte."""

    id: str
    seq: int
    body: bytes


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events in order. cursor: the seq, or the id, of the last one, None at the end. searched_to: how far the page
    has looked, where it ended before it was full."""

    events: Sequence[StoredEvent]
    cursor: str | None
    searched_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """How a page is found: the window, its order, which event is the last of it, and what is let through."""

    narrow: list[str]
    rest: list[str]
    order: str
    last: str
    join: str = ""


def get_event(session: Session, workspace_id: str, event_id: str) -> StoredEvent:
    """One event. Raises Problem not_found."""
    values = {"id": event_id, "created_at": ids.created_at_of(event_id), "workspace": workspace_id}
    row = session.connection().exec_driver_sql(GET_EVENT, values).one_or_none()
    if row is None:
        raise not_found("event")
    return StoredEvent(row.id, row.seq, bytes(row.body))


def events_of_stream(
    session: Session,
    workspace_id: str,
    kind: str,
    external_id: str,
    *,
    after_seq: int,
    type: str | None,
    limit: int,
    since: datetime | None = None,
    until: datetime | None = None,
) -> EventPage:
    """Events of one stream after a seq, in order. An absent stream has none. since, until: of their acceptance, the
    latter excluded.

    Raises Problem cursor_ahead when the stream has not come so far as after_seq.
    """
    values = {"workspace": workspace_id, "kind": kind, "stream": external_id, "after_seq": after_seq}
    asked = _Asked([OF_STREAM], [], "e.seq", LAST_BY_SEQ, TO_STREAM)
    for name, moment, condition in (("since", since, SINCE), ("until", until, UNTIL)):
        if moment is not None:
            values[name] = moment
            asked.narrow.append(condition)
    page = _page(session, asked, values, type, limit)
    if after_seq > 0 and not page.events:
        head = session.connection().exec_driver_sql(LAST_SEQ, values).scalar_one_or_none()
        if head is not None and head < after_seq:
            text = f"The stream has come to seq {head} only; read on from there, or read it again."
            raise Problem("cursor_ahead", text, extra={"last_seq": head})
    return page


def events_of_workspace(
    session: Session,
    workspace_id: str | None,
    *,
    kind: str | None,
    type: str | None,
    before: str | None,
    limit: int,
    since: datetime | None = None,
    until: datetime | None = None,
) -> EventPage:
    """Events of a workspace (None: of all), newest first, older than the id `before`. since, until: of their
    acceptance, the latter excluded."""
    values: dict[str, Any] = {"workspace": workspace_id, "kind": kind}
    narrow = within("e", ids.EVENT, values, since=since, until=until, before=before)
    if workspace_id is not None:
        narrow.append(OF_WORKSPACE)
    asked = _Asked(narrow, [] if kind is None else [OF_KIND], "e.id DESC", LAST_BY_ID)
    return _page(session, asked, values, type, limit)


def _page(session: Session, asked: _Asked, values: dict[str, Any], type: str | None, limit: int) -> EventPage:
    patterns, rest = like_patterns([type] if type is not None else None), asked.rest
    if patterns:
        rest, values = [*rest, OF_TYPE], {**values, "type": patterns[0]}
    values = {**values, "limit": limit, "bytes": PAGE_BYTES, "window": WINDOW}
    parts = {"join": asked.join, "order": asked.order, "narrow": " AND ".join(asked.narrow) or "true"}
    connection = session.connection()
    statement = GET_PAGE.format(**parts, rest=" AND ".join(rest) or "true")
    rows = connection.exec_driver_sql(statement, values).all()
    events = [StoredEvent(row.id, row.seq, bytes(row.body)) for row in rows]
    if rows and rows[0].total > len(events):
        return EventPage(events, str(rows[-1].seq) if asked.join else rows[-1].id)
    if rest:  # nothing is left of this window; what comes behind it has not been looked at
        reach = connection.exec_driver_sql(REACH.format(**parts, last=asked.last), values).one()
        if reach.looked >= WINDOW:
            return EventPage(events, reach.mark, reach.at)
    return EventPage(events, None)
