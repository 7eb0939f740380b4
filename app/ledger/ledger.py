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

from app import failpoints
from app.core import ids
from app.core.event.acceptance import Acceptance, Accepted, StreamState, Subject, match, subject_of
from app.core.event.drafts import Draft
from app.core.problem import Problem, first_line, not_found
from app.core.wire.envelope import Announcement
from app.database.batching import Abandoned, Batcher
from app.database.connection import Database
from app.database.partitions import make_partitions
from app.ledger import rows

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

    @property
    def subjects(self) -> list[Subject]:
        """The stream of each draft, in order."""
        return [subject_of(self.workspace_id, draft) for draft in self.drafts]


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
        """The submission with its refusals: decided before any lock is held, so that no neighbour waits for schemas."""
        refusals = {
            index: reason
            for index, draft in enumerate(submission.drafts)
            if (reason := self._refuses(draft.kind, draft.type, draft.value)) is not None
        }
        return replace(submission, refusals=refusals)

    def end(self, workspace_id: str, kind: str, external_id: str) -> None:
        """End a stream without an event. A stream that has ended stays as it is. Raises Problem if absent."""
        with self._database.begin() as connection:
            stream = rows.end_stream(connection, (workspace_id, kind, external_id))
        if stream is None:
            raise not_found("stream")
        self._announce([Announcement(stream.id, stream.last_seq, None, True)], False)

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
        with self._database.engine.connect() as connection:
            streams, refused = self._lock(connection, submissions)
            acceptance = self._decide(connection, streams, submissions)
            answers = [
                _answers(acceptance, submission, refused.get(submission.workspace_id)) for submission in submissions
            ]
            due = self._write(connection, acceptance) if acceptance.events else 0
            failpoints.reach("ledger.commit")
            try:
                connection.commit()
            except DBAPIError as error:
                # It may have been committed: a second try could store the events twice.
                raise CommitUnknown(str(error)) from error
        failpoints.reach("ledger.committed")
        if acceptance.events:
            self._on_commit(len(submissions), len(acceptance.events))
            self._announce(
                [Announcement(new.stream, new.event.seq, new.event, new.ends) for new in acceptance.events], due > 0
            )
        failpoints.reach("ledger.announced")
        return answers

    def _lock(
        self, connection: Connection, submissions: Sequence[Submission]
    ) -> tuple[dict[Subject, StreamState], dict[str, Problem]]:
        """Lock the streams of these submissions, made where they are missing.

        Besides them the answer for each workspace that is gone or being deleted, none of whose events is accepted.
        """
        subjects = sorted({subject for submission in submissions for subject in submission.subjects})
        streams = rows.lock_streams(connection, subjects)
        if len(streams) == len(subjects):
            return streams, {}
        # New streams are made in a transaction of their own: no lock is held while waiting for another's insert, so
        # the id order of the locks is the only order there is, and nothing deadlocks.
        connection.rollback()
        missing = [subject for subject in subjects if subject not in streams]
        refused = rows.hold_workspaces(connection, (workspace_id for workspace_id, _, _ in missing))
        acceptable = _acceptable(submissions)
        possible = [subject for subject in missing if subject in acceptable and subject[0] not in refused]
        no_room = rows.make_streams(connection, possible, self._max_open_streams)
        connection.commit()
        streams = rows.lock_streams(connection, subjects)
        for subject in possible:
            if subject not in no_room and subject not in streams:  # made, and its workspace is being deleted since
                refused[subject[0]] = rows.being_changed()
        return streams, refused

    def _decide(
        self, connection: Connection, streams: dict[Subject, StreamState], submissions: Sequence[Submission]
    ) -> Acceptance:
        keys = [
            (streams[subject].id, draft.idempotency_key)
            for submission in submissions
            for subject, draft in zip(submission.subjects, submission.drafts, strict=True)
            if draft.idempotency_key is not None and subject in streams
        ]
        return Acceptance(
            streams,
            now=rows.current_time(connection),
            keys=rows.known_keys(connection, keys) if keys else {},
            random=lambda: os.urandom(ids.RANDOM_BYTES),
            ends=self._ends,
            max_open_streams=self._max_open_streams,
        )

    def _write(self, connection: Connection, acceptance: Acceptance) -> int:
        """Insert what was decided; the number of delivery rows."""
        events, now = acceptance.events, acceptance.now
        rows.insert_events(connection, events, now)
        rows.insert_keys(connection, events, now)
        rows.update_streams(connection, [stream for stream in acceptance.streams.values() if stream.changed], now)
        filters = rows.endpoint_filters(connection, sorted({new.workspace_id for new in events}))
        pairs = match(events, filters)
        if pairs:
            rows.insert_deliveries(connection, pairs, now, now + self._window)
        return len(pairs)


def _acceptable(submissions: Sequence[Submission]) -> set[Subject]:
    """The subjects of events that may be accepted: for others no stream is made."""
    return {
        subject
        for submission in submissions
        for index, subject in enumerate(submission.subjects)
        if index not in submission.refusals
    }


def _answers(acceptance: Acceptance, submission: Submission, refused: Problem | None) -> Answers:
    """Accept the events of one submission, or refuse them all; one answer each, in order."""
    if refused is not None:
        return [refused] * len(submission.drafts)
    return [
        acceptance.accept(
            submission.workspace_id,
            draft,
            refusal=submission.refusals.get(index),
            only_endpoint_id=submission.only_endpoint_id,
        )
        for index, draft in enumerate(submission.drafts)
    ]
