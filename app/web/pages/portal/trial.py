"""Sends a test event of any type to one endpoint: the catalogue's example of it, on the workspace's stream of tests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.core.event import drafts, names
from app.core.event.acceptance import Accepted
from app.core.problem import invalid
from app.ledger.ledger import Submission
from app.web.api.endpoints import TEST_KIND, TEST_STREAM, TEST_TYPE
from app.web.engine import Engine
from app.web.pages.portal.types import catalogue


@dataclass(frozen=True, slots=True)
class _Choice:
    type: str
    data: Mapping[str, Any]


def send(engine: Engine, workspace_id: str, endpoint_id: str, type: str) -> None:
    """Accept a test event for this endpoint alone, whatever its filters say. type: "" for the plain test.

    Raises Problem: invalid for a type that the catalogue does not have, or what the ledger has against the event.
    """
    chosen = _chosen(engine, type)
    text = json.dumps(chosen.data, separators=(",", ":"), ensure_ascii=False)
    draft = drafts.Draft(TEST_KIND, TEST_STREAM, chosen.type, text, chosen.data, None, None)
    (outcome,) = engine.ledger.accept(Submission(workspace_id, [draft], endpoint_id))
    if not isinstance(outcome, Accepted):
        raise outcome


def _chosen(engine: Engine, type: str) -> _Choice:
    if not type:
        return _Choice(TEST_TYPE, {"text": "A test of this endpoint, asked for by its owner."})
    found = next((one for one in catalogue(engine.rules) if one.type == type), None)
    if found is None or not names.TYPE.fullmatch(type):
        raise invalid("type", "there is no such event type")
    return _Choice(type, found.example)
