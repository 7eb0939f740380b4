"""Accepted events read back, as the canonical envelopes that were stored: how a consumer catches up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.core import ids
from app.core.event.filters import like_patterns
from app.core.problem import Problem, not_found

PAGE_BYTES = 4 * 2**20  # a page ends early when its events are large, so that an answer has a bound

# One event. Its id says when it was created, so that one partition is read.
GET_EVENT = """
SELECT id, seq, body FROM events
WHERE id = %(id)s AND created_at = %(created_at)s AND workspace_id = %(workspace)s
"""

# A page of events, as far as {conditions} let them in, by {order}: at most `limit` of them, and no more after the bytes
# are used up. total tells whether there is a next page: it counts one more event than the page may have.
GET_PAGE = """
SELECT id, seq, body, total FROM (
  SELECT candidate.*, count(*) OVER () AS total, row_number() OVER () AS place,
    sum(octet_length(body)) OVER (ROWS UNBOUNDED PRECEDING) - octet_length(body) AS bytes_before
  FROM (
    SELECT e.id, e.seq, e.body FROM events e JOIN streams s ON s.id = e.stream_id
    WHERE {conditions} ORDER BY {order} LIMIT %(limit)s + 1
  ) candidate
) counted
WHERE place <= %(limit)s AND bytes_before < %(bytes)s ORDER BY place
"""

# How far one stream has come.
LAST_SEQ = """
SELECT last_seq FROM streams WHERE workspace_id = %(workspace)s AND kind = %(kind)s AND external_id = %(stream)s
"""

# Conditions of GET_PAGE. No event is older than its stream, so partitions from before that are not read.
OF_STREAM = """s.workspace_id = %(workspace)s AND s.kind = %(kind)s AND s.external_id = %(stream)s
    AND e.seq > %(after_seq)s AND e.created_at >= s.created_at - interval '1 minute'"""
OF_WORKSPACE = "e.workspace_id = %(workspace)s"
OF_KIND = "s.kind = %(kind)s"
OF_TYPE = "e.type LIKE %(type)s"
BEFORE_EVENT = "e.id < %(before)s AND e.created_at <= %(before_at)s"


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as stored. body: its envelope, byte for byte."""

    id: str
    seq: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Some events in order, and whether more follow."""

    events: Sequence[StoredEvent]
    more: bool


def get_event(session: Session, workspace_id: str, event_id: str) -> StoredEvent:
    """One event. Raises Problem not_found."""
    values = {"id": event_id, "created_at": ids.created_at_of(event_id), "workspace": workspace_id}
    row = session.connection().exec_driver_sql(GET_EVENT, values).one_or_none()
    if row is None:
        raise not_found("event")
    return StoredEvent(row.id, row.seq, bytes(row.body))


def events_of_stream(
    session: Session, workspace_id: str, kind: str, external_id: str, *, after_seq: int, type: str | None, limit: int
) -> Page:
    """Events of one stream after a seq, in order. An absent stream has none.

    Raises Problem cursor_ahead when the stream has not come so far as after_seq.
    """
    values = {"workspace": workspace_id, "kind": kind, "stream": external_id, "after_seq": after_seq}
    page = _page(session, [OF_STREAM], "e.seq", values, type, limit)
    if after_seq > 0 and not page.events:
        head = session.connection().exec_driver_sql(LAST_SEQ, values).scalar_one_or_none()
        if head is not None and head < after_seq:
            text = f"The stream has come to seq {head} only; read on from there, or read it again."
            raise Problem("cursor_ahead", text, extra={"last_seq": head})
    return page


def events_of_workspace(
    session: Session, workspace_id: str, *, kind: str | None, type: str | None, before: str | None, limit: int
) -> Page:
    """Events of a workspace, newest first, older than the id `before`."""
    conditions = [OF_WORKSPACE]
    values: dict[str, Any] = {"workspace": workspace_id}
    if kind is not None:
        conditions.append(OF_KIND)
        values["kind"] = kind
    if before is not None:
        conditions.append(BEFORE_EVENT)
        values |= {"before": before, "before_at": ids.created_at_of(before)}
    return _page(session, conditions, "e.id DESC", values, type, limit)


def _page(
    session: Session, conditions: list[str], order: str, values: dict[str, Any], type: str | None, limit: int
) -> Page:
    patterns = like_patterns([type] if type is not None else None)
    if patterns:
        conditions, values = [*conditions, OF_TYPE], {**values, "type": patterns[0]}
    rows = (
        session.connection()
        .exec_driver_sql(
            GET_PAGE.format(conditions=" AND ".join(conditions), order=order),
            {**values, "limit": limit, "bytes": PAGE_BYTES},
        )
        .all()
    )
    events = [StoredEvent(row.id, row.seq, bytes(row.body)) for row in rows]
    return Page(events, bool(rows) and rows[0].total > len(events))
