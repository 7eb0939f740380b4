"""The spans of a request that posts events: accepting it, and committing its events, in each trace that they name."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.core.event.acceptance import Accepted
from app.core.event.drafts import Draft
from app.core.problem import Problem
from app.tracing import Times, Tracing, end, traceparent_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span

ACCEPT, COMMIT = "twofold accept", "twofold commit"


@dataclass(slots=True)
class Traced:
    """drafts: to be submitted, each in a trace. answers: what came of them, to be set before the end."""

    drafts: Sequence[Draft]
    answers: Sequence[Accepted | Problem] = ()


@contextmanager
def around(tracing: Tracing, workspace_id: str, drafts: Sequence[Draft], began: int) -> Iterator[Traced]:
    """Around the submission of a request's drafts. Those that name no trace are the first of a new one, which their
    deliveries belong to as well. began: when the request was begun, nanoseconds since 1970."""
    spans = {name: tracing.begin(ACCEPT, "server", name, began) for name in _named(drafts)}
    traced = Traced(_rooted(drafts, spans))
    submitted = time.time_ns()
    error: str | None = "not accepted"
    try:
        yield traced
        error = next((one.code for one in traced.answers if isinstance(one, Problem)), None)
    except Problem as problem:
        error = problem.code
        raise
    finally:
        now = time.time_ns()
        for name, span in spans.items():
            if below := traceparent_of(span):
                tracing.add(COMMIT, "internal", below, Times(submitted, now), {}, error=error)
            end(span, now, _attributes(workspace_id, name, drafts, traced.answers), error)


def _named(drafts: Sequence[Draft]) -> list[str]:
    """The traces that drafts name, each once; "" for those that name none."""
    return list(dict.fromkeys(draft.traceparent for draft in drafts))


def _rooted(drafts: Sequence[Draft], spans: dict[str, Span]) -> Sequence[Draft]:
    """The drafts; those that name no trace in the one that begins here, if it is exported."""
    root = traceparent_of(spans[""]) if "" in spans else ""
    if not root:
        return drafts
    return [draft if draft.traceparent else draft._replace(traceparent=root) for draft in drafts]


def _attributes(
    workspace_id: str, name: str, drafts: Sequence[Draft], answers: Sequence[Accepted | Problem]
) -> dict[str, Any]:
    own = [index for index, draft in enumerate(drafts) if draft.traceparent == name]
    found: dict[str, Any] = {"twofold.workspace.id": workspace_id, "twofold.events": len(own)}
    if len(own) == 1:
        draft, answer = drafts[own[0]], answers[own[0]] if answers else None
        found |= {"twofold.event.type": draft.type, "twofold.stream.kind": draft.kind}
        if isinstance(answer, Accepted):
            found |= {"twofold.event.id": answer.id, "twofold.event.duplicate": answer.duplicate}
    return found
