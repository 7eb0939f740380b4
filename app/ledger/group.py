"""One call of the database for a group of requests: it judges, locks, decides, inserts and commits."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import DBAPIError

from app import failpoints
from app.core.event.acceptance import Subject
from app.core.problem import Problem
from app.core.wire.envelope import Announcement
from app.database import faults
from app.database.connection import Database
from app.database.history import History, Known
from app.database.patience import within
from app.ledger import slices
from app.ledger.matching import RememberedEndpoints, Wants
from app.ledger.parcel import Answered, Parcel
from app.ledger.remembered_types import GroupSteps, RememberedTypes, put_off
from app.ledger.slices import Wanting
from app.ledger.statements import ACCEPT_EVENTS, ACCEPT_ONE
from app.ledger.submission import Answers, Submission

# Of a group that steps around locks, for the few rows that cannot be skipped: a stream that is being made, a key.
SKIPPING_LOCK_SECONDS = 0.1
# A call takes tens of milliseconds, and waits a second for a lock at most: whoever hears nothing for so long has lost
# the connection. Less than what those who wait behind it have (half of batching.LIMIT_SECONDS).
CALL_SECONDS = 5.0
# Each match of a group uses endpoints that were read a moment before: somebody changes them all the time.
MATCHINGS = 5
# A server that was started anew is learnt once. Whoever finds yet another one has to wait until they stay.
OTHER_SERVERS = 2


class Overweight(Exception):
    """The group makes more deliveries than one call may, as its endpoints have turned out: nothing has been done, and
    they are remembered now."""


class EndpointsChanging(Problem):
    """The endpoints of these workspaces are changed faster than events can be matched; nothing has been done."""

    def __init__(self, workspace_ids: frozenset[str]) -> None:
        text = "The workspace's endpoints are being changed all the time; repeat the request."
        super().__init__("unavailable", text, retry_after_seconds=1)
        self.workspace_ids = workspace_ids


@dataclass(frozen=True, slots=True)
class Committed:
    """What a call did. answers: for each submission. due: whether any delivery is. busy: the streams that somebody else
    held locked."""

    answers: list[Answers | Exception]
    announcements: Sequence[Announcement]
    due: bool
    busy: frozenset[Subject]


class Committer:
    """Commits groups, one call each. ends, late: the contracts' rules (kind, type, data) -> bool and (kind, type) ->
    bool. most_weight: see slices. on_warning: called for each event that does not fit a schema of its workspace that
    only warns."""

    def __init__(
        self,
        database: Database,
        *,
        ends: Callable[[str, str, Any], bool],
        late: Callable[[str, str], bool],
        window: timedelta,
        max_open_streams: int,
        most_weight: int,
        on_warning: Callable[[], object] = lambda: None,
    ) -> None:
        self._most_weight = most_weight
        self._database = database
        self._ends, self._late = ends, late
        self._window_seconds = int(window.total_seconds())
        self._max_open_streams = max_open_streams
        self._endpoints = RememberedEndpoints()
        self._history = History(database)
        self._types = RememberedTypes(on_warning)

    def commit(self, submissions: Sequence[Submission], *, lock_seconds: float, skip: bool) -> Committed:
        """Commit what can be accepted. Raises DBAPIError, Unanswered, Overweight and
        EndpointsChanging.

        lock_seconds: how long a lock is waited for. skip: streams that somebody else holds are not waited for at all,
        and their events are answered `unavailable`.
        """
        taken, parcel, answered, history = self._call(
            submissions, SKIPPING_LOCK_SECONDS if skip else lock_seconds, skip
        )
        answers = iter(parcel.answers(answered, self._max_open_streams))
        return Committed(
            [next(answers) if is_taken else put_off() for is_taken in taken],
            parcel.announcements(answered, history.epoch),
            answered.due > 0,
            parcel.busy(answered),
        )

    def epoch(self) -> int:
        """The history of the log in which events are accepted. Raises DBAPIError, TimeoutError and Unanswered."""
        return self._history.known().epoch

    def wanting(self, workspace_id: str) -> Wanting:
        """How many endpoints of a workspace may get an event, as far as is remembered."""
        return self._endpoints.of(workspace_id).matcher.weight

    def _call(
        self, submissions: Sequence[Submission], lock_seconds: float, skip: bool
    ) -> tuple[list[bool], Parcel, Answered, Known]:
        """Which submissions were put to the database, as what, its answer, and in which history."""
        failpoints.reach("ledger.commit")
        milliseconds = int(lock_seconds * 1000)
        changing: frozenset[str] = frozenset()
        steps, others = GroupSteps(), 0
        for _ in range(MATCHINGS):
            self._weigh(submissions)
            checked, versions = self._types.check(submissions, steps)
            parcel = Parcel([one for one in checked if one is not None], self._ends, self._late)
            wants = [self._endpoints.of(id).as_of(versions.get(id)) for id in parcel.workspace_ids]
            with within(CALL_SECONDS):
                history = self._history.known()
                try:
                    row = self._put(parcel, wants, milliseconds, skip, history)
                except DBAPIError as error:
                    others += 1
                    if not faults.is_other_server(error) or others > OTHER_SERVERS:
                        raise
                    self._history.learn()
                    continue
            answered = Answered(*row)
            if answered.stale is None:
                failpoints.reach("ledger.committed")
                return [one is not None for one in checked], parcel, answered, history
            changing = self._endpoints.learn(answered.stale)
            learned = {workspace_id: self._endpoints.of(workspace_id).version for workspace_id in changing}
            self._types.learn(learned, answered.schemas or "[]")
        raise EndpointsChanging(changing)

    def _put(self, parcel: Parcel, wants: Sequence[Wants], milliseconds: int, skip: bool, history: Known) -> Any:
        """What the database says to a parcel: the one row. milliseconds: how long a lock is waited for."""
        limits = (self._window_seconds, self._max_open_streams)
        alone = None if skip else parcel.values_of_one(wants, os.urandom)
        if alone is not None:
            (row,) = self._database.write(ACCEPT_ONE, milliseconds, *limits, *alone, history.started)
        else:
            values = parcel.values(wants, os.urandom)
            (row,) = self._database.write(ACCEPT_EVENTS, milliseconds, skip, *limits, *values, history.started)
        return row

    def _weigh(self, submissions: Sequence[Submission]) -> None:
        """Raise Overweight if this must not be one call. A single event is one, however many endpoints get it."""
        weight = sum(slices.weight_of(one, self.wanting(one.workspace_id)) for one in submissions)
        if weight > self._most_weight and sum(len(one.drafts) for one in submissions) > 1:
            raise Overweight
