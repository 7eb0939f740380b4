"""What a JSON Schema that a workspace gives for its events may say, so that checking an event has a bounded cost.

Pure. Refused is what can make a check run for long whatever the budget of steps is (references to elsewhere, references
that lead back to themselves, words that look at everything again) and patterns that a backtracking matcher may try in
exponentially many ways. What is left is bounded by a budget while it runs (app/contracts/bounded_schema.py).
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from app.core.problem import Complaint, complaint

MOST_BYTES = 16 * 1024  # of a schema as compact JSON
MOST_DEPTH = 24  # of the schema itself: each level is a level of recursion in the check
MOST_PATTERNS = 10  # of patternProperties: each is tried on each member of an object
MOST_LETTERS = 1_000  # of a pattern, which is read again when it has been forgotten
PATTERNS_REMEMBERED = 512  # of all workspaces in one process: a tenth of a megabyte each at most
MOST_EXPANDED = 500  # subschemas, each counted as often as it is referred to
MOST_TRIES = 3_000_000  # of a pattern on one text: some milliseconds
_SOME_LENGTH = 100  # any that is more than one: whether the ways grow faster than the repeats does not depend on it
DIALECT = "https://json-schema.org/draft/2020-12/schema"

# Words whose values are schemas, maps of schemas, or arrays of schemas.
_ONE = {"additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"}
_MAPS = {"$defs", "dependentSchemas", "patternProperties", "properties"}
_ARRAYS = {"allOf", "anyOf", "oneOf", "prefixItems"}
# They name other documents, or are looked up by what has been checked so far; the last two check everything below anew.
_REFUSED = {
    "$anchor": "is not supported; refer by #/$defs/name",
    "$dynamicAnchor": "is not supported",
    "$dynamicRef": "is not supported; use $ref",
    "$id": "is not supported: a schema stands by itself",
    "$recursiveRef": "is not supported; use $ref",
    "$vocabulary": "is not supported",
    "definitions": "is called $defs in JSON Schema 2020-12",
    "unevaluatedItems": "is not supported; use items",
    "unevaluatedProperties": "is not supported; use additionalProperties",
}
# (?i) and (?i:...); a bracket that is escaped is a character, and so is what is escaped before one.
_FLAGS = re.compile(r"(?<!\\)(?:\\\\)*\(\?[a-zA-Z-]+[:)]")
_REFERENCE = re.compile(r"#(?:/\$defs/[A-Za-z0-9_.-]{1,100})?")


def complaints_of(schema: Any, field: str = "schema") -> list[Complaint]:
    """What is wrong with a schema beyond what the JSON Schema of schemas says; empty when it may be used."""
    if len(json.dumps(schema, separators=(",", ":"), ensure_ascii=False).encode()) > MOST_BYTES:
        return [complaint(field, f"has more than {MOST_BYTES} bytes")]
    if _depth(schema) > MOST_DEPTH:
        return [complaint(field, f"is nested more than {MOST_DEPTH} deep")]
    if not isinstance(schema, dict):
        return [complaint(field, "must be an object")]
    found = [complaint(f"{field}{place}", why) for place, part in _walk("", schema) for why in _wrong(place, part)]
    if found:
        return found
    try:
        size = _expanded(schema)
    except ValueError as error:
        return [complaint(field, str(error))]
    text = f"has more than {MOST_EXPANDED} parts, each counted as often as it is referred to"
    return [complaint(field, text)] if size > MOST_EXPANDED else []


class Pattern:
    """A pattern that has been read. Raises ValueError for one that is none, that is too long or that sets flags."""

    def __init__(self, text: str) -> None:
        if len(text) > MOST_LETTERS:
            raise ValueError(f"has more than {MOST_LETTERS} characters")
        try:
            # The parser that `re` itself uses. It is private, but nothing else says what a pattern consists of.
            self._parts = importlib.import_module("re._parser").parse(text)
            if _FLAGS.search(text):  # without case, a set of characters takes a hundredth of a second to compile
                raise ValueError("sets flags, which is not supported")
            self.compiled = re.compile(text)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"is not a pattern: {error}") from None
        first = self._parts[0] if self._parts else (None, None)
        self._anchored = str(first[0]) == "AT" and str(first[1]).startswith("AT_BEGINNING")

    def tries(self, length: int) -> int:
        """See the function `tries`."""
        return max(_cost(self._parts, length)[0], 1) * (1 if self._anchored else max(length, 1))


@lru_cache(maxsize=PATTERNS_REMEMBERED)
def pattern_of(text: str) -> Pattern:
    """A pattern, read once. Raises ValueError as Pattern does."""
    return Pattern(text)


def tries(pattern: str, length: int) -> int:
    """How many characters a backtracking matcher may look at, at most, to find a pattern in a text of this length.

    Raises ValueError for a pattern that is none, or whose number of ways grows faster than its repeats say.
    """
    return pattern_of(pattern).tries(length)


def _cost(parts: Any, length: int) -> tuple[int, int]:
    """How many characters are looked at for a sequence, and in how many ways it may match. What stands behind a part is
    tried once for each way of the part."""
    looks, ways = 0, 1
    for op, value in reversed(list(parts)):
        own, own_ways = _part(str(op), value, length)
        looks, ways = max(own, 1) + own_ways * looks, own_ways * ways
    return looks, ways


def _part(name: str, value: Any, length: int) -> tuple[int, int]:
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, most, body = int(value[0]), int(value[1]), value[2]
        looks, ways = _cost(body, length)
        if ways > 1 and most > 1:
            raise ValueError("repeats something that may match in several ways; write it without the inner repeat")
        # What matches nothing is repeated as often as it must be, however short the text is.
        times = max(min(most, length), least if body.getwidth()[0] == 0 else 0)
        return times * max(looks, 1), ways * (min(most, length) - min(least, length) + 1)
    if name == "SUBPATTERN":
        return _cost(value[-1], length)
    if name == "ATOMIC_GROUP":
        return _cost(value, length)
    if name == "BRANCH":
        branches = [_cost(one, length) for one in value[1]]
        return sum(looks for looks, _ in branches), sum(ways for _, ways in branches)
    if name == "IN":
        return 1 + len(value) // 16, 1
    if name not in ("LITERAL", "NOT_LITERAL", "ANY", "AT", "CATEGORY", "RANGE"):
        raise ValueError("looks around or back, which is not supported")
    return 1, 1


def _walk(place: str, schema: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """A schema and all below it, each with where it stands."""
    if not isinstance(schema, dict):
        return
    yield place, schema
    for at, below in _below(schema):
        yield from _walk(f"{place}.{at}", below)


def _below(schema: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for word, value in schema.items():
        if word in _ONE:
            yield word, value
        elif word in _MAPS and isinstance(value, dict):
            yield from ((f"{word}.{name}", one) for name, one in value.items())
        elif word in _ARRAYS and isinstance(value, list):
            yield from ((f"{word}[{index}]", one) for index, one in enumerate(value))


def _wrong(place: str, schema: Mapping[str, Any]) -> Iterator[str]:
    for word in schema:
        if word in _REFUSED:
            yield f"{word} {_REFUSED[word]}"
    if schema.get("$schema", DIALECT) not in (DIALECT, f"{DIALECT}#") or ("$schema" in schema and place):
        yield f"$schema must be {DIALECT}, at the top"
    if "$defs" in schema and place:
        yield "$defs must stand at the top"
    if (reference := schema.get("$ref")) is not None and not (
        isinstance(reference, str) and _REFERENCE.fullmatch(reference)
    ):
        yield "$ref must lead to #/$defs/name; nothing is fetched"
    patterns = schema.get("patternProperties")
    if isinstance(patterns, dict) and len(patterns) > MOST_PATTERNS:
        yield f"patternProperties has more than {MOST_PATTERNS} patterns"
    for pattern in (schema.get("pattern"), *(patterns if isinstance(patterns, dict) else ())):
        if isinstance(pattern, str):
            try:
                Pattern(pattern).tries(_SOME_LENGTH)
            except ValueError as error:
                yield f"the pattern {pattern[:100]!r} {error}"


def _expanded(schema: dict[str, Any]) -> int:
    """How many subschemas there are when each reference is replaced by what it leads to. Raises ValueError where one
    leads back to itself, or nowhere."""
    given = schema.get("$defs")
    definitions: dict[str, Any] = given if isinstance(given, dict) else {}
    sizes: dict[str, int] = {}
    under_way: set[str] = set()

    def size(part: Any) -> int:
        if not isinstance(part, dict):
            return 1
        total = 1 + sum(size(one) for at, one in _below(part) if not at.startswith("$defs."))
        if isinstance(part.get("$ref"), str):
            total += size_of(part["$ref"])
        return min(total, MOST_EXPANDED + 1)

    def size_of(reference: str) -> int:
        name = reference.removeprefix("#/$defs/")
        if reference == "#" or name in under_way:
            raise ValueError(f"has a $ref that leads back to itself, {reference}")
        if name not in definitions:
            raise ValueError(f"has a $ref that leads nowhere, {reference}")
        if name not in sizes:
            under_way.add(name)
            sizes[name] = size(definitions[name])
            under_way.discard(name)
        return sizes[name]

    return size(schema)


def _depth(value: Any) -> int:
    """How deep a JSON value is nested, MOST_DEPTH + 1 at most."""
    deepest, left = 0, [(value, 1)]
    while left and deepest <= MOST_DEPTH:
        one, depth = left.pop()
        deepest = max(deepest, depth)
        if depth <= MOST_DEPTH:
            below = one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
            left += [(part, depth + 1) for part in below]
    return deepest
