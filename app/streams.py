"""Streams: open, read, list; their tokens; and the reads that the live side follows them by."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, select, text
from sqlalchemy.orm import Session

from app.core import ids
from app.core.envelope import Event, rfc3339
from app.core.problem import Problem, not_found
from app.models import Stream, StreamToken
from app.settings import Settings

PAGE_EVENTS = 200  # events in one page of a replay
PAGE_BYTES = 64 * 1024  # and bytes: a thousand subscribers that reconnect at once then hold 64 MiB together
MAX_ATTRIBUTES_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """A stream as a subscriber's request found it."""

    id: int
    workspace_id: str
    kind: str
    external_id: str
    last_seq: int
    ended: bool
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """How far a stream has come: seq of its last committed event, and whether it has ended."""

    last_seq: int
    ended: bool


def open_stream(
    session: Session,
    workspace_id: str,
    kind: str,
    external_id: str,
    attributes: dict[str, Any] | None,
    settings: Settings,
) -> tuple[dict[str, Any], bool]:
    """Make the stream, or set the attributes of an existing one; (the stream object, whether it is new).

    attributes None leaves them as they are. Raises Problem: a limit, or the stream has ended.
    """
    _check_attributes(attributes)
    stream = _locked(session, workspace_id, kind, external_id)
    created = stream is None
    if stream is None:
        _check_open_streams(session, workspace_id, settings.max_open_streams)
        session.execute(
            text(
                "INSERT INTO streams (workspace_id, kind, external_id, created_at)"
                " VALUES (:w, :k, :x, date_trunc('milliseconds', clock_timestamp())) ON CONFLICT DO NOTHING"
            ),
            {"w": workspace_id, "k": kind, "x": external_id},
        )
        stream = _locked(session, workspace_id, kind, external_id)
        if stream is None:
            raise Problem("conflict", "The stream was removed while it was made; repeat the request.")
    if attributes is not None and attributes != stream.attributes:
        if stream.ended_at is not None:
            raise Problem("stream_ended", "The stream has ended; its attributes stay as they are.")
        stream.attributes = attributes
        session.flush()
    return stream_object(stream), created


def get_stream(session: Session, workspace_id: str, kind: str, external_id: str) -> dict[str, Any]:
    """The stream object. Raises Problem not_found."""
    stream = session.scalar(
        select(Stream).where(
            Stream.workspace_id == workspace_id, Stream.kind == kind, Stream.external_id == external_id
        )
    )
    if stream is None:
        raise not_found("stream")
    return stream_object(stream)


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


def stream_object(stream: Stream) -> dict[str, Any]:
    """A stream as the API shows it."""
    return {
        "kind": stream.kind,
        "id": stream.external_id,
        "status": "open" if stream.ended_at is None else "ended",
        "attributes": stream.attributes,
        "last_seq": stream.last_seq,
        "created_at": rfc3339(stream.created_at),
        "ended_at": rfc3339(stream.ended_at) if stream.ended_at else None,
    }


def find(connection: Connection, workspace_id: str, kind: str, external_id: str) -> Found | None:
    """The stream for a subscriber, or None."""
    row = connection.exec_driver_sql(
        "SELECT id, last_seq, ended_at IS NOT NULL AS ended, attributes FROM streams"
        " WHERE workspace_id = %(w)s AND kind = %(k)s AND external_id = %(x)s",
        {"w": workspace_id, "k": kind, "x": external_id},
    ).one_or_none()
    return (
        None if row is None else Found(row.id, workspace_id, kind, external_id, row.last_seq, row.ended, row.attributes)
    )


def heads(connection: Connection, streams: Sequence[int]) -> dict[int, Head]:
    """How far each of these streams has come; absent ones are left out."""
    rows = connection.exec_driver_sql(
        "SELECT id, last_seq, ended_at IS NOT NULL AS ended FROM streams WHERE id = ANY(%(ids)s)",
        {"ids": list(streams)},
    )
    return {row.id: Head(row.last_seq, row.ended) for row in rows}


def events_after(connection: Connection, after: Mapping[int, int]) -> dict[int, list[Event]]:
    """For each stream id, the page of events behind a seq, in order: at most PAGE_EVENTS and about PAGE_BYTES."""
    rows = connection.exec_driver_sql(
        "SELECT u.s AS stream, e.id, e.seq, e.type, e.occurred_at, e.body"
        " FROM unnest(%(s)s::bigint[], %(q)s::bigint[]) AS u (s, q) JOIN streams t ON t.id = u.s"
        " CROSS JOIN LATERAL ("
        "   SELECT * FROM ("
        "     SELECT p.*, sum(octet_length(p.body)) OVER (ORDER BY p.seq) - octet_length(p.body) AS before_it FROM ("
        "       SELECT id, seq, type, occurred_at, body FROM events"
        # No event is older than its stream, so older partitions are not looked at.
        "       WHERE stream_id = u.s AND seq > u.q AND created_at >= t.created_at - interval '1 minute'"
        f"       ORDER BY seq LIMIT {PAGE_EVENTS}) p) w WHERE before_it < {PAGE_BYTES}) e ORDER BY u.s, e.seq",
        {"s": list(after), "q": list(after.values())},
    )
    found: dict[int, list[Event]] = {}
    for row in rows:
        found.setdefault(row.stream, []).append(_event(row))
    return found


def last_event_of_type(connection: Connection, stream: int, type: str) -> Event | None:
    """The newest event of a type: what an ended stream's last status was."""
    row = connection.exec_driver_sql(
        "SELECT id, seq, type, occurred_at, body FROM events WHERE stream_id = %(s)s AND type = %(t)s"
        " ORDER BY seq DESC LIMIT 1",
        {"s": stream, "t": type},
    ).one_or_none()
    return None if row is None else _event(row)


def types_after(connection: Connection, stream: int, seq: int) -> set[str]:
    """The types of the events behind a seq."""
    rows = connection.exec_driver_sql(
        "SELECT DISTINCT type FROM events WHERE stream_id = %(s)s AND seq > %(q)s", {"s": stream, "q": seq}
    )
    return {row.type for row in rows}


def seq_before(connection: Connection, stream: int, moment_seconds_ago: int) -> int:
    """The seq behind which everything is younger than so many seconds (0: everything is).

    Within a stream the seq order is the order of `created_at`.
    """
    seq: int = connection.exec_driver_sql(
        "SELECT coalesce(max(seq), 0) FROM events WHERE stream_id = %(s)s"
        " AND created_at < clock_timestamp() - make_interval(secs => %(a)s)",
        {"s": stream, "a": moment_seconds_ago},
    ).scalar_one()
    return seq


def make_token(session: Session, found: Found, key_id: str, life_seconds: int) -> StreamToken:
    """A row for a new token of this stream: the signed text is made from it by the caller."""
    now = ids.truncate(datetime.now(UTC))
    token = StreamToken(
        id=ids.make(ids.TOKEN, now, os.urandom(ids.RANDOM_BYTES)),
        stream_id=found.id,
        workspace_id=found.workspace_id,
        key_id=key_id,
        created_at=now,
        # Whole seconds, rounded up: a JWT's exp has no fractions.
        expires_at=(now + timedelta(seconds=life_seconds, microseconds=999_999)).replace(microsecond=0),
    )
    session.add(token)
    return token


def list_tokens(session: Session, workspace_id: str, kind: str, external_id: str, *, limit: int) -> list[StreamToken]:
    """The tokens of a stream that are neither expired nor revoked, newest first."""
    query = (
        select(StreamToken)
        .join(Stream, Stream.id == StreamToken.stream_id)
        .where(Stream.workspace_id == workspace_id, Stream.kind == kind, Stream.external_id == external_id)
        .where(StreamToken.revoked_at.is_(None), StreamToken.expires_at > datetime.now(UTC))
    )
    return list(session.scalars(query.order_by(StreamToken.id.desc()).limit(limit)))


def revoke_token(session: Session, workspace_id: str, kind: str, external_id: str, token_id: str) -> None:
    """Refuse a token of this stream from now on; streams it opened close within seconds. Raises Problem not_found."""
    token = session.scalar(
        select(StreamToken)
        .join(Stream, Stream.id == StreamToken.stream_id)
        .where(StreamToken.id == token_id, Stream.workspace_id == workspace_id)
        .where(Stream.kind == kind, Stream.external_id == external_id)
    )
    if token is None:
        raise not_found("token")
    token.revoked_at = token.revoked_at or datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class UsableToken:
    """A token's stream and workspace, and the key that made it with its scopes."""

    stream_id: int
    workspace_id: str
    key_id: str
    scopes: Sequence[str]


def usable_token(connection: Connection, token_id: str) -> UsableToken | None:
    """The token, if it is neither revoked nor expired and was made by a living key."""
    row = connection.exec_driver_sql(
        "SELECT t.stream_id, t.workspace_id, t.key_id, k.scopes FROM stream_tokens t JOIN api_keys k ON k.id = t.key_id"
        " WHERE t.id = %(id)s AND t.revoked_at IS NULL AND t.expires_at > now() AND k.revoked_at IS NULL",
        {"id": token_id},
    ).one_or_none()
    return None if row is None else UsableToken(row.stream_id, row.workspace_id, row.key_id, row.scopes)


def dead_credentials(connection: Connection, key_ids: Sequence[str], token_ids: Sequence[str]) -> set[str]:
    """Those of these key and token ids that are revoked or gone."""
    rows = connection.exec_driver_sql(
        "SELECT u.id FROM unnest(%(k)s::text[]) AS u (id) LEFT JOIN api_keys k ON k.id = u.id"
        " WHERE k.id IS NULL OR k.revoked_at IS NOT NULL"
        " UNION ALL SELECT u.id FROM unnest(%(t)s::text[]) AS u (id) LEFT JOIN stream_tokens t ON t.id = u.id"
        " WHERE t.id IS NULL OR t.revoked_at IS NOT NULL",
        {"k": list(key_ids), "t": list(token_ids)},
    )
    return {row.id for row in rows}


def _event(row: Row[Any]) -> Event:
    return Event(row.id, row.seq, row.type, rfc3339(row.occurred_at), bytes(row.body))


def _locked(session: Session, workspace_id: str, kind: str, external_id: str) -> Stream | None:
    return session.scalar(
        select(Stream)
        .where(Stream.workspace_id == workspace_id, Stream.kind == kind, Stream.external_id == external_id)
        .with_for_update()
    )


def _check_open_streams(session: Session, workspace_id: str, most: int) -> None:
    count = session.execute(
        text("SELECT count(*) FROM streams WHERE workspace_id = :w AND ended_at IS NULL"), {"w": workspace_id}
    ).scalar_one()
    if count >= most:
        raise Problem("too_many", f"The workspace has {most} open streams, the most it may have; end some first.")


def _check_attributes(attributes: dict[str, Any] | None) -> None:
    if attributes is not None and len(json.dumps(attributes)) > MAX_ATTRIBUTES_BYTES:
        raise Problem("too_large", f"The attributes are larger than {MAX_ATTRIBUTES_BYTES} bytes; keep them short.")
