"""The ledger: accepts events. One transaction serves every request that waits at the moment (group commit).

In one transaction the streams are locked in id order, repeats are dropped by idempotency key, each event takes the
next seq of its stream, and events and delivery rows are inserted. A caller is answered only after COMMIT, and only
then is anything announced.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError, TimeoutError

from app.core import ids
from app.core.event.acceptance import Acceptance, Accepted, StreamState, Subject, match
from app.core.event.drafts import Draft
from app.core.problem import Problem, first_line, not_found
from app.core.wire.envelope import Announcement
from app.database.batching import Abandoned, Batcher
from app.database.connection import Database
from app.database.partitions import make_partitions
from app.ledger import statements as rows

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

    @property
    def committing(self) -> bool:
        """Whether a group of requests is being committed now."""
        return self._batcher.running

    @property
    def waiting(self) -> int:
        """How many requests wait for the next group."""
        return self._batcher.waiting

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
            log.warning("events not accepted: %s", first_line(error))
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
            streams = rows.lock_streams(connection, subjects)
            lost: dict[str, Problem] = {}
            if len(streams) < len(subjects):
                # New streams are made in a transaction of their own: no lock is held while waiting for another's
                # insert, so the id order of the locks below is the only order there is, and nothing deadlocks.
                connection.rollback()
                missing = [subject for subject in subjects if subject not in streams]
                lost, made = self._make_streams(connection, missing, _wanted(submissions))
                connection.commit()
                streams = rows.lock_streams(connection, subjects)
                lost |= {subject[0]: rows.being_changed() for subject in made if subject not in streams}
            acceptance = self._decide(connection, streams, submissions)
            answers = [_take(acceptance, part, lost.get(part.workspace_id)) for part in submissions]
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

    def _make_streams(
        self, connection: Connection, missing: Sequence[Subject], wanted: Set[Subject]
    ) -> tuple[dict[str, Problem], list[Subject]]:
        """Make those of the missing streams that are wanted; the workspaces that are gone, and what is there now."""
        lost = rows.lost_workspaces(connection, (subject[0] for subject in missing))
        possible = [subject for subject in missing if subject in wanted and subject[0] not in lost]
        refused = rows.make_streams(connection, possible, self._max_open_streams)
        return lost, [subject for subject in possible if subject not in refused]

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
            rows.known_keys(connection, keys) if keys else {},
            now,
            lambda: os.urandom(ids.RANDOM_BYTES),
            self._ends,
        )

    def _write(self, connection: Connection, acceptance: Acceptance) -> int:
        """Insert what was decided; the number of delivery rows."""
        events = acceptance.events
        rows.insert_events(connection, events, acceptance.now)
        rows.insert_keys(connection, [new for new in events if new.key is not None], acceptance.now)
        rows.update_streams(
            connection, [stream for stream in acceptance.streams.values() if stream.changed], acceptance.now
        )
        pairs = match(events, rows.targets(connection, sorted({new.workspace_id for new in events})))
        if pairs:
            rows.insert_deliveries(connection, pairs, acceptance.now, acceptance.now + self._window)
        return len(pairs)


def _wanted(submissions: Sequence[Submission]) -> set[Subject]:
    """The subjects of events that may be accepted: for others no stream is made."""
    return {
        (part.workspace_id, draft.kind, draft.stream_id)
        for part in submissions
        for index, draft in enumerate(part.drafts)
        if index not in part.refusals
    }


def _take(acceptance: Acceptance, part: Submission, lost: Problem | None) -> Answers:
    if lost is not None:
        return [lost] * len(part.drafts)
    return [
        acceptance.take(
            part.workspace_id, draft, refusal=part.refusals.get(index), only_endpoint_id=part.only_endpoint_id
        )
        for index, draft in enumerate(part.drafts)
    ]
