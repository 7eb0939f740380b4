"""A workspace's schema says what JSON Schema says, within a number of steps."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from app.contracts.bounded_schema import MOST_STEPS, MOST_STEPS_TOGETHER, BoundedSchema, Steps
from tests.cpu_time import costs_less

WAYS = [
    ({"uniqueItems": True}, [[1, 2], [1, 1.0], [1, True], [{"a": [1]}, {"a": [1.0]}], [{"a": 1}, {"b": 1}], ["1", 1]]),
    ({"pattern": "^a+$"}, ["aaa", "ab", 7]),
    (
        {"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False},
        [{"x": 1}, {"x": "1"}, {"y": 1}],
    ),
    ({"anyOf": [{"type": "string"}, {"minimum": 3}]}, ["a", 3, 2]),
    ({"required": ["a"], "properties": {"a": {"enum": [1, None]}}}, [{"a": 1}, {"a": 2}, {}, []]),
    ({"oneOf": [{"type": "number"}, {"minimum": 3}], "not": {"const": 7}}, ["a", 3, 2, 7]),
    ({"prefixItems": [{"type": "null"}], "items": False}, [[], [None], [1], [None, 1]]),
    ({"contains": {"const": 1}, "minContains": 2, "maxContains": 3}, [[1], [1, 1.0], [1, True], [1, 1, 1, 1]]),
    ({"if": {"type": "string"}, "then": {"minLength": 2}, "else": {"multipleOf": 0.5}}, ["a", "ab", 1.5, 1.3]),
    ({"propertyNames": {"maxLength": 1}, "dependentRequired": {"a": ["b"]}}, [{"a": 1}, {"a": 1, "b": 2}, {"ab": 1}]),
    ({"dependentSchemas": {"a": {"maxProperties": 1}}, "minProperties": 1}, [{}, {"a": 1}, {"a": 1, "b": 1}]),
    ({"const": {"a": [1, False]}}, [{"a": [1.0, False]}, {"a": [1, 0]}, {"a": [True, False]}]),
    ({"type": ["integer", "null"], "exclusiveMinimum": 1, "exclusiveMaximum": 4}, [None, 1, 2.0, 2.5, 4, True]),
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


MERSENNE = 2**61 - 1  # its multiples have the same hash


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {}}, [0] * 300_000),
        ({"anyOf": [{"type": "string"}] * 450}, [0] * 200_000),
        ({"items": {"anyOf": [False] * 450}}, ["x" * 50] * 5_000),
        ({"allOf": [{"items": {}}] * 240}, [0] * 100_000),
        ({"uniqueItems": True}, [number * MERSENNE for number in range(20_000)]),
        ({"items": {"enum": list(range(3_000))}}, [-1.5] * 20_000),
        ({"items": {"anyOf": [{"enum": list(range(3_000))}, {}]}}, [-1.5] * 20_000),
        ({"items": {"pattern": "^[ab]{60000}c"}}, ["ab" * 30_000] * 50),
        ({"items": {"pattern": "x{999}" + "a" * 900}}, ["x" * 900] * 300),
        ({"patternProperties": {f"a{{{n}}}b": {} for n in range(10)}}, {f"{n}{'a' * 90}": 0 for n in range(5_000)}),
        ({"required": [f"n{n}" for n in range(1_800)], "items": {}}, [{}] * 100_000),
    ],
    ids=lambda one: str(one)[:30],
)
def test_no_check_takes_long(schema: dict[str, Any], value: Any) -> None:
    bounded = BoundedSchema(schema)
    assert costs_less(lambda: bounded.refuses(value, "x", Steps()), 0.6), "a sixth of that on an idle machine"


def test_branches_that_do_not_fit_keep_no_copies_of_the_value() -> None:
    bounded = BoundedSchema({"anyOf": [{"type": "string"}] * 450})
    tracemalloc.start()
    assert bounded.refuses([0] * 100_000, "x", Steps()) is not None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * 2**20


def test_a_schema_that_is_none_is_soon_refused() -> None:
    def refused() -> None:
        with pytest.raises(ValueError, match="is not"):
            BoundedSchema({"required": [{"a": number} for number in range(1_500)]})

    assert costs_less(refused, 0.5)


def test_a_text_that_is_too_long_for_its_pattern_does_not_fit() -> None:
    refused = BoundedSchema({"pattern": "^a*a*a*b"}).refuses("a" * 5000, "x", Steps())
    assert refused is not None
    assert "too long for the pattern" in refused["detail"]


def test_the_checks_of_one_request_share_their_steps() -> None:
    schema, steps = BoundedSchema({"items": {"minimum": 1}}), Steps(left=50)
    assert schema.refuses([1] * 40, "x", steps) is None
    assert schema.refuses([1] * 40, "x", steps) is not None
