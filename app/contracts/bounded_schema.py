"""A workspace's own JSON Schema, compiled so that checking an event has a bounded cost, whoever wrote the schema.

Contracts are files of the operator's and are checked as they are (load.py). These schemas come over the API: they may
not refer to elsewhere (app/core/event/schema_rules.py says what else), and each check has a budget of steps, which
schema_words.py counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend

from app.contracts.load import cut, field_of, place_of
from app.contracts.schema_words import Check, TooCostly
from app.core.event.schema_rules import complaints_of
from app.core.problem import Complaint, complaint

MOST_STEPS = 50_000  # of one check: a step is a microsecond or two, so a tenth of a second at most
MOST_STEPS_TOGETHER = 100_000  # of all checks of one request, slices and repeats of them included
MOST_ERRORS = 10  # of a schema that is none: the best of them is told


@dataclass(slots=True)
class Steps:
    """What the checks of one request, or of one group's requests, may still cost."""

    left: int = MOST_STEPS_TOGETHER


class BoundedSchema:
    """A schema that may be used by any number of requests at once."""

    def __init__(self, schema: Mapping[str, Any], *, checked: bool = False) -> None:
        """checked: whether complaints_about has been asked before. Raises ValueError for a schema that it refuses."""
        if not checked and (complaints := complaints_about(schema)):
            raise ValueError(complaints[0]["detail"])
        self._schema = schema

    def refuses(self, data: Any, type: str, steps: Steps, field: str = "data") -> Complaint | None:
        """Which field of this payload the schema refuses and why, or None. field: what the payload is called."""
        granted = min(MOST_STEPS, steps.left)
        check = Check(granted, self._schema.get("$defs", {}))
        try:
            error = check.refusal(self._schema, data)
            if error is None:
                return None
            place, why = cut(place_of(error.absolute_path, field)), cut(error.message)
            return complaint(cut(field_of(error, field)), f"The workspace's schema of {type} refuses {place}: {why}")
        except TooCostly:
            text = f"The schema of {type} takes too long to check against this data; post less at once."
            return complaint(field, text)
        except Exception:  # a number beyond a float: no event may stop others
            return complaint(field, f"The schema of {type} cannot be applied to this data.")
        finally:
            steps.left -= granted - max(check.left, 0)


def complaints_about(schema: Any, field: str = "schema") -> list[Complaint]:
    """What is wrong with a schema: by JSON Schema, and by our rules. Empty when it may be used."""
    if complaints := complaints_of(schema, field):
        return complaints
    error = best_match(islice(_OfSchemas(Draft202012Validator.META_SCHEMA).iter_errors(schema), MOST_ERRORS))
    return [] if error is None else [complaint(place_of(error.absolute_path, field), cut(error.message))]


def _unique(validator: Any, wanted: bool, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """jsonschema's own compares each item with each other one. What must be unique in a schema are names."""
    if wanted and isinstance(instance, list) and len({json.dumps(one) for one in instance}) < len(instance):
        yield ValidationError("has items that are not unique")


_OfSchemas: Any = extend(Draft202012Validator, {"uniqueItems": _unique})
