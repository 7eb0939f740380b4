"""The catalogue of event types: what each means, an example, its schema."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response

from app.core.contract.model import Rules
from app.web.pages.portal.visit import PortalVisit, portal_page

api = Blueprint("portal_types", __name__)


@dataclass(frozen=True, slots=True)
class CatalogueType:
    """One event type. kinds: of the streams that it comes from."""

    type: str
    kinds: Sequence[str]
    about: str
    example: Mapping[str, Any]
    schema: Mapping[str, Any]

    @property
    def example_text(self) -> str:
        """The example, laid out for reading."""
        return json.dumps(self.example, indent=2, ensure_ascii=False)

    @property
    def schema_text(self) -> str:
        """The schema, likewise."""
        return json.dumps(self.schema, indent=2, ensure_ascii=False)


def catalogue(rules: Rules) -> list[CatalogueType]:
    """The types that the contracts declare, by name; one that several kinds have is shown as the first has it."""
    by_name: dict[str, list[Any]] = {}
    for declared in rules.types.values():
        by_name.setdefault(declared.type, []).append(declared)
    return [
        CatalogueType(type, [one.kind for one in same], same[0].about, same[0].example, same[0].schema)
        for type, same in sorted(by_name.items())
    ]


@portal_page(api, "GET", "/portal/types")
def event_types(visit: PortalVisit) -> Response:
    return visit.show("types.html", types=catalogue(visit.engine.rules))
