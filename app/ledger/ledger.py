"""The ledger: accepts events. One call of the database serves every request that waits at the moment (group commit).

In one transaction callers are judged, streams are locked in id order, repeats are dropped by idempotency key, each
event takes the next seq of its stream, and events and delivery rows are inserted. A caller is answered only after
COMMIT, and only then is anything announced. Groups of different workspaces are committed side by side. A request that
makes more deliveries than a group may is committed in slices, with other groups in between.

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
from app.ledger import rows, slices
from app.ledger.group import Committed, Committer, EndpointsChanging, Overweight
from app.ledger.quarantine import Quarantine
from app.ledger.submission import Answers, Submission

__all__ = ["Answers", "Ledger", "Submission"]

log = logging.getLogger(__name__)

# Groups of different workspaces that are committed side by side, so that one that posts thousands at a time keeps
# nobody else waiting. More would only share the same disk.
GROUPS_AT_ONCE = 3
# After so long no slice of a request is begun: with the limit of its last one (batching.LIMIT_SECONDS) it is answered
# within 20 s, before clients usually give up.
SLICING_SECONDS = 8.0
TRIES = 3  # a lost connection, a deadlock or a missing partition is mended and tried again before anybody is told

# What a request, or its part of a group, is answered with in place of its events' answers.
FAILURES = (DBAPIError, TimeoutError, Unanswered, Problem)

Outcomes = list[Answers | Exception]  # for each submission of a group
Announce = Callable[[Sequence[Announcement], bool], None]


class Ledger:
    """The writer of one process.

    ends, refuses: the contracts' rules (kind, type, data) -> bool, and -> what is wrong with which field, or None.
    late: which (kind, type) an ended stream still takes.
    announce: called after commit with what happened and whether any delivery is due; must not block or raise.
    most_weight: of a group, see slices.
    on_commit: called after each commit of events, with the number of requests in it and of events. on_warning: for each
    event that does not fit a schema of its workspace that only warns.
    """

    def __init__(
        self,
        database: Database,
        *,
        ends: Callable[[str, str, Any], bool],
        refuses: Callable[[str, str, Any], Complaint | None],
        late: Callable[[str, str], bool] = lambda kind, type: False,
        announce: Announce,
        window_seconds: int,
        max_open_streams: int,
        on_commit: Callable[[int, int], object] = lambda requests, events: None,
        on_warning: Callable[[], object] = lambda: None,
        groups_at_once: int = GROUPS_AT_ONCE,
        most_weight: int = slices.MOST_WEIGHT,
    ) -> None:
        self._database = database
        self._refuses = refuses
        self._announce = announce
        self._on_commit = on_commit
        self._committer = Committer(
            database,
            ends=ends,
            late=late,
            window=timedelta(seconds=window_seconds),
            max_open_streams=max_open_streams,
            most_weight=most_weight,
            on_warning=on_warning,
        )
        self._most_weight = most_weight
        self._quarantine = Quarantine()
        self.lock_seconds = rows.LOCK_SECONDS  # how long a stream's lock is waited for
        self.slicing_seconds = SLICING_SECONDS  # after so long no slice of a request is begun
        self._batcher: Batcher[Submission, Answers] = Batcher(
            self._commit_group,
            max_weight=min(most_weight, slices.MOST_TOGETHER),
            weigh=lambda submission: submission.weight,
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

        A heavy request is committed in slices. If one fails, its events and those behind get the Problem as their
        answers; what is raised is about the first slice, when nothing is stored.

        Raises Problem("unavailable") when the database cannot be reached or does not answer in time: then it is not
        known to be stored, and the producer repeats with the same idempotency key. Raises DBAPIError when the request
        itself is at fault (faults.is_requests_fault).
        """
        if not submission.drafts:
            return []
        checked, answers = self._checked(submission), Answers()
        begin_before = time.monotonic() + self.slicing_seconds
        while len(answers) < len(checked.drafts):
            try:
                answers += self._accept_slice(checked, len(answers), begin_before)
            except Overweight:  # its endpoints were not known; now they are
                continue
            except Exception as error:
                if not answers:
                    raise
                if not isinstance(error, Problem):
                    log.error("events behind a slice not accepted: %s", first_line(error))
                problem = error if isinstance(error, Problem) else Unreachable()
                return answers + [problem.alone()] * (len(checked.drafts) - len(answers))
        return answers

    def _accept_slice(self, submission: Submission, start: int, begin_before: float) -> Answers:
        """Commit what fits into one group, from the event at `start` on. begin_before: monotonic seconds.

        Raises Overweight, and what `accept` does.
        """
        if time.monotonic() > begin_before:
            raise _too_much_at_once()
        wanting = self._committer.wanting(submission.workspace_id)
        stop, weight = slices.reach(submission, start, wanting, self._most_weight)
        try:
            return self._batcher.submit(submission.part(start, stop, weight))
        except (DBAPIError, TimeoutError, Abandoned, Unanswered) as error:
            if isinstance(error, DBAPIError) and faults.is_requests_fault(error):
                raise
            log.warning("events not accepted: %s", first_line(error))
            raise Unreachable() from None

    def _checked(self, submission: Submission) -> Submission:
        """The submission with its refusals: decided before any lock is held, so that no neighbour waits for schemas."""
        refusals = {
            index: reason
            for index, draft in enumerate(submission.drafts)
            if (reason := self._refuses(draft.kind, draft.type, draft.value)) is not None
        }
        return replace(submission, refusals=refusals) if refusals else submission

    def end(self, workspace_id: str, kind: str, external_id: str) -> None:
        """End a stream without an event. A stream that has ended stays as it is.

        Raises Problem: it is absent, or somebody holds it locked.
        """
        epoch = self._committer.epoch()  # looked at before anything is committed
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
        self._announce([Announcement(stream.id, stream.last_seq, None, True, epoch)], False)

    def _commit_group(self, submissions: list[Submission]) -> Outcomes:
        """Commit those that touch a quarantined stream after the others, in a group that waits for no lock."""
        now = time.monotonic()
        apart = [self._quarantine.touches(submission.subjects, now) for submission in submissions]
        if not any(apart):
            return self._commit(submissions, skip=False)
        together = [one for one, away in zip(submissions, apart, strict=True) if not away]
        outcomes = iter(self._outcomes(together, skip=False))
        quarantined = [one for one, away in zip(submissions, apart, strict=True) if away]
        others = iter(self._outcomes(quarantined, skip=True))
        return [next(others if away else outcomes) for away in apart]

    def _outcomes(self, submissions: list[Submission], *, skip: bool) -> Outcomes:
        """Commit a part of a group. Its failure is its own: what the other parts have committed stays accepted."""
        try:
            return self._commit(submissions, skip=skip) if submissions else []
        except FAILURES as error:
            return [error] * len(submissions)

    def _commit(self, submissions: list[Submission], *, skip: bool) -> Outcomes:
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

    def _singly(self, submissions: Sequence[Submission], error: DBAPIError) -> Outcomes:
        """Commit each submission by itself. error: what they were refused with together."""
        if len(submissions) == 1:
            return [self._refused(submissions[0], error)]
        outcomes: Outcomes = []
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
            except FAILURES as error:
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

    def _without(self, submissions: Sequence[Submission], refused: EndpointsChanging, *, skip: bool) -> Outcomes:
        """Commit the others than those whose endpoints are being changed."""
        if not refused.workspace_ids:  # nobody's in particular: without them the same group would be left
            return [refused] * len(submissions)
        away = [one.workspace_id in refused.workspace_ids for one in submissions]
        others = [one for one, is_away in zip(submissions, away, strict=True) if not is_away]
        outcomes = iter(self._outcomes(others, skip=skip))
        return [refused if is_away else next(outcomes) for is_away in away]

    def _parted(self, submissions: Sequence[Submission], error: Overweight, *, skip: bool) -> Outcomes:
        """Commit a group that has turned out too heavy in parts. A submission that is too heavy by itself goes back to
        its caller, who cuts it again."""
        if len(submissions) == 1:
            return [error]
        weights = [slices.weight_of(one, self._committer.wanting(one.workspace_id)) for one in submissions]
        outcomes: Outcomes = []
        for start, stop in slices.packed(weights, self._most_weight):
            outcomes += self._outcomes(list(submissions[start:stop]), skip=skip)
        return outcomes

    def _commit_once(self, submissions: Sequence[Submission], *, skip: bool) -> Outcomes:
        try:
            done = self._committer.commit(submissions, lock_seconds=self.lock_seconds, skip=skip)
        except EndpointsChanging as refused:
            return self._without(submissions, refused, skip=skip)
        except Overweight as error:
            return self._parted(submissions, error, skip=skip)
        if done.busy:
            self._quarantine.add(done.busy, time.monotonic())
        if done.announcements:
            self._tell(done, len(submissions))
        failpoints.reach("ledger.announced")
        return done.answers

    def _tell(self, done: Committed, requests: int) -> None:
        self._on_commit(requests, len(done.announcements))
        self._announce(done.announcements, done.due)


class Unreachable(Problem):
    """The database does not answer: it has been waited for, and whether anything is stored is not known."""

    def __init__(self) -> None:
        text = "The event store cannot be reached; repeat the request with the same idempotency key."
        super().__init__("unavailable", text, retry_after_seconds=1)


def _too_much_at_once() -> Problem:
    text = "The batch makes more deliveries than one request has time for; repeat the events that were not accepted."
    return Problem("unavailable", text, retry_after_seconds=1)
