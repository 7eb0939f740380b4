"""What an endpoint asks of an event's data: conditions on the values at some paths, joined by and, or and not.

Pure, and cheap whatever the data is: a filter's cost is bounded by its own size (filters.reading), because a path is
followed step by step, texts are compared no further than the filter's own, and nothing is searched.

A value is compared as what it is, never converted: "1" is not 1, and true is not 1. Numbers are compared by what they
are worth: 1, 1.0 and 1e0 are the same, integers are exact to the last digit, and a number with a point or an exponent
is the double that readers of JSON make of it. Texts are in the order of their code points, so times in one zone and one
spelling compare as times. What is not there is not equal to anything, nor less or more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

LONGEST_SHOWN = 60  # characters of a value in an explanation

Value = str | int | float | bool | None  # what a filter may compare with

_ABSENT = object()
_KINDS: dict[type, str] = {str: "text", int: "number", float: "number", bool: "boolean", type(None): "null"}


@dataclass(frozen=True, slots=True)
class Test:
    """What is asked of one value. words: the end of a sentence that begins with the path."""

    passes: Callable[[Any], bool]
    words: str


@dataclass(frozen=True, slots=True)
class Condition:
    """One or more tests of the value at a path. steps: the path's, each with the index that it is in an array."""

    path: str
    steps: tuple[tuple[str, int | None], ...]
    tests: tuple[Test, ...]

    @property
    def cost(self) -> int:
        """How many tests are made at most."""
        return len(self.tests)

    def holds(self, data: Any) -> bool:
        """Whether all tests pass."""
        value = _at(data, self.steps)
        return all(test.passes(value) for test in self.tests)

    def refusal(self, data: Any, where: str) -> str:
        """Which test does not pass, and what was found."""
        value = _at(data, self.steps)
        failed = next(test for test in self.tests if not test.passes(value))
        return f"{where}: {self.path} {failed.words}, and it is {_shown(value)}"

    def excluded(self, data: Any) -> str:
        """What was found, for an exclusion by `not`."""
        return f"{self.path} is {_shown(_at(data, self.steps))}"


@dataclass(frozen=True, slots=True)
class All:
    """All of several filters."""

    parts: tuple[ContentFilter, ...]

    @property
    def cost(self) -> int:
        """How many tests are made at most."""
        return sum(part.cost for part in self.parts)

    def holds(self, data: Any) -> bool:
        """Whether each of them holds."""
        return all(part.holds(data) for part in self.parts)

    def refusal(self, data: Any, where: str) -> str:
        """Of the first that does not hold."""
        number, failed = next((at, part) for at, part in enumerate(self.parts) if not part.holds(data))
        return failed.refusal(data, f"{where}.and[{number}]")

    def excluded(self, data: Any) -> str:
        """What was found, for an exclusion by `not`."""
        return "; ".join(part.excluded(data) for part in self.parts[:2])


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of several filters."""

    parts: tuple[ContentFilter, ...]

    @property
    def cost(self) -> int:
        """How many tests are made at most."""
        return sum(part.cost for part in self.parts)

    def holds(self, data: Any) -> bool:
        """Whether one of them holds."""
        return any(part.holds(data) for part in self.parts)

    def refusal(self, data: Any, where: str) -> str:
        """Of the first, for all of them."""
        first = self.parts[0].refusal(data, f"{where}.or[0]")
        return first if len(self.parts) == 1 else f"{where}.or: none of {len(self.parts)} holds; {first}"

    def excluded(self, data: Any) -> str:
        """What was found, for an exclusion by `not`."""
        return next(part.excluded(data) for part in self.parts if part.holds(data))


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a filter."""

    part: ContentFilter

    @property
    def cost(self) -> int:
        """How many tests are made at most."""
        return self.part.cost

    def holds(self, data: Any) -> bool:
        """Whether it does not hold."""
        return not self.part.holds(data)

    def refusal(self, data: Any, where: str) -> str:
        """What holds, and must not."""
        return f"{where}.not: {self.part.excluded(data)}, which is excluded"

    def excluded(self, data: Any) -> str:
        """What was found, for an exclusion by another `not`."""
        return self.part.refusal(data, "not").partition(": ")[2]


ContentFilter = Condition | All | AnyOf | Not


def why_not(wanted: ContentFilter, data: Any) -> str | None:
    """The clause of the filter that the data does not meet, and what was found; None when the filter holds."""
    return None if wanted.holds(data) else wanted.refusal(data, "content_filter")


def equal(wanted: Value) -> Test:
    """The value is this one."""
    kind = _KINDS[type(wanted)]
    return Test(lambda value: _KINDS.get(type(value)) == kind and value == wanted, f"must be {_shown(wanted)}")


def one_of(wanted: Sequence[Value]) -> Test:
    """The value is one of these."""
    # With the kinds, because True == 1 in Python; in a set, so that a long list costs no more than a short one.
    known = frozenset((_KINDS[type(one)], one) for one in wanted)
    words = _cut(", ".join(map(_shown, wanted)))
    return Test(
        lambda value: (kind := _KINDS.get(type(value))) is not None and (kind, value) in known,
        f"must be one of {words}",
    )


def ordered(operator: str, bound: str | int | float) -> Test:
    """The value is of the bound's kind, and greater or less. operator: gt, gte, lt or lte."""
    words, compare = _ORDERS[operator]
    kind = _KINDS[type(bound)]
    return Test(
        lambda value: _KINDS.get(type(value)) == kind and compare(value, bound), f"must be {words} {_shown(bound)}"
    )


def exists(wanted: bool) -> Test:
    """There is a value, null or another; or there is none."""
    return Test(lambda value: (value is not _ABSENT) == wanted, "must be there" if wanted else "must be absent")


_ORDERS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "gt": ("more than", lambda value, bound: value > bound),
    "gte": ("at least", lambda value, bound: value >= bound),
    "lt": ("less than", lambda value, bound: value < bound),
    "lte": ("at most", lambda value, bound: value <= bound),
}


def _at(data: Any, steps: Sequence[tuple[str, int | None]]) -> Any:
    for name, index in steps:
        if isinstance(data, dict):
            data = data.get(name, _ABSENT)
        elif isinstance(data, list) and index is not None and index < len(data):
            data = data[index]
        else:
            return _ABSENT
    return data


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "absent"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    if isinstance(value, str):  # cut before it is quoted: it may be long
        return _cut(json.dumps(value[: LONGEST_SHOWN + 1], ensure_ascii=False))
    return _cut(json.dumps(value))


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"
