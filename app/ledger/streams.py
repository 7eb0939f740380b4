"""Streams: opened, read and listed. (The ledger ends them.)"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.accounts.callers import Presented, refusal_of
from app.core.event import names
from app.core.event.acceptance import Subject, stream_locked, too_many_streams
from app.core.problem import Problem, invalid, not_found
from app.core.wire.envelope import rfc3339
from app.database import faults
from app.database.calls import BOOL, FLOAT8, INT4, INT8, JSONB, TEXT, Prepared
from app.database.connection import Database
from app.database.tables import Stream
from app.ledger import rows, statements
from app.settings import Settings

MAX_ATTRIBUTES_BYTES = 16 * 1024  # they are read with every opening of the stream: facts about it, not documents

# The stream that a subscriber asks for.
_FIND_STREAM = """
SELECT id, last_seq, ended_at IS NOT NULL AS ended, attributes, late_came,
  greatest(extract(epoch FROM clock_timestamp() - ended_at), 0)::float8 AS ended_seconds,
  (SELECT coalesce(max(epochs.id), 0) FROM epochs) AS history
FROM streams
WHERE workspace_id = {} AND kind = {} AND external_id = {}
"""
FIND_STREAM = _FIND_STREAM.format("%(workspace)s", "%(kind)s", "%(id)s")
SEEK_STREAM = Prepared(
    b"seek_stream_1",
    _FIND_STREAM.format("$1", "$2", "$3"),
    takes=(TEXT, TEXT, TEXT),
    gives={
        "id": INT8,
        "last_seq": INT8,
        "ended": BOOL,
        "attributes": JSONB,
        "late_came": BOOL,
        "ended_seconds": FLOAT8,
        "history": INT4,
    },
)


@dataclass(frozen=True, slots=True)
class StreamRow:
    """A stream as a subscriber's request found it. late_came: whether an event that may follow its end has come;
    ended_seconds: how long ago it ended, if it has; epoch: of the log's history."""

    id: int
    workspace_id: str
    kind: str
    external_id: str
    last_seq: int
    ended: bool
    attributes: Mapping[str, Any]
    late_came: bool = False
    ended_seconds: float = 0.0
    epoch: int = 0

    def over(self, linger_seconds: int) -> bool:
        """Whether it has ended and is shown no longer, by a route that stays open for so many seconds, or until an
        event that may follow the end has come."""
        return self.ended and (self.late_came or self.ended_seconds >= linger_seconds)


def open_stream(
    session: Session,
    workspace_id: str,
    kind: str,
    external_id: str,
    attributes: dict[str, Any] | None,
    settings: Settings,
) -> tuple[dict[str, Any], bool]:
    """Make the stream, or set the attributes of an existing one; (the stream object, whether it is new).

    attributes None leaves them as they are. Raises Problem: a limit, the stream has ended or is one of the workspace's
    own, or somebody holds it locked.
    """
    require_opened_by_producers(kind)
    _check_attributes(attributes)
    subject = (workspace_id, kind, external_id)
    try:
        stream, created = _locked_stream(session, subject, settings.max_open_streams)
    except DBAPIError as error:
        if faults.is_lock_timeout(error):
            raise stream_locked() from None
        raise
    if attributes is not None and attributes != stream.attributes:
        if stream.ended_at is not None:
            raise Problem("stream_ended", "The stream has ended; its attributes can no longer be changed.")
        stream.attributes = attributes
        session.flush()
    return stream_object(stream), created


def require_opened_by_producers(kind: str) -> None:
    """Raises Problem invalid for a workspace's own streams: Twofold makes them, and they do not end."""
    if kind == names.OWN_KIND:
        raise invalid("kind", names.OWN_KIND_HINT)


def get_stream(session: Session, workspace_id: str, kind: str, external_id: str) -> dict[str, Any]:
    """The stream object. Raises Problem not_found."""
    stream = session.scalar(_of_subject(workspace_id, kind, external_id))
    if stream is None:
        raise not_found("stream")
    return stream_object(stream)


def read_stream(
    database: Database, presented: Presented, workspace_id: str, kind: str, external_id: str
) -> dict[str, Any]:
    """The stream object, in one round trip with the judgement of the caller. Raises Problem."""
    (row,) = database.read(
        statements.READ_STREAM, presented.digest, workspace_id, presented.reference, kind, external_id
    )
    if row.verdict:
        raise refusal_of(row.verdict, "subscribe")
    if row.kind is None:
        raise not_found("stream")
    return stream_object(row._replace(attributes=json.loads(row.attributes)))


def list_streams(
    session: Session, workspace_id: str, *, kind: str | None, status: str | None, before: int | None, limit: int
) -> list[Stream]:
    """Up to `limit` streams, newest first, with an internal id below `before`."""
    query = select(Stream).where(Stream.workspace_id == workspace_id)
    if kind is not None:
        query = query.where(Stream.kind == kind)
    if status is not None:
        query = query.where(Stream.ended_at.is_(None) if status == "open" else Stream.ended_at.is_not(None))
    if before is not None:
        query = query.where(Stream.id < before)
    return list(session.scalars(query.order_by(Stream.id.desc()).limit(limit)))


def stream_object(stream: Any) -> dict[str, Any]:
    """A stream as the API shows it. stream: a Stream, or a row with its columns."""
    return {
        "kind": stream.kind,
        "id": stream.external_id,
        "status": "open" if stream.ended_at is None else "ended",
        "attributes": stream.attributes,
        "last_seq": stream.last_seq,
        "created_at": rfc3339(stream.created_at),
        "ended_at": rfc3339(stream.ended_at) if stream.ended_at else None,
    }


def find_stream(connection: Connection, workspace_id: str, kind: str, external_id: str) -> StreamRow | None:
    """The stream for a subscriber, or None."""
    row = connection.exec_driver_sql(
        FIND_STREAM, {"workspace": workspace_id, "kind": kind, "id": external_id}
    ).one_or_none()
    return None if row is None else _found(row, workspace_id, kind, external_id)


def seek_stream(database: Database, workspace_id: str, kind: str, external_id: str) -> StreamRow | None:
    """The same in one round trip. Raises DBAPIError, TimeoutError, Unanswered."""
    rows = database.read(SEEK_STREAM, workspace_id, kind, external_id)
    return _found(rows[0], workspace_id, kind, external_id) if rows else None


def _found(row: Any, workspace_id: str, kind: str, external_id: str) -> StreamRow:
    return StreamRow(
        row.id,
        workspace_id,
        kind,
        external_id,
        row.last_seq,
        row.ended,
        row.attributes,
        row.late_came,
        row.ended_seconds,
        row.history,
    )


def _locked_stream(session: Session, subject: Subject, max_open: int) -> tuple[Stream, bool]:
    """The stream, locked, and whether it had to be made."""
    rows.limit_lock_waits(session.connection())
    locked = _of_subject(*subject).with_for_update(key_share=True)
    stream = session.scalar(locked)
    if stream is not None:
        return stream, False
    if rows.make_streams(session.connection(), [subject], max_open):
        raise too_many_streams(max_open)
    stream = session.scalar(locked)
    if stream is None:
        raise Problem("conflict", "The stream was deleted while it was being opened; repeat the request.")
    return stream, True


def _of_subject(workspace_id: str, kind: str, external_id: str) -> Select[Stream]:
    return select(Stream).where(
        Stream.workspace_id == workspace_id, Stream.kind == kind, Stream.external_id == external_id
    )


def _check_attributes(attributes: dict[str, Any] | None) -> None:
    if attributes is not None and len(json.dumps(attributes)) > MAX_ATTRIBUTES_BYTES:
        raise Problem("too_large", f"The attributes are larger than {MAX_ATTRIBUTES_BYTES} bytes; shorten them.")
