"""Sends a test event of any type to one endpoint: the catalogue's example of it, on the workspace's stream of tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Row
from sqlalchemy.orm import Session

from app.core.event import drafts
from app.core.event.acceptance import Accepted
from app.core.problem import Problem, invalid
from app.delivery.endpoints import ENABLED
from app.ledger.ledger import Submission
from app.web.api.endpoints import TEST_KIND, TEST_STREAM, TEST_TYPE
from app.web.api.event_types import example_of
from app.web.engine import Engine


def example(connection: Connection, engine: Engine, workspace_id: str, type: str) -> Mapping[str, Any]:
    """What a test event of a type says. type: "" for the plain test. Raises Problem invalid for a type that the
    catalogue does not have, or has no example of."""
    if not type:
        return {"text": "A test of this endpoint, asked for by its owner."}
    try:
        with Session(connection) as session:
            return example_of(session, engine.rules, workspace_id, type)
    except Problem as problem:
        if problem.code != "unknown_type":
            raise
        raise invalid("type", "the catalogue of event types has no example of this one") from None


def send(engine: Engine, row: Row[Any], type: str, data: Mapping[str, Any]) -> None:
    """Accept a test event for this endpoint alone, whatever its filters say. type: "" for the plain test.

    Raises Problem: conflict for one that is paused, or what the ledger has against the event.
    """
    if row.status != ENABLED:
        raise Problem("conflict", "The endpoint is paused. Enable it first, then send the test.")
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    draft = drafts.Draft(TEST_KIND, TEST_STREAM, type or TEST_TYPE, text, data, None, None)
    (outcome,) = engine.ledger.accept(Submission(row.workspace_id, [draft], row.id))
    if not isinstance(outcome, Accepted):
        raise outcome
