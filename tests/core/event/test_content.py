"""Content filters: what holds of which data, what is refused as a filter, and how a mismatch is explained."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.core.event.filters import shares_channel
from app.core.event.filters.content import ContentFilter, why_not
from app.core.event.filters.reading import MOST_BYTES, MOST_TESTS, as_text, check_filter, stored_filter
from app.core.wire.json_text import read_json

DATA = r"""{"tier": "gold", "amount": 42, "price": 9.5, "on": true, "none": null, "big": 90071992547409931,
  "huge": 1e400, "at": "2026-11-20T10:00:00Z", "customer": {"country": "DE", "tags": ["a", "b"]}, "": {"": 7},
  "a/b": {"c~d": 1}, "0": "zero", "long": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}"""


def filter_of(value: Any) -> ContentFilter:
    assert check_filter(value) == []
    return stored_filter(as_text(value))


def data() -> Any:
    return read_json(DATA.encode(), 20)[1]


def at(path: str, **tests: Any) -> dict[str, Any]:
    return {"path": path, **{name.rstrip("_"): wanted for name, wanted in tests.items()}}


HOLDS = [
    at("/tier", eq="gold"),
    at("/amount", eq=42),
    at("/amount", eq=42.0),
    at("/amount", eq=4.2e1),
    at("/big", eq=90071992547409931),
    at("/big", gt=90071992547409930),
    at("/huge", gt=10**300),
    at("/price", gt=9, lte=9.5),
    at("/on", eq=True),
    at("/none", eq=None),
    at("/none", exists=True),
    at("/nowhere", exists=False),
    at("/tier", in_=["silver", "gold"]),
    at("/amount", in_=[True, "42", 42.0]),
    at("/none", in_=[None]),
    at("/at", gte="2026-11-20T09:00:00Z", lt="2026-11-21"),
    at("/customer/country", eq="DE"),
    at("/customer/tags/1", eq="b"),
    at("/customer", exists=True),
    at("//", eq=7),
    at("/a~1b/c~0d", eq=1),
    at("/0", eq="zero"),
    {"and": [at("/tier", eq="gold"), at("/amount", gt=1)]},
    {"or": [at("/tier", eq="tin"), at("/amount", gt=1)]},
    {"not": at("/tier", eq="tin")},
    {"not": at("/nowhere", eq=1)},
    {"not": {"not": at("/tier", eq="gold")}},
]
FAILS = [
    (at("/tier", eq="Gold"), '/tier must be "Gold", and it is "gold"'),
    (at("/amount", eq="42"), '/amount must be "42", and it is 42'),
    (at("/amount", gte=100), "/amount must be at least 100, and it is 42"),
    (at("/amount", gt=1, lt=42), "/amount must be less than 42, and it is 42"),
    (at("/amount", gt="1"), '/amount must be more than "1", and it is 42'),
    (at("/big", eq=90071992547409932), "/big must be 90071992547409932, and it is 90071992547409931"),
    (at("/big", eq=9.0071992547409931e16), "and it is 90071992547409931"),  # the nearest double is another number
    (at("/on", eq=1), "/on must be 1, and it is true"),
    (at("/on", gt=0), "/on must be more than 0, and it is true"),
    (at("/on", in_=[1, 2]), "/on must be one of 1, 2, and it is true"),
    (at("/none", eq=0), "/none must be 0, and it is null"),
    (at("/none", exists=False), "/none must be absent, and it is null"),
    (at("/none", lt=1), "/none must be less than 1, and it is null"),
    (at("/nowhere", exists=True), "/nowhere must be there, and it is absent"),
    (at("/nowhere", eq=None), "/nowhere must be null, and it is absent"),
    (at("/customer", eq="DE"), '/customer must be "DE", and it is an object'),
    (at("/customer/tags", in_=["a"]), '/customer/tags must be one of "a", and it is an array'),
    (at("/customer/tags/2", exists=True), "and it is absent"),
    (at("/customer/tags/01", exists=True), "and it is absent"),
    (at("/tier/0", exists=True), "and it is absent"),
    (at("/long", eq="x"), f'/long must be "x", and it is "{"x" * 59}…'),
    ({"and": [at("/amount", gt=1), at("/tier", eq="tin")]}, 'content_filter.and[1]: /tier must be "tin"'),
    (
        {"or": [at("/amount", gt=99), {"and": [at("/tier", eq="tin")]}]},
        "content_filter.or: none of 2 holds; content_filter.or[0]: /amount must be more than 99, and it is 42",
    ),
    ({"or": [at("/amount", gt=99)]}, "content_filter.or[0]: /amount must be more than 99"),
    ({"not": at("/tier", eq="gold")}, 'content_filter.not: /tier is "gold", which is excluded'),
    (
        {"not": {"or": [at("/tier", eq="tin"), {"and": [at("/amount", gt=1), at("/on", eq=True)]}]}},
        "content_filter.not: /amount is 42; /on is true, which is excluded",
    ),
    ({"not": {"not": at("/tier", eq="tin")}}, 'content_filter.not: /tier must be "tin", and it is "gold", which is'),
]


@pytest.mark.parametrize("wanted", HOLDS, ids=json.dumps)
def test_what_holds(wanted: Any) -> None:
    one = filter_of(wanted)
    assert one.holds(data())
    assert why_not(one, data()) is None


@pytest.mark.parametrize(("wanted", "words"), FAILS, ids=[json.dumps(one) for one, _ in FAILS])
def test_what_does_not_hold_says_which_clause_and_what_was_found(wanted: Any, words: str) -> None:
    one = filter_of(wanted)
    assert not one.holds(data())
    explained = why_not(one, data())
    assert explained is not None
    assert explained.startswith("content_filter")
    assert words in explained
    assert len(explained) < 400


DEEP: Any = at("/a", eq=1)
for _ in range(6):
    DEEP = {"not": DEEP}
BAD = [
    ([], "content_filter", "must be an object"),
    ({}, "content_filter", "must be an object"),
    ("x", "content_filter", "must be an object"),
    ({"path": "/a"}, "content_filter", "tests nothing"),
    ({"path": "a", "eq": 1}, "content_filter.path", "JSON Pointer"),
    ({"path": "", "eq": 1}, "content_filter.path", "JSON Pointer"),
    ({"path": "/a~2", "eq": 1}, "content_filter.path", "JSON Pointer"),
    ({"path": 7, "eq": 1}, "content_filter.path", "JSON Pointer"),
    ({"path": "/a" * 11, "eq": 1}, "content_filter.path", "at most 10 steps"),
    ({"path": "/" + "a" * 256, "eq": 1}, "content_filter.path", "256 characters"),
    ({"path": "/\0", "eq": 1}, "content_filter.path", "NUL"),
    ({"path": "/\ud800", "eq": 1}, "content_filter.path", "surrogate"),
    ({"path": "/a", "equals": 1}, "content_filter.equals", "is tested with eq, in, gt"),
    ({"path": "/a", "eq": {}}, "content_filter.eq", "must be a string, a number"),
    ({"path": "/a", "eq": [1]}, "content_filter.eq", "must be a string, a number"),
    ({"path": "/a", "eq": float("inf")}, "content_filter.eq", "too large"),
    ({"path": "/a", "eq": "\0"}, "content_filter.eq", "NUL"),
    ({"path": "/a", "in": []}, "content_filter.in", "1 to 100 values"),
    ({"path": "/a", "in": list(range(101))}, "content_filter.in", "1 to 100 values"),
    ({"path": "/a", "in": [1, [2]]}, "content_filter.in", "must be a string, a number"),
    ({"path": "/a", "gt": None}, "content_filter.gt", "no order"),
    ({"path": "/a", "gt": True}, "content_filter.gt", "no order"),
    ({"path": "/a", "exists": 1}, "content_filter.exists", "true or false"),
    ({"and": []}, "content_filter.and", "1 to 25 filters"),
    ({"and": {}}, "content_filter.and", "1 to 25 filters"),
    ({"nand": []}, "content_filter", '"nand" is unknown'),
    ({"and": [{"path": "/a", "eq": 1}], "or": []}, "content_filter", "one member"),
    ({"or": [{"not": {"path": "/a", "eq": 1}}, {"not": {"path": "/a"}}]}, "content_filter.or[1].not", "tests nothing"),
    (DEEP, "content_filter.not.not.not.not.not", "5 levels"),
    ({"and": [{"path": "/a", "gt": 1, "lt": 9}] * 13}, "content_filter", "at most 25 tests in all, this has 26"),
    ({"path": "/a", "eq": "x" * MOST_BYTES}, "content_filter", "at most 4096 bytes"),
]


@pytest.mark.parametrize(("value", "place", "words"), BAD)
def test_what_is_no_filter_is_refused_with_its_place(value: Any, place: str, words: str) -> None:
    (fault, *_) = check_filter(value)
    assert fault["field"] == place
    assert words in fault["detail"]


def test_every_fault_is_named() -> None:
    faults = check_filter({"and": [{"path": "a", "gt": None}, {"path": "/b", "eq": []}]})
    assert [fault["field"] for fault in faults] == [
        "content_filter.and[0].path",
        "content_filter.and[0].gt",
        "content_filter.and[1].eq",
    ]


def test_what_is_stored_and_cannot_be_read_is_an_error() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        stored_filter('{"path":"a"}')


def test_large_numbers_survive_being_stored() -> None:
    for number in (1e308, 10**308, 12345678901234567890123, 0.1, 1.0):
        assert filter_of(at("/n", eq=number)).holds(json.loads(f'{{"n": {json.dumps(number)}}}'))


@pytest.mark.parametrize(
    ("wanted", "carried", "shares"),
    [
        (None, (), True),
        (None, ("a",), True),
        (["a"], (), False),
        (["a", "b"], ("b", "c"), True),
        (["a"], ("b",), False),
    ],
)
def test_channels(wanted: list[str] | None, carried: tuple[str, ...], shares: bool) -> None:
    assert shares_channel(wanted, carried) is shares


def test_the_dearest_filter_asks_a_bounded_number_of_times_whatever_the_data_is() -> None:
    class Counting(dict[str, Any]):
        asked = 0

        def get(self, name: str, default: Any = None) -> Any:
            Counting.asked += 1
            return super().get(name, default)

    nested: Any = "x" * 250_000
    for _ in range(10):
        nested = Counting({"a": nested, **{str(number): nested for number in range(50)}})
    dearest = filter_of({"or": [at("/a" * 10, eq=str(number)) for number in range(MOST_TESTS)]})
    assert not dearest.holds(nested)
    assert Counting.asked == 10 * MOST_TESTS
