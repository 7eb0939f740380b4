"""The catalogue of event types for people: what each means, an example, its schema; the workspace's own among them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.core.contract.model import Rules
from app.ledger.event_types import REJECT
from app.web.api.event_types import all_types


@dataclass(frozen=True, slots=True)
class CatalogueType:
    """One event type. kinds: of the streams that it comes from, none for the workspace's own, which any stream takes.
    is_checked: whether an event that does not fit the schema is refused."""

    type: str
    kinds: Sequence[str]
    about: str
    example: Mapping[str, Any] | None
    schema: Mapping[str, Any] | None
    is_checked: bool
    deprecated: bool

    @property
    def example_text(self) -> str:
        """The example, laid out for reading."""
        return json.dumps(self.example, indent=2, ensure_ascii=False)

    @property
    def schema_text(self) -> str:
        """The schema, likewise."""
        return json.dumps(self.schema, indent=2, ensure_ascii=False)


def catalogue(connection: Connection, rules: Rules, workspace_id: str) -> list[CatalogueType]:
    """The types that a workspace's endpoints can be sent, by name. One that several declare is shown as the first has
    it: the workspace itself, before contracts by their kind."""
    by_name: dict[str, list[dict[str, Any]]] = {}
    with Session(connection) as session:
        for row in all_types(session, rules, workspace_id):
            by_name.setdefault(row["type"], []).append(row)
    return [
        CatalogueType(
            type,
            [one["kind"] for one in same if same[0]["kind"]],
            same[0]["description"],
            same[0]["example"],
            same[0]["schema"],
            same[0]["check"] == REJECT,
            same[0]["deprecated"],
        )
        for type, same in by_name.items()
    ]
