"""The ledger: accepts events. One transaction serves every request that waits at the moment (group commit).

In one transaction the streams are locked in id order, repeats are dropped by idempotency key, each event takes the
next seq of its stream, and events and delivery rows are inserted. A caller is answered only after COMMIT, and only
then is anything announced.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError, TimeoutError

from app.batching import Abandoned, Batcher
from app.core import ids
from app.core.acceptance import Acceptance, Accepted, NewEvent, StreamState, Subject, Target, match
from app.core.drafts import Draft
from app.core.envelope import Announcement
from app.core.problem import Problem, not_found
from app.db import Database, make_partitions

log = logging.getLogger(__name__)

MAX_BATCH = 1000  # events in one transaction: some tens of milliseconds, so that the next group does not wait long
TRIES = 3  # a lost connection, a deadlock or a missing partition is mended and tried again before anybody is told
_NO_PARTITION = "23514"  # check_violation: "no partition of relation … found for row"
_DEADLOCK = "40P01"


@dataclass(frozen=True, slots=True)
class Submission:
    """The events of one request. only_endpoint_id: a test event, delivered to that endpoint alone.

    refusals: what the schemas have against the draft at an index; the ledger looks by itself.
    """

    workspace_id: str
    drafts: Sequence[Draft]
    only_endpoint_id: str | None = None
    refusals: Mapping[int, str] = field(default_factory=dict)


Answers = list[Accepted | Problem]
Announce = Callable[[Sequence[Announcement], bool], None]


class CommitUnknown(RuntimeError):
    """The connection broke during COMMIT: whether the events are stored is not known here."""


class Ledger:
    """The writer of one process.

    ends, refuses: the contracts' rules (kind, type, data) -> bool, and -> the reason for a refusal or None.
    announce: called after commit with what happened and whether any delivery is due; must not block or raise.
    on_commit: called after each commit of events, with the number of requests in it and of events.
    """

    def __init__(
        self,
        database: Database,
        *,
        ends: Callable[[str, str, Any], bool],
        refuses: Callable[[str, str, Any], str | None],
        announce: Announce,
        window_seconds: int,
        max_open_streams: int,
        on_commit: Callable[[int, int], object] = lambda requests, events: None,
    ) -> None:
        self._database = database
        self._ends = ends
        self._refuses = refuses
        self._announce = announce
        self._window = timedelta(seconds=window_seconds)
        self._max_open_streams = max_open_streams
        self._on_commit = on_commit
        self._batcher: Batcher[Submission, Answers] = Batcher(
            self._commit_group, max_weight=MAX_BATCH, weigh=lambda submission: max(1, len(submission.drafts))
        )

    def accept(self, submission: Submission) -> Answers:
        """Commit the events of one request, together with whoever else is waiting; one answer each, in order.

        Raises Problem("unavailable") when the database cannot be reached: then it is not known to be stored, and the
        producer repeats with the same idempotency key.
        """
        if not submission.drafts:
            return []
        try:
            return self._batcher.submit(self._checked(submission))
        except (OperationalError, TimeoutError, Abandoned, CommitUnknown) as error:
            log.warning("events not accepted: %s", str(error).splitlines()[0])
            raise Problem(
                "unavailable",
                "The event store cannot be reached; repeat the request with the same idempotency key.",
                retry_after_seconds=1,
            ) from None

    def _checked(self, submission: Submission) -> Submission:
        """The submission with its refusals: found before any lock is held, so that no neighbour waits for schemas."""
        found = {
            index: reason
            for index, draft in enumerate(submission.drafts)
            if (reason := self._refuses(draft.kind, draft.type, draft.value)) is not None
        }
        return replace(submission, refusals=found)

    def end(self, workspace_id: str, kind: str, external_id: str) -> None:
        """End a stream without an event. A stream that has ended stays as it is. Raises Problem if absent."""
        with self._database.begin() as connection:
            row = connection.exec_driver_sql(
                "SELECT id, last_seq, ended_at FROM streams"
                " WHERE workspace_id = %(w)s AND kind = %(k)s AND external_id = %(x)s FOR UPDATE",
                {"w": workspace_id, "k": kind, "x": external_id},
            ).one_or_none()
            if row is None:
                raise not_found("stream")
            if row.ended_at is None:
                connection.exec_driver_sql(
                    "UPDATE streams SET ended_at = date_trunc('milliseconds', clock_timestamp()) WHERE id = %(id)s",
                    {"id": row.id},
                )
        self._announce([Announcement(row.id, row.last_seq, None, True)], False)

    def _commit_group(self, submissions: list[Submission]) -> Sequence[Answers | Exception]:
        for attempt in range(1, TRIES + 1):
            try:
                return [*self._commit(submissions)]
            except DBAPIError as error:
                if not self._mend(error):
                    if len(submissions) == 1:
                        raise
                    # What the database refuses is one request's fault: the neighbours must not pay for it.
                    return [self._alone(submission) for submission in submissions]
                if attempt == TRIES:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    def _alone(self, submission: Submission) -> Answers | Exception:
        try:
            return self._commit([submission])[0]
        except (DBAPIError, CommitUnknown) as error:
            return error

    def _mend(self, error: DBAPIError) -> bool:
        """Put right what can be; whether another try makes sense."""
        state = getattr(error.orig, "sqlstate", None)
        if state == _NO_PARTITION:
            with self._database.begin() as connection:
                make_partitions(connection, datetime.now(UTC))
        return isinstance(error, OperationalError) or state in {_NO_PARTITION, _DEADLOCK}

    def _commit(self, submissions: list[Submission]) -> Sequence[Answers]:
        subjects = sorted(
            {(part.workspace_id, draft.kind, draft.stream_id) for part in submissions for draft in part.drafts}
        )
        with self._database.engine.connect() as connection:
            streams = _lock_streams(connection, subjects)
            if len(streams) < len(subjects):
                # New streams are made in a transaction of their own: no lock is held while waiting for another's
                # insert, so the id order of the locks below is the only order there is, and nothing deadlocks.
                connection.rollback()
                wanted = _wanted(submissions)
                missing = [subject for subject in subjects if subject not in streams and subject in wanted]
                _make_streams(connection, missing, self._max_open_streams)
                connection.commit()
                streams = _lock_streams(connection, subjects)
            acceptance = self._decide(connection, streams, submissions)
            answers = [_take(acceptance, part) for part in submissions]
            due = self._write(connection, acceptance) if acceptance.events else 0
            try:
                connection.commit()
            except DBAPIError as error:
                # It may have been committed: a second try could store the events twice.
                raise CommitUnknown(str(error)) from error
        if acceptance.events:
            self._on_commit(len(submissions), len(acceptance.events))
            self._announce(
                [Announcement(new.stream, new.event.seq, new.event, new.ends) for new in acceptance.events], due > 0
            )
        return answers

    def _decide(
        self, connection: Connection, streams: dict[Subject, StreamState], submissions: list[Submission]
    ) -> Acceptance:
        keys = [
            (streams[subject].id, draft.idempotency_key)
            for part in submissions
            for draft in part.drafts
            if draft.idempotency_key is not None
            and (subject := (part.workspace_id, draft.kind, draft.stream_id)) in streams
        ]
        # Read after the locks are held, so that within a stream time never runs against seq.
        now = connection.exec_driver_sql("SELECT date_trunc('milliseconds', clock_timestamp())").scalar_one()
        return Acceptance(
            streams,
            _known_keys(connection, keys) if keys else {},
            now,
            lambda: os.urandom(ids.RANDOM_BYTES),
            self._ends,
        )

    def _write(self, connection: Connection, acceptance: Acceptance) -> int:
        """Insert what was decided; the number of delivery rows."""
        events = acceptance.events
        _insert_events(connection, events, acceptance.now)
        _insert_keys(connection, [new for new in events if new.key is not None], acceptance.now)
        _update_streams(
            connection, [stream for stream in acceptance.streams.values() if stream.changed], acceptance.now
        )
        pairs = match(events, _targets(connection, sorted({new.workspace_id for new in events})))
        if pairs:
            _insert_deliveries(connection, pairs, acceptance.now, acceptance.now + self._window)
        return len(pairs)


def _wanted(submissions: Sequence[Submission]) -> set[Subject]:
    """The subjects of events that may be accepted: for others no stream is made."""
    return {
        (part.workspace_id, draft.kind, draft.stream_id)
        for part in submissions
        for index, draft in enumerate(part.drafts)
        if index not in part.refusals
    }


def _take(acceptance: Acceptance, part: Submission) -> Answers:
    return [
        acceptance.take(
            part.workspace_id, draft, refusal=part.refusals.get(index), only_endpoint_id=part.only_endpoint_id
        )
        for index, draft in enumerate(part.drafts)
    ]


def _columns(subjects: Sequence[Subject]) -> dict[str, list[str]]:
    return {"w": [s[0] for s in subjects], "k": [s[1] for s in subjects], "x": [s[2] for s in subjects]}


def _lock_streams(connection: Connection, subjects: Sequence[Subject]) -> dict[Subject, StreamState]:
    rows = connection.exec_driver_sql(
        "SELECT s.id, s.workspace_id, s.kind, s.external_id, s.last_seq, s.ended_at IS NOT NULL AS ended"
        " FROM unnest(%(w)s::text[], %(k)s::text[], %(x)s::text[]) AS u (w, k, x)"
        " JOIN streams s ON s.workspace_id = u.w AND s.kind = u.k AND s.external_id = u.x"
        " ORDER BY s.id FOR UPDATE OF s",
        _columns(subjects),
    )
    return {(row.workspace_id, row.kind, row.external_id): StreamState(row.id, row.last_seq, row.ended) for row in rows}


def _make_streams(connection: Connection, subjects: Sequence[Subject], max_open: int) -> None:
    """Insert the streams that do not exist, as far as each workspace's limit allows."""
    if not subjects:
        return
    open_streams = {
        row.workspace_id: row.open
        for row in connection.exec_driver_sql(
            "SELECT workspace_id, count(*) AS open FROM streams"
            " WHERE workspace_id = ANY(%(w)s) AND ended_at IS NULL GROUP BY workspace_id",
            {"w": sorted({subject[0] for subject in subjects})},
        )
    }
    allowed: list[Subject] = []
    for subject in subjects:
        count = open_streams.get(subject[0], 0)
        if count < max_open:
            open_streams[subject[0]] = count + 1
            allowed.append(subject)
    if allowed:
        connection.exec_driver_sql(
            "INSERT INTO streams (workspace_id, kind, external_id, created_at)"
            " SELECT w, k, x, date_trunc('milliseconds', clock_timestamp())"
            " FROM unnest(%(w)s::text[], %(k)s::text[], %(x)s::text[]) AS u (w, k, x) ORDER BY w, k, x"
            " ON CONFLICT DO NOTHING",
            _columns(allowed),
        )


def _known_keys(connection: Connection, keys: Sequence[tuple[int, str | None]]) -> dict[tuple[int, str], Accepted]:
    rows = connection.exec_driver_sql(
        "SELECT k.stream_id, k.key, e.id, e.seq, s.kind, s.external_id, e.type, e.occurred_at, e.created_at"
        " FROM unnest(%(s)s::bigint[], %(k)s::text[]) AS u (s, k)"
        " JOIN event_keys k ON k.stream_id = u.s AND k.key = u.k"
        " JOIN events e ON e.id = k.event_id AND e.created_at = k.created_at"
        " JOIN streams s ON s.id = k.stream_id",
        {"s": [stream for stream, _ in keys], "k": [key for _, key in keys]},
    )
    return {
        (row.stream_id, row.key): Accepted(
            row.id, row.seq, row.kind, row.external_id, row.type, row.occurred_at, row.created_at, True
        )
        for row in rows
    }


def _targets(connection: Connection, workspace_ids: Sequence[str]) -> list[Target]:
    rows = connection.exec_driver_sql(
        "SELECT id, workspace_id, event_types, stream_kinds FROM endpoints"
        " WHERE workspace_id = ANY(%(w)s) AND status = 'enabled' ORDER BY id",
        {"w": list(workspace_ids)},
    )
    return [Target(row.id, row.workspace_id, row.event_types, row.stream_kinds) for row in rows]


def _insert_events(connection: Connection, events: Sequence[NewEvent], now: datetime) -> None:
    connection.exec_driver_sql(
        "INSERT INTO events (id, created_at, workspace_id, stream_id, seq, type, occurred_at, body)"
        " SELECT i, %(now)s, w, s, q, t, o, b FROM unnest(%(i)s::text[], %(w)s::text[], %(s)s::bigint[],"
        " %(q)s::bigint[], %(t)s::text[], %(o)s::timestamptz[], %(b)s::bytea[]) AS u (i, w, s, q, t, o, b)",
        {
            "now": now,
            "i": [new.event.id for new in events],
            "w": [new.workspace_id for new in events],
            "s": [new.stream for new in events],
            "q": [new.event.seq for new in events],
            "t": [new.event.type for new in events],
            "o": [new.occurred_at for new in events],
            "b": [new.event.body for new in events],
        },
    )


def _insert_keys(connection: Connection, events: Sequence[NewEvent], now: datetime) -> None:
    if events:
        connection.exec_driver_sql(
            "INSERT INTO event_keys (stream_id, key, event_id, created_at)"
            " SELECT s, k, i, %(now)s FROM unnest(%(s)s::bigint[], %(k)s::text[], %(i)s::text[]) AS u (s, k, i)"
            # A key whose event retention has dropped is free again.
            " ON CONFLICT (stream_id, key)"
            " DO UPDATE SET event_id = excluded.event_id, created_at = excluded.created_at",
            {
                "now": now,
                "s": [new.stream for new in events],
                "k": [new.key for new in events],
                "i": [new.event.id for new in events],
            },
        )


def _update_streams(connection: Connection, streams: Sequence[StreamState], now: datetime) -> None:
    connection.exec_driver_sql(
        "UPDATE streams SET last_seq = u.q, ended_at = CASE WHEN u.e THEN %(now)s::timestamptz END"
        " FROM unnest(%(s)s::bigint[], %(q)s::bigint[], %(e)s::boolean[]) AS u (s, q, e) WHERE id = u.s",
        {
            "now": now,
            "s": [stream.id for stream in streams],
            "q": [stream.last_seq for stream in streams],
            "e": [stream.ended for stream in streams],
        },
    )


def _insert_deliveries(
    connection: Connection, pairs: Sequence[tuple[NewEvent, str]], now: datetime, deadline_at: datetime
) -> None:
    connection.exec_driver_sql(
        "INSERT INTO deliveries (id, created_at, workspace_id, endpoint_id, event_id, event_created_at, event_type,"
        " trigger, due_at, window_started_at, deadline_at)"
        " SELECT i, %(now)s, w, p, v, %(now)s, t, g, %(now)s, %(now)s, %(deadline)s"
        " FROM unnest(%(i)s::text[], %(w)s::text[], %(p)s::text[], %(v)s::text[], %(t)s::text[], %(g)s::text[])"
        " AS u (i, w, p, v, t, g)",
        {
            "now": now,
            "deadline": deadline_at,
            "i": [ids.make(ids.DELIVERY, now, os.urandom(ids.RANDOM_BYTES)) for _ in pairs],
            "w": [new.workspace_id for new, _ in pairs],
            "p": [endpoint_id for _, endpoint_id in pairs],
            "v": [new.event.id for new, _ in pairs],
            "t": [new.event.type for new, _ in pairs],
            "g": ["test" if new.only_endpoint_id else "schedule" for new, _ in pairs],
        },
    )
