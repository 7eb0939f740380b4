"""What a reader of the feed wants, and how far a token lets it."""

from __future__ import annotations

from typing import Any

import pytest

from app.core.feed.wanted import Wanted, read_wanted

BODY = b'{"id":"evt_1","type":"order.paid","stream":{"kind":"order","id":"1"},"seq":1,"data":{"amount":100}}'


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({}, True),
        ({"streams": ["order:1"]}, True),
        ({"streams": "call:1, order:1"}, True),
        ({"streams": ["call:1"]}, False),
        ({"kinds": ["order"], "types": ["order.*"]}, True),
        ({"kinds": ["call"]}, False),
        ({"types": ["order"]}, False),
        ({"content_filter": {"path": "/amount", "gte": 100}}, True),
        ({"content_filter": '{"path":"/amount","gt":100}'}, False),
        ({"content_filter": None, "streams": None}, True),
        ({"streams": ["order:1"], "content_filter": {"path": "/tier", "exists": True}}, False),
    ],
)
def test_an_event_is_wanted_that_fits_all_that_is_given(given: dict[str, Any], wanted: bool) -> None:
    assert read_wanted(given).wants("order.paid", "order", "1", BODY) is wanted


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"streams": [f"n:{number}" for number in range(501)]}, "streams"),
        ({"kinds": ["Call"]}, "kinds"),
        ({"types": ["a*"]}, "types"),
        ({"content_filter": "{"}, "content_filter"),
        ({"content_filter": "x" * 4097}, "content_filter"),
        ({"content_filter": {"and": [{"path": "amount", "eq": 1}]}}, "content_filter.and[0].path"),
    ],
)
def test_what_cannot_be_read_is_named(given: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=r".") as raised:
        read_wanted(given)
    assert raised.value.args[0] == field


ALLOWED = read_wanted({"streams": ["call:1", "call:2"]})
CALLS = read_wanted({"kinds": ["call"]})


@pytest.mark.parametrize(
    ("allowed", "given", "seen"),
    [
        (ALLOWED, {}, ["call:1", "call:2"]),
        (ALLOWED, {"streams": ["call:2"]}, ["call:2"]),
        (ALLOWED, {"kinds": ["call"]}, ["call:1", "call:2"]),
        (CALLS, {}, ["call:1", "call:2", "call:3"]),
        (CALLS, {"streams": ["call:3"]}, ["call:3"]),
        (read_wanted({"streams": ["call:1", "bot:1"], "kinds": ["call"]}), {}, ["call:1"]),
        (Wanted(), {"streams": ["bot:1"]}, ["bot:1"]),
    ],
)
def test_a_token_s_bearer_may_ask_for_less(allowed: Wanted, given: dict[str, Any], seen: list[str]) -> None:
    wanted = read_wanted(given).within(allowed)
    streams = [("call", "1"), ("call", "2"), ("call", "3"), ("bot", "1")]
    assert [f"{kind}:{id}" for kind, id in streams if wanted.wants("x", kind, id, BODY)] == seen


@pytest.mark.parametrize(
    ("allowed", "given", "named"),
    [
        (ALLOWED, {"streams": ["call:1", "call:3"]}, "call:3"),
        (ALLOWED, {"kinds": ["bot", "call"]}, "bot"),
        (CALLS, {"streams": ["bot:1"]}, "bot:1"),
        (CALLS, {"kinds": ["bot"]}, "bot"),
    ],
)
def test_a_token_s_bearer_is_told_what_it_may_not_ask_for(allowed: Wanted, given: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=f"^{named}$"):
        read_wanted(given).within(allowed)
