"""The ledger: accepts events. One call of the database serves every request that waits at the moment (group commit).

In one transaction callers are judged, streams are locked in id order, repeats are dropped by idempotency key, each
event takes the next seq of its stream, and events and delivery rows are inserted. A caller is answered only after
COMMIT, and only then is anything announced. Groups of different workspaces are committed side by side.

A lock that somebody else does not let go harms his streams alone: the group that waited for it is committed without
them, and for some seconds their events travel in a group of their own that waits for no lock.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import DBAPIError, TimeoutError

from app import failpoints
from app.core.event.acceptance import Subject, stream_locked
from app.core.problem import Complaint, Problem, first_line, not_found
from app.core.wire.envelope import Announcement
from app.database import faults
from app.database.batching import Abandoned, Batcher
from app.database.calls import Unanswered
from app.database.connection import Database
from app.database.partitions import make_partitions
from app.ledger import rows
from app.ledger.group import Committed, Committer
from app.ledger.quarantine import Quarantine
from app.ledger.submission import Answers, Submission

__all__ = ["Answers", "Ledger", "Submission"]

log = logging.getLogger(__name__)

MAX_BATCH = 1000  # events in one transaction: some tens of milliseconds, so that the next group does not wait long
# Groups of different workspaces that are committed side by side, so that one that posts thousands at a time keeps
# nobody else waiting. More would only share the same disk.
GROUPS_AT_ONCE = 3
TRIES = 3  # a lost connection, a deadlock or a missing partition is mended and tried again before anybody is told

Announce = Callable[[Sequence[Announcement], bool], None]


class Ledger:
    """The writer of one process.

    ends, refuses: the contracts' rules (kind, type, data) -> bool, and -> what is wrong with which field, or None.
    announce: called after commit with what happened and whether any delivery is due; must not block or raise.
    on_commit: called after each commit of events, with the number of requests in it and of events.
    """

    def __init__(
        self,
        database: Database,
        *,
        ends: Callable[[str, str, Any], bool],
        refuses: Callable[[str, str, Any], Complaint | None],
        announce: Announce,
        window_seconds: int,
        max_open_streams: int,
        on_commit: Callable[[int, int], object] = lambda requests, events: None,
        groups_at_once: int = GROUPS_AT_ONCE,
    ) -> None:
        self._database = database
        self._refuses = refuses
        self._announce = announce
        self._on_commit = on_commit
        self._committer = Committer(
            database, ends=ends, window=timedelta(seconds=window_seconds), max_open_streams=max_open_streams
        )
        self._quarantine = Quarantine()
        self.lock_seconds = rows.LOCK_SECONDS  # how long a stream's lock is waited for
        self._batcher: Batcher[Submission, Answers] = Batcher(
            self._commit_group,
            max_weight=MAX_BATCH,
            weigh=lambda submission: max(1, len(submission.drafts)),
            lane_of=lambda submission: submission.workspace_id,
            most_runs=groups_at_once,
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

        Raises Problem("unavailable") when the database cannot be reached or does not answer in time: then it is not
        known to be stored, and the producer repeats with the same idempotency key. Raises DBAPIError when the request
        itself is at fault (faults.is_requests_fault).
        """
        if not submission.drafts:
            return []
        try:
            return self._batcher.submit(self._checked(submission))
        except (DBAPIError, TimeoutError, Abandoned, Unanswered) as error:
            if isinstance(error, DBAPIError) and faults.is_requests_fault(error):
                raise
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
        """End a stream without an event. A stream that has ended stays as it is.

        Raises Problem: it is absent, or somebody holds it locked.
        """
        try:
            with self._database.begin() as connection:
                rows.limit_lock_waits(connection, self.lock_seconds)
                stream = rows.end_stream(connection, (workspace_id, kind, external_id))
        except DBAPIError as error:
            if faults.is_lock_timeout(error):
                raise stream_locked() from None
            raise
        if stream is None:
            raise not_found("stream")
        self._announce([Announcement(stream.id, stream.last_seq, None, True)], False)

    def _commit_group(self, submissions: list[Submission]) -> Sequence[Answers | Exception]:
        """Commit those that touch a quarantined stream after the others, in a group that waits for no lock."""
        now = time.monotonic()
        apart = [self._quarantine.touches(submission.subjects, now) for submission in submissions]
        if not any(apart):
            return self._commit(submissions, skip=False)
        together = [one for one, away in zip(submissions, apart, strict=True) if not away]
        outcomes = iter(self._commit(together, skip=False) if together else ())
        quarantined = [one for one, away in zip(submissions, apart, strict=True) if away]
        try:
            others = iter(self._commit(quarantined, skip=True))
        except (DBAPIError, TimeoutError, Unanswered) as error:
            others = iter([error] * len(quarantined))
        return [next(others if away else outcomes) for away in apart]

    def _commit(self, submissions: list[Submission], *, skip: bool) -> Sequence[Answers | Exception]:
        """Commit a group; once more where that may help. skip: wait for no stream's lock."""
        for attempt in range(1, TRIES + 1):
            try:
                return self._commit_once(submissions, skip=skip)
            except DBAPIError as error:
                if faults.is_lock_timeout(error) and not skip:
                    skip = True
                elif faults.is_lock_timeout(error) or not self._mend(error):
                    # What the database refuses, or has locked, is one request's fault: the neighbours must not pay
                    # for it.
                    return self._singly(submissions, error)
                if attempt == TRIES:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    def _singly(self, submissions: Sequence[Submission], error: DBAPIError) -> Sequence[Answers | Exception]:
        """Commit each submission by itself. error: what they were refused with together."""
        if len(submissions) == 1:
            return [self._refused(submissions[0], error)]
        outcomes: list[Answers | Exception] = []
        stuck: set[Subject] = set()
        for submission in submissions:
            if not stuck.isdisjoint(submission.subjects):  # its like has just waited for the same lock
                outcomes.append([stream_locked()] * len(submission.drafts))
                continue
            try:
                outcomes += self._commit_once([submission], skip=True)
            except DBAPIError as error:
                if faults.is_lock_timeout(error):
                    stuck.update(submission.subjects)
                outcomes.append(self._refused(submission, error))
            except (TimeoutError, Unanswered) as error:
                outcomes.append(error)
        return outcomes

    def _refused(self, submission: Submission, error: DBAPIError) -> Answers | Exception:
        """The outcome of a submission that was refused by itself."""
        if not faults.is_lock_timeout(error):
            return error
        self._quarantine.add(submission.subjects, time.monotonic())
        return [stream_locked()] * len(submission.drafts)

    def _mend(self, error: DBAPIError) -> bool:
        """Put right what can be; whether another try makes sense."""
        if faults.lacks_partition(error):
            with self._database.begin() as connection:
                make_partitions(connection)
            return True
        return faults.may_pass(error)

    def _commit_once(self, submissions: Sequence[Submission], *, skip: bool) -> list[Answers | Exception]:
        done = self._committer.commit(submissions, lock_seconds=self.lock_seconds, skip=skip)
        if done.busy:
            self._quarantine.add(done.busy, time.monotonic())
        if done.announcements:
            self._tell(done, len(submissions))
        failpoints.reach("ledger.announced")
        return done.answers

    def _tell(self, done: Committed, requests: int) -> None:
        self._on_commit(requests, len(done.announcements))
        self._announce(done.announcements, done.due)
