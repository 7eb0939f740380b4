"""What the live side reads from PostgreSQL: heads of streams, pages of events, dead credentials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row

from app.core.wire.envelope import Event, rfc3339
from app.database.connection import Database
from app.live import tokens

PAGE_EVENTS = 200  # events in one page of a replay
PAGE_BYTES = 64 * 1024  # and bytes: a thousand subscribers that reconnect at once then hold 64 MiB together


@dataclass(frozen=True, slots=True)
class Head:
    """How far a stream has come: seq of its last committed event, and whether it has ended."""

    last_seq: int
    ended: bool


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


def _event(row: Row[Any]) -> Event:
    return Event(row.id, row.seq, row.type, rfc3339(row.occurred_at), bytes(row.body))


class StreamReads:
    """The hub's reads over a process's database, each in a short transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def heads(self, stream_ids: Sequence[int]) -> Mapping[int, Head]:
        """How far each stream has come."""
        with self._database.begin() as connection:
            return heads(connection, stream_ids)

    def events_after(self, after: Mapping[int, int]) -> Mapping[int, list[Event]]:
        """For each stream the page of events behind a seq."""
        with self._database.begin() as connection:
            return events_after(connection, after)

    def dead_credentials(self, key_ids: Sequence[str], token_ids: Sequence[str]) -> set[str]:
        """Those of these keys and tokens that are revoked or gone."""
        with self._database.begin() as connection:
            return tokens.dead_credentials(connection, key_ids, token_ids)
