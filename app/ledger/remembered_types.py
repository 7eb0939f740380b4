"""The schemas of workspaces' own event types that a process remembers, and the check of events by them.

What is remembered is as of a version of the workspace (workspaces.endpoints_version, which a change of its event types
counts up, too). accept_events compares that version, so no event is accepted or refused by a schema that was another
one when its PUT was answered.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from app.contracts.bounded_schema import MOST_STEPS_TOGETHER, BoundedSchema, Steps
from app.core.problem import Complaint, Problem
from app.ledger.event_types import REJECT
from app.ledger.matching import MOST_WORKSPACES
from app.ledger.submission import Submission

MOST_REMEMBERED_BYTES = 32 * 2**20  # of all workspaces' schemas in one process, as text


class GroupSteps:
    """What the checks of one group may still cost, for each workspace: the group's other requests wait for them."""

    def __init__(self) -> None:
        self._of: dict[str, Steps] = {}

    def of(self, workspace_id: str) -> Steps:
        """One request may use all of them; the ones behind it are put off when they are overdrawn."""
        return self._of.setdefault(workspace_id, Steps(MOST_STEPS_TOGETHER))


def put_off() -> Problem:
    """What a request is answered when those before it in its group have used up its workspace's steps."""
    text = "Checking the workspace's events against its schemas takes too long at the moment; repeat the request."
    return Problem("unavailable", text, retry_after_seconds=1)


@dataclass(slots=True)
class _Remembered:
    """The schemas of one workspace, by type, as of a version; compiled when they are first used."""

    version: int
    texts: dict[str, tuple[str, str]]
    compiled: dict[str, BoundedSchema] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(len(text) for _, text in self.texts.values()) + 1

    def keep(self, former: _Remembered) -> None:
        """Take over what a former version had, as far as it is the same: most changes are to endpoints."""
        if former.texts == self.texts:
            self.texts = former.texts  # the same object: see Findings
        for type, schema in former.compiled.items():
            if type in self.texts and self.texts[type][1] == former.texts[type][1]:
                self.compiled[type] = schema

    def refuses(self, type: str, data: Any, steps: Steps) -> tuple[str, Complaint] | None:
        """What the schema of a type has against a payload, behind what becomes of the event then."""
        check, text = self.texts[type]
        if type not in self.compiled:
            self.compiled[type] = BoundedSchema(json.loads(text), checked=True)
        complaint = self.compiled[type].refuses(data, type, steps)
        return None if complaint is None else (check, complaint)


class RememberedTypes:
    """The schemas of workspaces' own types. One process's."""

    def __init__(
        self, on_warning: Callable[[], object] = lambda: None, give_way: Callable[[], object] = lambda: time.sleep(0)
    ) -> None:
        """on_warning: called for each event that does not fit a schema that only warns. give_way: called behind each
        submission that has been checked, so that the process's other requests go on."""
        self._on_warning = on_warning
        self._give_way = give_way
        self._of: OrderedDict[str, _Remembered] = OrderedDict()
        self._bytes = 0

    def check(
        self, submissions: Sequence[Submission], group: GroupSteps
    ) -> tuple[list[Submission | None], dict[str, int]]:
        """The submissions with what their workspaces' schemas have against their events, and as of which versions of
        those workspaces; one that is not among them is not remembered, and nothing has been checked. None for a
        submission that must be put off; never for all of them."""
        known = {one.workspace_id: found for one in submissions if (found := self._of.get(one.workspace_id))}
        checked = [self._checked(one, known.get(one.workspace_id), group.of(one.workspace_id)) for one in submissions]
        return checked, {workspace_id: found.version for workspace_id, found in known.items()}

    def learn(self, versions: Mapping[str, int], schemas: str) -> None:
        """Remember what the database has answered, as JSON: [workspace id, type, check, schema] for each schema of
        workspaces, which have, or have had a moment before, these versions."""
        learned = {id: _Remembered(version, {}) for id, version in versions.items()}
        for workspace_id, type, check, schema in json.loads(schemas):
            if workspace_id in learned:
                learned[workspace_id].texts[type] = (check, schema)
        for workspace_id, one in learned.items():
            if (former := self._forget(workspace_id)) is not None:
                one.keep(former)
            self._of[workspace_id] = one
            self._bytes += one.size
        while self._bytes > MOST_REMEMBERED_BYTES or len(self._of) > MOST_WORKSPACES:
            oldest = next(iter(self._of))
            if oldest in learned:  # they are about to be used
                break
            self._forget(oldest)

    def _forget(self, workspace_id: str) -> _Remembered | None:
        if (former := self._of.pop(workspace_id, None)) is not None:
            self._bytes -= former.size
        return former

    def _checked(self, submission: Submission, remembered: _Remembered | None, shared: Steps) -> Submission | None:
        if remembered is None or not remembered.texts:
            return submission
        findings = submission.findings
        if findings.texts is not remembered.texts:
            found = self._look(submission, remembered, shared)
            self._give_way()
            if found is None:
                return None
            findings.texts, findings.refusals = remembered.texts, found
        return replace(submission, refusals={**findings.refusals, **submission.refusals})

    def _look(self, submission: Submission, remembered: _Remembered, shared: Steps) -> dict[int, Complaint] | None:
        """What the schemas refuse, by index; None when the submission must be put off."""
        found: dict[int, Complaint] = {}
        for index, draft in enumerate(submission.drafts):
            if index in submission.refusals or draft.type not in remembered.texts:
                continue
            if shared.left < 0:
                return None
            before = submission.steps.left
            refused = remembered.refuses(draft.type, draft.value, submission.steps)
            shared.left -= before - submission.steps.left
            if refused is not None and refused[0] == REJECT:
                found[index] = refused[1]
            elif refused is not None:
                self._on_warning()
        return found
