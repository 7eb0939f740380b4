"""A workspace's schema says what JSON Schema says, within a number of steps."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.contracts.bounded_schema import MOST_STEPS, MOST_STEPS_TOGETHER, BoundedSchema, Steps

WAYS = [
    ({"uniqueItems": True}, [[1, 2], [1, 1.0], [1, True], [{"a": [1]}, {"a": [1.0]}], [{"a": 1}, {"b": 1}], ["1", 1]]),
    ({"pattern": "^a+$"}, ["aaa", "ab", 7]),
    (
        {"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False},
        [{"x": 1}, {"x": "1"}, {"y": 1}],
    ),
    ({"anyOf": [{"type": "string"}, {"minimum": 3}]}, ["a", 3, 2]),
    ({"required": ["a"], "properties": {"a": {"enum": [1, None]}}}, [{"a": 1}, {"a": 2}, {}, []]),
    ({"$defs": {"n": {"type": "number"}}, "items": {"$ref": "#/$defs/n"}}, [[1, 2], ["1"]]),
]


@pytest.mark.parametrize(("schema", "values"), WAYS, ids=[" ".join(schema) for schema, _ in WAYS])
def test_it_says_what_the_plain_validator_says(schema: dict[str, Any], values: list[Any]) -> None:
    bounded, plain = BoundedSchema(schema), Draft202012Validator(schema)
    for value in values:
        assert (bounded.refuses(value, "x", Steps()) is None) == plain.is_valid(value), value


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {"allOf": [{"minimum": 1}] * 50}}, [5] * 5000),
        ({"items": {"pattern": "a+b"}}, ["a" * 899 + "b"] * 100),
    ],
)
def test_what_takes_too_long_is_given_up(schema: dict[str, Any], value: Any) -> None:
    steps = Steps()
    refused = BoundedSchema(schema).refuses(value, "x", steps)
    assert refused is not None
    assert "takes too long" in refused["detail"]
    assert MOST_STEPS_TOGETHER - steps.left == MOST_STEPS


def test_a_text_that_is_too_long_for_its_pattern_does_not_fit() -> None:
    refused = BoundedSchema({"pattern": "^a*a*a*b"}).refuses("a" * 5000, "x", Steps())
    assert refused is not None
    assert "too long for the pattern" in refused["detail"]


def test_the_checks_of_one_request_share_their_steps() -> None:
    schema, steps = BoundedSchema({"items": {"minimum": 1}}), Steps(left=50)
    assert schema.refuses([1] * 40, "x", steps) is None
    assert schema.refuses([1] * 40, "x", steps) is not None
