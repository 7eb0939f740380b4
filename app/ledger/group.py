"""One transaction for a group of requests: lock, decide, insert, commit."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from app import failpoints
from app.core import ids
from app.core.event.acceptance import Acceptance, Accepted, NewEvent, StreamState, Subject, match, subject_of
from app.core.event.drafts import Draft
from app.core.problem import Complaint, Problem
from app.database.connection import Database
from app.ledger import rows

# Of a group that steps around locks, for the few rows that cannot be skipped: a stream that is being made, a key.
SKIPPING_LOCK_SECONDS = 0.1

Answers = list[Accepted | Problem]


@dataclass(frozen=True, slots=True)
class Submission:
    """The events of one request. only_endpoint_id: a test event, delivered to that endpoint alone.

    refusals: what the schemas have against the draft at an index; the ledger looks by itself.
    """

    workspace_id: str
    drafts: Sequence[Draft]
    only_endpoint_id: str | None = None
    refusals: Mapping[int, Complaint] = field(default_factory=dict)

    @property
    def subjects(self) -> list[Subject]:
        """The stream of each draft, in order."""
        return [subject_of(self.workspace_id, draft) for draft in self.drafts]


@dataclass(frozen=True, slots=True)
class Committed:
    """What a transaction did. answers: for each submission. due: whether any delivery is. busy: the streams that
    somebody else held locked."""

    answers: list[Answers]
    events: Sequence[NewEvent]
    due: bool
    busy: frozenset[Subject]


class CommitUnknown(RuntimeError):
    """The connection broke during COMMIT: whether the events are stored is not known here."""


@dataclass(frozen=True, slots=True)
class _Locked:
    """The streams that this transaction holds; the answer for each workspace that is gone or being deleted, none of
    whose events is accepted; the streams that somebody else holds."""

    streams: dict[Subject, StreamState]
    refused: Mapping[str, Problem] = field(default_factory=dict)
    busy: frozenset[Subject] = frozenset()


class Committer:
    """Commits groups, one transaction each. ends: the contracts' rule (kind, type, data) -> bool."""

    def __init__(
        self, database: Database, *, ends: Callable[[str, str, Any], bool], window: timedelta, max_open_streams: int
    ) -> None:
        self._database = database
        self._ends = ends
        self._window = window
        self._max_open_streams = max_open_streams

    def commit(self, submissions: Sequence[Submission], *, lock_seconds: float, skip: bool) -> Committed:
        """Commit what can be accepted. Raises DBAPIError, and CommitUnknown.

        lock_seconds: how long a lock is waited for. skip: streams that somebody else holds are not waited for at all,
        and their events are answered `unavailable`.
        """
        with self._database.engine.connect() as connection:
            locked = self._lock(connection, submissions, SKIPPING_LOCK_SECONDS if skip else lock_seconds, skip)
            acceptance = self._decide(connection, locked, submissions)
            answers = [_answers(acceptance, one, locked.refused.get(one.workspace_id)) for one in submissions]
            due = self._write(connection, acceptance) if acceptance.events else 0
            failpoints.reach("ledger.commit")
            try:
                connection.commit()
            except DBAPIError as error:
                # It may have been committed: a second try could store the events twice.
                raise CommitUnknown(str(error)) from error
        failpoints.reach("ledger.committed")
        return Committed(answers, acceptance.events, due > 0, locked.busy)

    def _lock(
        self, connection: Connection, submissions: Sequence[Submission], lock_seconds: float, skip: bool
    ) -> _Locked:
        """Lock the streams of these submissions, made where they are missing."""
        subjects = sorted({subject for submission in submissions for subject in submission.subjects})
        streams = rows.lock_streams(connection, subjects, lock_seconds=lock_seconds, skip=skip)
        if len(streams) == len(subjects):
            return _Locked(streams)
        # New streams are made in a transaction of their own: no lock is held while waiting for another's insert, so
        # the id order of the locks is the only order there is, and nothing deadlocks.
        connection.rollback()
        missing = [subject for subject in subjects if subject not in streams]
        rows.limit_lock_waits(connection, lock_seconds)
        refused = rows.hold_workspaces(connection, (workspace_id for workspace_id, _, _ in missing))
        existing = rows.existing_streams(connection, missing) if skip else set()
        acceptable = _acceptable(submissions) - existing
        possible = [subject for subject in missing if subject in acceptable and subject[0] not in refused]
        no_room = rows.make_streams(connection, possible, self._max_open_streams)
        connection.commit()
        streams = rows.lock_streams(connection, subjects, lock_seconds=lock_seconds, skip=skip)
        lost = {subject for subject in {*possible, *existing} - no_room if subject not in streams}
        if skip:
            return _Locked(streams, refused, frozenset(lost))
        for workspace_id, _, _ in lost:  # made, and its workspace is being deleted since
            refused[workspace_id] = rows.being_changed()
        return _Locked(streams, refused)

    def _decide(self, connection: Connection, locked: _Locked, submissions: Sequence[Submission]) -> Acceptance:
        keys = [
            (locked.streams[subject].id, draft.idempotency_key)
            for submission in submissions
            for subject, draft in zip(submission.subjects, submission.drafts, strict=True)
            if draft.idempotency_key is not None and subject in locked.streams
        ]
        return Acceptance(
            locked.streams,
            now=rows.current_time(connection),
            keys=rows.known_keys(connection, keys) if keys else {},
            random=lambda: os.urandom(ids.RANDOM_BYTES),
            ends=self._ends,
            max_open_streams=self._max_open_streams,
            busy=locked.busy,
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
