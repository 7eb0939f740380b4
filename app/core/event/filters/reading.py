"""Reading a content filter: JSON in, a filter that can be asked out, or every fault with its place.

    {"path": "/customer/tier", "in": ["gold", "silver"]}        eq, in, gt, gte, lt, lte, exists: those given, together
    {"and": [filter, …]}   {"or": [filter, …]}   {"not": filter}

A path is a JSON Pointer (RFC 6901) into the event's data: it can name every member and element, with ~1 for a slash and
~0 for a tilde in a name. The bounds make what an endpoint asks cheap: all endpoints of a workspace may ask of each
event, and whoever writes the filters may be the one who wants to stop everybody else's events.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from app.core.event.filters.content import (
    All,
    AnyOf,
    Condition,
    ContentFilter,
    Not,
    Test,
    equal,
    exists,
    one_of,
    ordered,
)
from app.core.problem import Complaint, complaint

MOST_BYTES = 4096  # as compact JSON: a thousand endpoints' filters are remembered by every process
MOST_TESTS = 25  # with the longest paths some 50 microseconds for each event: a thousand such filters are 50 ms
MOST_LEVELS = 5  # of and, or and not: as many as a person can follow
MOST_STEPS = 10  # of a path
LONGEST_PATH = 256
MOST_VALUES = 100  # of a list

FIELD = "content_filter"
RANGES = ("gt", "gte", "lt", "lte")
TESTS = ("eq", "in", *RANGES, "exists")
_JOINS = ("and", "or")
_FORMS = f'give "path" with {", ".join(TESTS)}; or one of "and", "or" and "not"'
_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")  # RFC 6901, section 4; no event holds more elements
_BAD_TILDE = re.compile(r"~(?![01])")
_KEPT = 4096  # filters that a process has read and keeps: many endpoints have the same one


def check_filter(value: Any) -> list[Complaint]:
    """What is wrong with a filter, by place; empty when it can be used."""
    faults: list[Complaint] = []
    if isinstance(value, dict) and (size := len(as_text(value).encode("utf-8", "surrogatepass"))) > MOST_BYTES:
        return [complaint(FIELD, f"must have at most {MOST_BYTES} bytes as JSON, this has {size}")]
    read = _read(value, FIELD, 1, faults)
    if not faults and read is not None and read.cost > MOST_TESTS:
        faults.append(complaint(FIELD, f"must have at most {MOST_TESTS} tests in all, this has {read.cost}"))
    return faults


def read_filter(value: Any) -> ContentFilter:
    """A filter that somebody asks with, and that is not kept. Raises ValueError(its place, what is wrong with it)."""
    if faults := check_filter(value):
        raise ValueError(faults[0]["field"], faults[0]["detail"])
    read = _read(value, FIELD, 1, faults)
    assert read is not None, "it was checked"
    return read


def as_text(value: Any) -> str:
    """A filter as it is stored: as text, because jsonb spells large numbers in another way."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@lru_cache(_KEPT)
def stored_filter(text: str) -> ContentFilter:
    """A filter that was checked before it was stored. Raises ValueError for another."""
    faults: list[Complaint] = []
    read = _read(json.loads(text), FIELD, 1, faults)
    if read is None or faults:
        raise ValueError(f"a stored filter cannot be read: {faults}")
    return read


def _read(value: Any, place: str, level: int, faults: list[Complaint]) -> ContentFilter | None:
    if not isinstance(value, dict) or not value:
        _fault(faults, place, f"must be an object; {_FORMS}")
        return None
    if "path" in value:
        return _condition(value, place, faults)
    if len(value) != 1:
        _fault(faults, place, f"must have one member here; {_FORMS}")
        return None
    ((name, inner),) = value.items()
    if name not in (*_JOINS, "not"):
        _fault(faults, place, f"has no path, and {_quoted(name)} is unknown; {_FORMS}")
        return None
    if level > MOST_LEVELS:
        _fault(faults, place, f"and, or and not may be nested {MOST_LEVELS} levels deep at most")
        return None
    if name == "not":
        part = _read(inner, f"{place}.not", level + 1, faults)
        return None if part is None else Not(part)
    return _joined(name, inner, f"{place}.{name}", level, faults)


def _joined(name: str, inner: Any, place: str, level: int, faults: list[Complaint]) -> ContentFilter | None:
    if not isinstance(inner, list) or not 1 <= len(inner) <= MOST_TESTS:
        _fault(faults, place, f"must be an array of 1 to {MOST_TESTS} filters")
        return None
    read = [_read(one, f"{place}[{number}]", level + 1, faults) for number, one in enumerate(inner)]
    parts = tuple(part for part in read if part is not None)
    if len(parts) < len(inner):
        return None
    return All(parts) if name == "and" else AnyOf(parts)


def _condition(value: Mapping[str, Any], place: str, faults: list[Complaint]) -> Condition | None:
    before = len(faults)
    steps = _steps(value["path"], f"{place}.path", faults)
    tests = []
    for name, wanted in value.items():
        if name == "path":
            continue
        if name not in TESTS:
            _fault(faults, f"{place}.{name}", f"unknown; a path is tested with {', '.join(TESTS)}")
        elif reason := _wrong(name, wanted):
            _fault(faults, f"{place}.{name}", reason)
        else:
            tests.append(_test(name, wanted))
    if len(value) == 1:
        _fault(faults, place, f"tests nothing; add one of {', '.join(TESTS)}")
    return None if len(faults) > before or steps is None else Condition(value["path"], steps, tuple(tests))


def _steps(path: Any, place: str, faults: list[Complaint]) -> tuple[tuple[str, int | None], ...] | None:
    if not isinstance(path, str) or not path.startswith("/") or _BAD_TILDE.search(path):
        _fault(faults, place, "must be a JSON Pointer into data, such as /customer/tier")
        return None
    names = path.split("/")[1:]
    if len(path) > LONGEST_PATH or len(names) > MOST_STEPS:
        _fault(faults, place, f"must have at most {MOST_STEPS} steps and {LONGEST_PATH} characters")
        return None
    if reason := _unstorable(path):
        _fault(faults, place, reason)
        return None
    plain = (name.replace("~1", "/").replace("~0", "~") for name in names)
    return tuple((name, int(name) if _INDEX.fullmatch(name) else None) for name in plain)


def _wrong(name: str, wanted: Any) -> str | None:
    """Why a test cannot be made with this."""
    if name == "exists":
        return None if isinstance(wanted, bool) else "must be true or false"
    if name == "in":
        if not isinstance(wanted, list) or not 1 <= len(wanted) <= MOST_VALUES:
            return f"must be an array of 1 to {MOST_VALUES} values"
        return next((reason for one in wanted if (reason := _not_a_value(one))), None)
    if name in RANGES and (isinstance(wanted, bool) or not isinstance(wanted, str | int | float)):
        return "must be a number or a string: others have no order"
    return _not_a_value(wanted)


def _not_a_value(value: Any) -> str | None:
    if isinstance(value, str):
        return _unstorable(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "contains a number that is too large"
    return "must be a string, a number, true, false or null" if isinstance(value, dict | list) else None


def _unstorable(text: str) -> str | None:
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        return "contains half of a surrogate pair, which is not a character"
    return "must not contain a NUL character" if "\0" in text else None


def _test(name: str, wanted: Any) -> Test:
    if name == "eq":
        return equal(wanted)
    if name == "in":
        return one_of(wanted)
    return exists(wanted) if name == "exists" else ordered(name, wanted)


def _fault(faults: list[Complaint], place: str, detail: str) -> None:
    faults.append(complaint(place, detail))


def _quoted(name: str) -> str:
    return json.dumps(name[:40], ensure_ascii=False)
