"""The words of JSON Schema (2020-12) that a workspace's schema may use, each applied at a counted cost.

Not jsonschema's own: those build an error with a copy of the value, as text, for each branch that does not fit, and
compare items with each other one by one. Here only what is answered in the end is put into words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from typing import Any

from app.core.event.schema_rules import MOST_TRIES, pattern_of

TRIES_PER_STEP = 500  # of a pattern: a step takes about as long, a microsecond
LOOKS_PER_STEP = 8  # of a name in an object, or of a value in an enum
STEPS_PER_SEARCH = 3  # besides: the ways are counted for each text
STEPS_PER_LETTER = 20  # to read a pattern for the first time: character sets are tables of 64 kB
REFERENCE = "#/$defs/"


class TooCostly(Exception):
    """The check has used up its steps."""


@dataclass(slots=True)
class Refusal:
    """Why a value does not fit. path: from the value inwards, the last step first. The other names are jsonschema's."""

    validator: str
    validator_value: Any
    instance: Any
    text: str
    named: Any = None
    path: list[str | int] = field(default_factory=list)

    @property
    def absolute_path(self) -> Iterable[str | int]:
        """Where the value stands in the payload."""
        return reversed(self.path)

    @property
    def message(self) -> str:
        """In words; quotes the value, so it may be long."""
        parts = {"value": self.instance, "wanted": self.validator_value, "named": self.named}
        return self.text.format(**{name: repr(part) for name, part in parts.items() if f"{{{name}}}" in self.text})


@dataclass(slots=True)
class Check:
    """One check of one value. left: the steps that it may still take. definitions: the schema's $defs."""

    left: int
    definitions: Mapping[str, Any]

    def spend(self, steps: int) -> None:
        """Raises TooCostly."""
        self.left -= steps
        if self.left < 0:
            raise TooCostly

    def refusal(self, schema: Any, value: Any) -> Refusal | None:
        """Why a value does not fit a schema, or None. Raises TooCostly."""
        self.spend(1 if isinstance(schema, bool) else max(len(schema), 1))
        if isinstance(schema, bool):
            return None if schema else Refusal("false", schema, value, "False schema does not allow {value}")
        for word, wanted in schema.items():
            rule = _WORDS.get(word)
            if rule is not None and (found := rule(self, wanted, value, schema)) is not None:
                return found
        return None

    def below(self, at: str | int, schema: Any, value: Any) -> Refusal | None:
        """As `refusal`, of a member or an item."""
        found = self.refusal(schema, value)
        if found is not None:
            found.path.append(at)
        return found

    def fits(self, schema: Any, value: Any) -> bool:
        """Whether a value fits a schema. Raises TooCostly."""
        return self.refusal(schema, value) is None


_Word = Callable[[Check, Any, Any, Mapping[str, Any]], Refusal | None]


def _first(found: Iterable[Refusal | None]) -> Refusal | None:
    return next((one for one in found if one is not None), None)


def _is(value: Any, type: str) -> bool:
    if isinstance(value, bool):
        return type == "boolean"
    if type == "integer":
        return isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return isinstance(value, _PYTHON[type])


_PYTHON: dict[str, Any] = {
    "array": list,
    "boolean": bool,
    "null": type(None),
    "number": (int, float),
    "object": dict,
    "string": str,
}


def _type(check: Check, wanted: Any, value: Any, schema: Any) -> Refusal | None:
    if isinstance(wanted, str):
        return None if _is(value, wanted) else Refusal("type", wanted, value, "{value} is not of type {wanted}")
    fits = any(_is(value, one) for one in wanted)
    return None if fits else Refusal("type", wanted, value, "{value} is of no type of {wanted}")


def _same(check: Check, one: Any, other: Any) -> bool:
    """Whether two values are equal in JSON: 1 is 1.0, and neither is true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list):
        if not isinstance(other, list) or len(one) != len(other):
            return False
        check.spend(len(one))
        return all(_same(check, left, right) for left, right in zip(one, other, strict=True))
    if isinstance(one, dict):
        if not isinstance(other, dict) or len(one) != len(other):
            return False
        check.spend(len(one))
        return all(name in other and _same(check, part, other[name]) for name, part in one.items())
    return bool(one == other)


def _const(check: Check, wanted: Any, value: Any, schema: Any) -> Refusal | None:
    return None if _same(check, wanted, value) else Refusal("const", wanted, value, "{wanted} was expected")


def _enum(check: Check, wanted: Any, value: Any, schema: Any) -> Refusal | None:
    check.spend(len(wanted) // LOOKS_PER_STEP)
    if isinstance(value, (dict, list)):
        found = any(_same(check, one, value) for one in wanted)
    else:
        found = any(one == value and isinstance(one, bool) == isinstance(value, bool) for one in wanted)
    if found:
        return None
    return Refusal("enum", wanted, value, "{value} is not one of {wanted}")


def _limit(
    type: str, breaks: Callable[[Any, Any], bool], text: str, check: Check, wanted: Any, value: Any, schema: Any
) -> Refusal | None:
    """A bound of a number, of a length or of a count."""
    return Refusal("", wanted, value, text) if _is(value, type) and breaks(value, wanted) else None


def _multiple_of(check: Check, wanted: Any, value: Any, schema: Any) -> Refusal | None:
    if not _is(value, "number"):
        return None
    if isinstance(wanted, float):
        quotient = value / wanted
        try:
            broken = int(quotient) != quotient
        except OverflowError:  # beyond a float: exactly, then
            check.spend(10)
            broken = (Fraction(value) / Fraction(wanted)).denominator != 1
    else:
        broken = bool(value % wanted)
    return Refusal("multipleOf", wanted, value, "{value} is not a multiple of {wanted}") if broken else None


def _search(check: Check, pattern: str, text: str) -> bool | None:
    """Whether a pattern is found in a text; None for a text that is too long for it."""
    known = pattern_of.cache_info().misses
    read = pattern_of(pattern)
    if pattern_of.cache_info().misses > known:
        check.spend(len(pattern) * STEPS_PER_LETTER)
    ways = read.tries(len(text))
    if ways > MOST_TRIES:
        return None
    check.spend(STEPS_PER_SEARCH + len(pattern) // 2 + ways // TRIES_PER_STEP)
    return read.compiled.search(text) is not None


def _pattern(check: Check, wanted: str, value: Any, schema: Any) -> Refusal | None:
    if not isinstance(value, str) or (found := _search(check, wanted, value)):
        return None
    if found is None:
        text = "a text of {named} characters is too long for the pattern {wanted}"
        return Refusal("pattern", wanted, value, text, len(value))
    return Refusal("pattern", wanted, value, "{value} does not match {wanted}")


def _pattern_properties(check: Check, wanted: Mapping[str, Any], value: Any, schema: Any) -> Refusal | None:
    if not isinstance(value, dict):
        return None
    for pattern, below in wanted.items():
        for name, part in value.items():
            matches = _search(check, pattern, name)
            if matches is None:
                return Refusal(
                    "patternProperties", wanted, value, "a name is too long for the pattern {named}", pattern
                )
            if matches and (found := check.below(name, below, part)) is not None:
                return found
    return None


def _additional(check: Check, wanted: Any, value: Any, schema: Mapping[str, Any]) -> Refusal | None:
    if not isinstance(value, dict):
        return None
    check.spend(len(value) // LOOKS_PER_STEP)
    declared, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    for name, part in value.items():
        if name in declared or any(_search(check, pattern, name) is not False for pattern in patterns):
            continue
        if wanted is False:
            text = "Additional properties are not allowed ({named} was unexpected)"
            return Refusal("additionalProperties", wanted, value, text, name)
        if (found := check.below(name, wanted, part)) is not None:
            return found
    return None


def _properties(check: Check, wanted: Mapping[str, Any], value: Any, schema: Any) -> Refusal | None:
    if not isinstance(value, dict):
        return None
    check.spend(len(wanted) // LOOKS_PER_STEP)
    return _first(check.below(name, below, value[name]) for name, below in wanted.items() if name in value)


def _property_names(check: Check, wanted: Any, value: Any, schema: Any) -> Refusal | None:
    return _first(check.refusal(wanted, name) for name in value) if isinstance(value, dict) else None


def _required(check: Check, wanted: list[str], value: Any, schema: Any) -> Refusal | None:
    if not isinstance(value, dict):
        return None
    check.spend(len(wanted) // LOOKS_PER_STEP)
    text = "{named} is a required property"
    return _first(Refusal("required", wanted, value, text, name) for name in wanted if name not in value)


def _dependent_required(check: Check, wanted: Mapping[str, list[str]], value: Any, schema: Any) -> Refusal | None:
    if not isinstance(value, dict):
        return None
    for name, needed in wanted.items():
        check.spend(1 + len(needed) // LOOKS_PER_STEP)
        missing = [one for one in needed if one not in value] if name in value else []
        if missing:
            return Refusal("dependentRequired", name, value, "{named} is a dependency of {wanted}", missing[0])
    return None


def _dependent_schemas(check: Check, wanted: Mapping[str, Any], value: Any, schema: Any) -> Refusal | None:
    if not isinstance(value, dict):
        return None
    return _first(check.refusal(below, value) for name, below in wanted.items() if name in value)


def _items(check: Check, wanted: Any, value: Any, schema: Mapping[str, Any]) -> Refusal | None:
    if not isinstance(value, list):
        return None
    before = len(schema.get("prefixItems", ()))
    if wanted is False and len(value) > before:
        text = f"Expected at most {before} items but found {len(value) - before} extra"
        return Refusal("items", wanted, value, text)
    return _first(check.below(index, wanted, value[index]) for index in range(before, len(value)))


def _prefix_items(check: Check, wanted: list[Any], value: Any, schema: Any) -> Refusal | None:
    if not isinstance(value, list):
        return None
    return _first(check.below(index, *pair) for index, pair in enumerate(zip(wanted, value, strict=False)))


def _contains(check: Check, wanted: Any, value: Any, schema: Mapping[str, Any]) -> Refusal | None:
    if not isinstance(value, list):
        return None
    found, most = sum(check.fits(wanted, item) for item in value), schema.get("maxContains", len(value))
    if found > most:
        return Refusal("contains", most, value, "Too many items match the given schema (expected at most {wanted})")
    if found < (least := schema.get("minContains", 1)):
        text = "{named} items match the given schema (expected at least {wanted})"
        return Refusal("contains", least, value, text, found)
    return None


def _unique(check: Check, wanted: bool, value: Any, schema: Any) -> Refusal | None:
    if not wanted or not isinstance(value, list) or len({_key(check, item) for item in value}) == len(value):
        return None
    return Refusal("uniqueItems", wanted, value, "{value} has non-unique elements")


def _key(check: Check, value: Any) -> Any:
    """What is equal for equal values. Numbers become texts: whoever chooses numbers can make their hashes collide."""
    check.spend(1)
    if isinstance(value, dict):
        return frozenset((name, _key(check, part)) for name, part in value.items())
    if isinstance(value, list):
        return tuple(_key(check, part) for part in value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return ("number", hex(int(value)) if _is(value, "integer") else float(value).hex())
    return (type(value).__name__, value)


def _all_of(check: Check, wanted: list[Any], value: Any, schema: Any) -> Refusal | None:
    return _first(check.refusal(one, value) for one in wanted)


def _any_of(check: Check, wanted: list[Any], value: Any, schema: Any) -> Refusal | None:
    if any(check.fits(one, value) for one in wanted):
        return None
    return Refusal("anyOf", wanted, value, "{value} is not valid under any of the given schemas")


def _one_of(check: Check, wanted: list[Any], value: Any, schema: Any) -> Refusal | None:
    fitting = sum(check.fits(one, value) for one in wanted)
    if fitting == 1:
        return None
    how = "more than one" if fitting else "any"
    return Refusal(
        "oneOf", wanted, value, f"{{value}} is {'' if fitting else 'not '}valid under {how} of the given schemas"
    )


def _not(check: Check, wanted: Any, value: Any, schema: Any) -> Refusal | None:
    return (
        Refusal("not", wanted, value, "{value} should not be valid under {wanted}")
        if check.fits(wanted, value)
        else None
    )


def _if(check: Check, wanted: Any, value: Any, schema: Mapping[str, Any]) -> Refusal | None:
    return check.refusal(schema.get("then" if check.fits(wanted, value) else "else", True), value)


def _ref(check: Check, wanted: str, value: Any, schema: Any) -> Refusal | None:
    return check.refusal(check.definitions[wanted.removeprefix(REFERENCE)], value)


_WORDS: dict[str, _Word] = {
    "$ref": _ref,
    "additionalProperties": _additional,
    "allOf": _all_of,
    "anyOf": _any_of,
    "const": _const,
    "contains": _contains,
    "dependentRequired": _dependent_required,
    "dependentSchemas": _dependent_schemas,
    "enum": _enum,
    "exclusiveMaximum": partial(
        _limit, "number", lambda one, most: one >= most, "{value} is greater than or equal to the maximum of {wanted}"
    ),
    "exclusiveMinimum": partial(
        _limit, "number", lambda one, least: one <= least, "{value} is less than or equal to the minimum of {wanted}"
    ),
    "if": _if,
    "items": _items,
    "maxItems": partial(_limit, "array", lambda one, most: len(one) > most, "{value} is too long"),
    "maxLength": partial(_limit, "string", lambda one, most: len(one) > most, "{value} is too long"),
    "maxProperties": partial(_limit, "object", lambda one, most: len(one) > most, "{value} has too many properties"),
    "maximum": partial(
        _limit, "number", lambda one, most: one > most, "{value} is greater than the maximum of {wanted}"
    ),
    "minItems": partial(_limit, "array", lambda one, least: len(one) < least, "{value} is too short"),
    "minLength": partial(_limit, "string", lambda one, least: len(one) < least, "{value} is too short"),
    "minProperties": partial(
        _limit, "object", lambda one, least: len(one) < least, "{value} does not have enough properties"
    ),
    "minimum": partial(
        _limit, "number", lambda one, least: one < least, "{value} is less than the minimum of {wanted}"
    ),
    "multipleOf": _multiple_of,
    "not": _not,
    "oneOf": _one_of,
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "prefixItems": _prefix_items,
    "properties": _properties,
    "propertyNames": _property_names,
    "required": _required,
    "type": _type,
    "uniqueItems": _unique,
}
