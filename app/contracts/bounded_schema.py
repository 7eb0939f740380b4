"""A workspace's own JSON Schema, compiled so that checking an event has a bounded cost, whoever wrote the schema.

Contracts are files of the operator's and are checked as they are (load.py). These schemas come over the API: they may
not refer to elsewhere (app/core/event/schema_rules.py says what else), and each check has a budget of steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import extend
from referencing import Registry

from app.contracts.load import cut, field_of, place_of
from app.core.event.schema_rules import MOST_TRIES, complaints_of, tries
from app.core.problem import Complaint, complaint

MOST_STEPS = 10_000  # words of a schema applied to values in one check: a tenth of a second at most
MOST_STEPS_TOGETHER = 100_000  # of all checks of one request, which no other request of the process gets between
TRIES_PER_STEP = 1_000  # of a pattern: a step takes about as long


class TooCostly(Exception):
    """The check has used up its steps."""


@dataclass(slots=True)
class Steps:
    """What the checks of one request may still cost."""

    left: int = MOST_STEPS_TOGETHER


_steps_left: ContextVar[int] = ContextVar("steps_left", default=MOST_STEPS)


class BoundedSchema:
    """A schema that may be used by any number of requests at once."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Raises ValueError for a schema that complaints_of refuses."""
        if complaints := complaints_about(schema):
            raise ValueError(complaints[0]["detail"])
        # A registry of its own: the default one would fetch a `$ref` to a URL from the network.
        self._validator = _Validator(dict(schema), registry=Registry())

    def refuses(self, data: Any, type: str, steps: Steps, field: str = "data") -> Complaint | None:
        """Which field of this payload the schema refuses and why, or None. field: what the payload is called."""
        granted = min(MOST_STEPS, steps.left)
        _steps_left.set(granted)
        try:
            error = next(self._validator.iter_errors(data), None)
        except TooCostly:
            text = f"The schema of {type} takes too long to check against this data; post less at once."
            return complaint(field, text)
        except Exception:  # a number beyond a float: no event may stop others
            return complaint(field, f"The schema of {type} cannot be applied to this data.")
        finally:
            steps.left -= granted - max(_steps_left.get(), 0)
        if error is None:
            return None
        place, why = cut(place_of(error.absolute_path, field)), cut(error.message)
        return complaint(cut(field_of(error, field)), f"The workspace's schema of {type} refuses {place}: {why}")


def complaints_about(schema: Any, field: str = "schema") -> list[Complaint]:
    """What is wrong with a schema: by JSON Schema, and by our rules. Empty when it may be used."""
    if complaints := complaints_of(schema, field):
        return complaints
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return [complaint(place_of(error.absolute_path, field), cut(error.message))]
    return []


def _spend(steps: int) -> None:
    left = _steps_left.get() - steps
    _steps_left.set(left)
    if left < 0:
        raise TooCostly


_Word = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


def _counted(word: _Word, validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """A word of a schema, with each use of it counted."""
    _spend(1)
    yield from word(validator, value, instance, schema) or ()


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "string"):
        if not _try(pattern, instance):
            yield ValidationError(f"a text of {len(instance)} characters is too long for the pattern {pattern!r}")
        else:
            yield from Draft202012Validator.VALIDATORS["pattern"](validator, pattern, instance, schema) or ()


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if validator.is_type(instance, "object"):
        for pattern in patterns:
            if not all(_try(pattern, name) for name in instance):
                yield ValidationError(f"a name is too long for the pattern {pattern!r}")
                return
        yield from Draft202012Validator.VALIDATORS["patternProperties"](validator, patterns, instance, schema) or ()


def _additional(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """It tries the patterns of patternProperties, too, once for all of them."""
    if validator.is_type(instance, "object"):
        patterns = schema.get("patternProperties", {})
        if not all(_try(pattern, name) for pattern in patterns for name in instance):
            yield ValidationError("a name is too long for a pattern of patternProperties")
            return
        yield from Draft202012Validator.VALIDATORS["additionalProperties"](validator, allowed, instance, schema) or ()


def _try(pattern: str, text: str) -> bool:
    """Whether a text may be put to a pattern; the ways that are tried count as steps."""
    ways = tries(pattern, len(text))
    if ways > MOST_TRIES:
        return False
    _spend(ways // TRIES_PER_STEP)
    return True


def _unique(validator: Any, wanted: bool, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """jsonschema's own compares each item with each other one."""
    if wanted and validator.is_type(instance, "array") and len({_hashable(item) for item in instance}) < len(instance):
        yield ValidationError("has items that are not unique")


def _hashable(value: Any) -> Any:
    if isinstance(value, dict):
        return frozenset((name, _hashable(one)) for name, one in value.items())
    if isinstance(value, list):
        return tuple(_hashable(one) for one in value)
    return (isinstance(value, bool), value)  # 1 is 1.0, and neither is true


_OWN: dict[str, _Word] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional,
    "uniqueItems": _unique,
}
_Validator: Any = extend(
    Draft202012Validator,
    {name: partial(_counted, _OWN.get(name, word)) for name, word in Draft202012Validator.VALIDATORS.items()},
)
