"""Which schemas a workspace may give, and that what is let through has a bounded cost."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.event.schema_rules import MOST_DEPTH, MOST_EXPANDED, complaints_of, tries

DOUBLING = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(20)} | {"d20": {}}


def nested(depth: int) -> dict[str, Any]:
    return {"items": nested(depth - 1)} if depth > 1 else {}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"properties": {"a": {"$ref": "other.json"}}}, "nothing is fetched"),
        ({"$id": "https://example.com/"}, "stands by itself"),
        ({"items": {"$dynamicRef": "#x"}}, "use $ref"),
        ({"allOf": [{"unevaluatedItems": False}]}, "unevaluatedItems is not supported"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "$schema must be"),
        ({"properties": {"a": {"$defs": {}}}}, "$defs must stand at the top"),
        ({"$defs": DOUBLING, "$ref": "#/$defs/d0"}, f"more than {MOST_EXPANDED} parts"),
        ({"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}, "leads back to itself"),
        ({"$ref": "#/$defs/a"}, "leads nowhere"),
        (nested(MOST_DEPTH + 1), "nested more than"),
        ({"anyOf": [{}] * MOST_EXPANDED}, f"more than {MOST_EXPANDED} parts"),
        ({"patternProperties": {f"^a{n}": {} for n in range(11)}}, "more than 10 patterns"),
        ({"patternProperties": {"(a*)*": {}}}, "repeats something"),
        ({"description": "x" * 20_000}, "more than 16384 bytes"),
        ([], "must be an object"),
    ],
)
def test_what_could_cost_without_bound_is_refused(schema: Any, words: str) -> None:
    (complaint,) = complaints_of(schema)
    assert words in complaint["detail"]
    assert complaint["field"].startswith("schema")


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"},
        {"$defs": {"money": {"type": "number"}}, "properties": {"a": {"$ref": "#/$defs/money"}}},
        {"properties": {"$ref": {"type": "string"}, "pattern": {"type": "string"}}},  # names of members, not words
        {"enum": [{"$ref": "x", "unevaluatedItems": 1}]},  # values, not schemas
        {"properties": {"id": {"pattern": "^[a-z]+-[0-9]{4}(\\.[0-9]+)?$"}}},
    ],
)
def test_ordinary_schemas_are_taken(schema: dict[str, Any]) -> None:
    assert complaints_of(schema) == []


@pytest.mark.parametrize(
    ("pattern", "length", "most"),
    [
        ("^https://", 1000, 9),
        ("abc", 1000, 3000),
        ("^[a-z]+$", 100, 201),
        ("^a*b*", 100, 101 + 101 * 100),
        ("a?b?", 10, 30),
        ("[ab]{60000}c", 1000, 1_001_000),
        ("(?:){60000}", 0, 60_000),
        ("a" * 1000, 1000, 1_000_000),
    ],
)
def test_the_ways_of_a_pattern_are_counted(pattern: str, length: int, most: int) -> None:
    assert tries(pattern, length) == most


@pytest.mark.parametrize(
    "pattern",
    [
        "(a+)+",
        "(a|b|ab)*",
        "(a?){20}",
        "(?=a)",
        "(?<!a)b",
        r"(a)\1",
        "(?P<x>a)(?P=x)",
        "[",
        "(?i)a",
        "(?i:a)",
        "a" * 1001,
    ],
)
def test_patterns_that_may_be_tried_in_exponentially_many_ways_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"repeats|looks|not a pattern|flags|more than"):
        tries(pattern, 100)
