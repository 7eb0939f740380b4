"""What the live side reads from PostgreSQL: how far streams have come, pages of their events, revoked credentials."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row

from app.core.wire.envelope import Event, rfc3339
from app.database.calls import BOOL, FLOAT8, INT4, INT8, INT8S, TEXT, Prepared
from app.database.connection import Database
from app.live import tokens
from app.live.stream_source import Head

PAGE_EVENTS = 200  # events in one page of a replay
PAGE_BYTES = 64 * 1024  # and bytes: a thousand subscribers that reconnect at once then hold 64 MiB together

_HEAD = {
    "id": INT8,
    "last_seq": INT8,
    "ended": BOOL,
    "late_came": BOOL,
    "ended_seconds": FLOAT8,
    "history": INT4,
}

# How far each of some streams has come, and in which history of the log.
HEADS = Prepared(
    b"stream_heads_1",
    """
SELECT id, last_seq, ended_at IS NOT NULL AS ended, late_came,
       greatest(extract(epoch FROM clock_timestamp() - ended_at), 0)::float8 AS ended_seconds,
       (SELECT coalesce(max(epochs.id), 0) FROM epochs) AS history
  FROM streams
 WHERE id = ANY($1)
""",
    takes=(INT8S,),
    gives=_HEAD,
)

# Of some streams those that have moved from where they are known to be, that have ended, or that are gone. LIMIT keeps
# the planner from reading all streams to find many of them. The arrays come as text, which is made in a fifth of the
# time: there may be ten thousand.
MOVED = Prepared(
    b"moved_streams_1",
    """
SELECT asked.stream AS id, found.last_seq, found.ended_at IS NOT NULL AS ended, found.late_came,
       greatest(extract(epoch FROM clock_timestamp() - found.ended_at), 0)::float8 AS ended_seconds,
       newest.history
  FROM unnest($1::text::bigint[], $2::text::bigint[]) AS asked (stream, seq)
 CROSS JOIN (SELECT coalesce(max(epochs.id), 0) AS history FROM epochs) AS newest
  LEFT JOIN LATERAL (
        SELECT last_seq, ended_at, late_came
          FROM streams
         WHERE id = asked.stream
         LIMIT 1) AS found ON true
 WHERE found.last_seq IS NULL
    OR found.last_seq <> asked.seq
    OR found.ended_at IS NOT NULL
    OR newest.history <> $3
""",
    takes=(TEXT, TEXT, INT4),
    gives=_HEAD,
)

# For each of some streams the next page of events after a seq, limited in number and size; the first always fits. No
# event is older than its stream, so earlier partitions are skipped.
PAGES_AFTER = f"""
SELECT asked.stream, page.id, page.seq, page.type, page.occurred_at, page.body
  FROM unnest(%(streams)s::bigint[], %(seqs)s::bigint[]) AS asked (stream, seq)
  JOIN streams ON streams.id = asked.stream
 CROSS JOIN LATERAL (
        SELECT *
          FROM (SELECT next.*,
                       sum(octet_length(next.body)) OVER (ORDER BY next.seq) - octet_length(next.body) AS bytes_before
                  FROM (SELECT id, seq, type, occurred_at, body
                          FROM events
                         WHERE stream_id = asked.stream
                           AND seq > asked.seq
                           AND created_at >= streams.created_at - interval '1 minute'
                         ORDER BY seq
                         LIMIT {PAGE_EVENTS}) AS next) AS measured
         WHERE bytes_before < {PAGE_BYTES}) AS page
 ORDER BY asked.stream, page.seq
"""

# A stream's newest event of a type.
LAST_OF_TYPE = """
SELECT id, seq, type, occurred_at, body
  FROM events
 WHERE stream_id = %(stream)s
   AND type = %(type)s
 ORDER BY seq DESC
 LIMIT 1
"""

# The types of a stream's events after a seq.
TYPES_AFTER = """
SELECT DISTINCT type
  FROM events
 WHERE stream_id = %(stream)s
   AND seq > %(seq)s
"""

# Up to which seq a stream is the same as in an earlier history (app/database/functions/last_shared.sql says how).
LAST_SHARED = "SELECT last_shared(%(stream)s, %(seq)s, %(epoch)s)"

# The newest seq of a stream that is older than so many seconds; 0 if none is.
SEQ_BEFORE = """
SELECT coalesce(max(seq), 0)
  FROM events
 WHERE stream_id = %(stream)s
   AND created_at < clock_timestamp() - make_interval(secs => %(seconds)s)
"""


def events_after(connection: Connection, after: Mapping[int, int]) -> dict[int, list[Event]]:
    """For each stream id the page of events after a seq, in order: at most PAGE_EVENTS and about PAGE_BYTES."""
    pages: dict[int, list[Event]] = {}
    for row in connection.exec_driver_sql(PAGES_AFTER, {"streams": list(after), "seqs": list(after.values())}):
        pages.setdefault(row.stream, []).append(_event(row))
    return pages


def last_event_of_type(connection: Connection, stream: int, type: str) -> Event | None:
    """The newest event of a type: what an ended stream's last status was."""
    row = connection.exec_driver_sql(LAST_OF_TYPE, {"stream": stream, "type": type}).one_or_none()
    return None if row is None else _event(row)


def last_shared(connection: Connection, stream: int, seq: int, epoch: int) -> int:
    """Up to which seq a stream is as it was in an earlier history, of which somebody has seen `seq`; at most that."""
    parameters = {"stream": stream, "seq": seq, "epoch": epoch}
    return int(connection.exec_driver_sql(LAST_SHARED, parameters).scalar_one())


def types_after(connection: Connection, stream: int, seq: int) -> set[str]:
    """The types of the events after a seq."""
    return {row.type for row in connection.exec_driver_sql(TYPES_AFTER, {"stream": stream, "seq": seq})}


def seq_before(connection: Connection, stream: int, seconds: int) -> int:
    """The seq after which every event is younger than so many seconds; 0 if all of them are.

    Within a stream the order of `seq` is the order of `created_at`.
    """
    seq: int = connection.exec_driver_sql(SEQ_BEFORE, {"stream": stream, "seconds": seconds}).scalar_one()
    return seq


def _array(numbers: Iterable[int]) -> str:
    return f"{{{','.join(map(str, numbers))}}}"


def _head(row: Any) -> Head:
    return Head(row.last_seq, row.ended, row.ended_seconds, row.late_came, row.history)


def _event(row: Row[Any]) -> Event:
    return Event(row.id, row.seq, row.type, rfc3339(row.occurred_at), bytes(row.body))


class StreamReads:
    """The hub's source over a process's database, each read in a short transaction of its own."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked: tuple[Mapping[int, int], str, str] | None = None  # the last streams, and both arrays as text

    def heads(self, stream_ids: Sequence[int]) -> Mapping[int, Head]:
        """How far each stream has come."""
        return {row.id: _head(row) for row in self._database.read(HEADS, list(stream_ids))}

    def moved(self, known: Mapping[int, int], epoch: int) -> Mapping[int, Head | None]:
        """Of some streams, each with the seq up to which it is known, those that are elsewhere, have ended or are
        gone. known: not changed afterwards; given again, it costs nothing to write down."""
        if self._asked is None or self._asked[0] is not known:
            self._asked = (known, _array(known), _array(known.values()))
        _, ids, seqs = self._asked
        rows = self._database.read(MOVED, ids, seqs, epoch)
        return {row.id: None if row.last_seq is None else _head(row) for row in rows}

    def events_after(self, after: Mapping[int, int]) -> Mapping[int, list[Event]]:
        """For each stream the next page of events after a seq, in order."""
        with self._database.begin() as connection:
            return events_after(connection, after)

    def dead_credentials(self, key_ids: Sequence[str], token_ids: Sequence[str]) -> set[str]:
        """Those of these keys and tokens that are revoked or gone."""
        with self._database.begin() as connection:
            return tokens.dead_credentials(connection, key_ids, token_ids)
