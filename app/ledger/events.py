"""Reading accepted events back, as the canonical envelopes that were stored: the catch-up door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from app.core import ids
from app.core.event.filters import like_patterns
from app.core.problem import not_found

PAGE_BYTES = 4 * 2**20  # a page ends early when its events are large, so that an answer has a bound


@dataclass(frozen=True, slots=True)
class Logged:
    """An event as stored. body: its envelope, byte for byte."""

    id: str
    seq: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Some events in order, and whether there are more behind them."""

    events: Sequence[Logged]
    more: bool


def get_event(session: Session, workspace_id: str, event_id: str) -> Logged:
    """One event. Raises Problem not_found."""
    row = session.execute(
        text("SELECT id, seq, body FROM events WHERE id = :id AND created_at = :at AND workspace_id = :workspace"),
        {"id": event_id, "at": ids.created_at_of(event_id), "workspace": workspace_id},
    ).one_or_none()
    if row is None:
        raise not_found("event")
    return Logged(row.id, row.seq, bytes(row.body))


def events_of_stream(
    session: Session, workspace_id: str, kind: str, external_id: str, *, after_seq: int, type: str | None, limit: int
) -> Page:
    """Events of one stream behind a seq, in order. An absent stream has none."""
    return _page(
        session,
        # No event is older than its stream, so older partitions are not looked at.
        "e.stream_id = s.id AND e.seq > :after AND e.created_at >= s.created_at - interval '1 minute'"
        " AND s.workspace_id = :workspace AND s.kind = :kind AND s.external_id = :external",
        "e.seq",
        {"workspace": workspace_id, "kind": kind, "external": external_id, "after": after_seq},
        type,
        limit,
    )


def events_of_workspace(
    session: Session, workspace_id: str, *, kind: str | None, type: str | None, before: str | None, limit: int
) -> Page:
    """Events of a workspace, newest first, older than the id `before`."""
    where = "e.workspace_id = :workspace AND s.id = e.stream_id"
    values: dict[str, Any] = {"workspace": workspace_id}
    if kind is not None:
        where += " AND s.kind = :kind"
        values["kind"] = kind
    if before is not None:
        where += " AND e.id < :before AND e.created_at <= :before_at"
        values |= {"before": before, "before_at": ids.created_at_of(before)}
    return _page(session, where, "e.id DESC", values, type, limit)


def _page(session: Session, where: str, order: str, values: dict[str, Any], type: str | None, limit: int) -> Page:
    patterns = like_patterns([type] if type is not None else None)
    if patterns:
        where += " AND e.type LIKE :pattern"
        values["pattern"] = patterns[0]
    rows = session.execute(
        text(
            "SELECT id, seq, body, total FROM (SELECT p.*, count(*) OVER () AS total, row_number() OVER () AS place,"
            " sum(octet_length(p.body)) OVER (ROWS UNBOUNDED PRECEDING) - octet_length(p.body) AS bytes_before FROM ("
            f"SELECT e.id, e.seq, e.body FROM events e, streams s WHERE {where} ORDER BY {order} LIMIT :limit + 1) p"
            ") w WHERE place <= :limit AND bytes_before < :bytes ORDER BY place"
        ),
        {**values, "limit": limit, "bytes": PAGE_BYTES},
    ).all()
    events = [Logged(row.id, row.seq, bytes(row.body)) for row in rows]
    return Page(events, bool(rows) and rows[0].total > len(events))
