"""What is submitted to the ledger, and what is answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.accounts.callers import Presented
from app.contracts.bounded_schema import Steps
from app.core.event.acceptance import Accepted, Subject, subject_of
from app.core.event.drafts import Draft
from app.core.problem import Complaint, Problem

Answers = list[Accepted | Problem]


@dataclass(slots=True)
class Findings:
    """What a workspace's schemas have refused of a submission, by index, so that it is not checked again when its group
    is matched or tried again. texts: the schemas, the very object that is remembered; None before the first check."""

    texts: object = None
    refusals: Mapping[int, Complaint] = field(default_factory=dict)


@dataclass(slots=True)
class Submission:
    """The events of one request. only_endpoint_id: a test event, delivered to that endpoint alone.

    refusals: what the schemas have against the draft at an index; the ledger looks by itself. presented: judged along
    with the commit; None for a caller who has been judged otherwise. weight: see slices. steps: what the checks of the
    request may still cost, its slices together.
    """

    workspace_id: str
    drafts: Sequence[Draft]
    only_endpoint_id: str | None = None
    refusals: Mapping[int, Complaint] = field(default_factory=dict)
    presented: Presented | None = None
    weight: int = 1
    steps: Steps = field(default_factory=Steps, compare=False)
    findings: Findings = field(default_factory=Findings, compare=False)

    @property
    def subjects(self) -> list[Subject]:
        """The stream of each draft, in order."""
        return [subject_of(self.workspace_id, draft) for draft in self.drafts]

    def part(self, start: int, stop: int, weight: int) -> Submission:
        """The events from `start` up to `stop`, with their refusals."""
        if stop - start == len(self.drafts):
            self.weight = weight  # in place: most requests are one part, and a copy takes longer than its weighing
            return self
        refusals = {index - start: reason for index, reason in self.refusals.items() if start <= index < stop}
        return replace(self, drafts=self.drafts[start:stop], refusals=refusals, weight=weight, findings=Findings())
