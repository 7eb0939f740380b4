"""The form of an endpoint, without a server: what is typed, what the API would be sent, what is said of it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from app.core.problem import Problem, invalid_fields
from app.settings import Settings
from app.web.pages import endpoint_form
from app.web.pages.endpoint_form import EndpointForm
from tests.conftest import SECRET_KEY

SETTINGS = Settings.from_env(
    {"SECRET_KEY": SECRET_KEY, "DATABASE_URL": "postgresql://none", "REDIS_URL": "redis://none"}
)
URL = {"url": "https://example.com/in"}
EVERYTHING: dict[str, str] = URL | {
    "uid": "billing",
    "description": " the shop ",
    "event_types": "call.*\nbot.joined",
    "stream_kinds": "call, session",
    "channels": "team:a team:b",
    "content_filter": '{"path": "/amount", "gte": 100}',
    "rate_limit": "5",
    "timeout_seconds": "7",
    "order": "stream",
    "order_patience_seconds": "600",
    "feed_cursor": "1",
    "batch": "1",
    "batch_max_events": "50",
    "batch_max_wait_ms": "",
    "retry_delays_seconds": "10, 60\n600",
    "headers": "Authorization: Bearer a:b\n\nX-Shop: 7",
    "metadata": "team: billing\nregion: eu: west",
    "signing": "ed25519",
    "enabled": "1",
}


def read(fields: dict[str, str], *, new: bool = True) -> EndpointForm:
    return endpoint_form.read_form(fields, SETTINGS, new=new)


def test_everything_that_is_typed_is_what_the_api_would_be_sent() -> None:
    form = read(EVERYTHING)
    assert form.wrong == {}
    assert form.wanted == URL | {
        "uid": "billing",
        "description": "the shop",
        "event_types": ["call.*", "bot.joined"],
        "stream_kinds": ["call", "session"],
        "channels": ["team:a", "team:b"],
        "content_filter": {"path": "/amount", "gte": 100},
        "rate_limit": 5,
        "timeout_seconds": 7,
        "order": "stream",
        "order_patience_seconds": 600,
        "feed_cursor": True,
        "batch": {"max_events": 50},
        "retry_delays_seconds": [10, 60, 600],
        "headers": {"Authorization": "Bearer a:b", "X-Shop": "7"},
        "metadata": {"team": "billing", "region": "eu: west"},
        "signing": "ed25519",
        "enabled": True,
    }


def test_what_is_left_empty_is_taken_away_but_for_headers_and_what_only_a_new_one_has() -> None:
    form = read(URL | {"has_order": "1"}, new=False)
    assert form.wrong == {}
    kept = {"headers", "signing", "secret", "enabled", "batch_max_events", "batch_max_wait_ms"}
    assert not kept & set(form.wanted)
    assert {name for name, value in form.wanted.items() if not value} == (set(endpoint_form.NAMES) - kept - {"url"})
    assert read(URL | {"clear_headers": "1"}, new=False).wanted["headers"] is None
    assert form.wanted["order"] is None
    assert form.wanted["feed_cursor"] is False
    assert read(URL).wanted["enabled"] is False
    opened_before_there_was_order = read(URL, new=False).wanted
    assert set(form.wanted) - set(opened_before_there_was_order) == {
        "order", "order_patience_seconds", "batch", "feed_cursor",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "typed", "words"),
    [
        ("url", "", "must have 1 to 2048 characters, this has 0"),
        ("url", "http://10.0.0.1/", "resolves to a private address"),
        ("content_filter", '{"path": "/a", "over": 1}', "over: unknown; a path is tested with"),
        ("headers", "Host: x", "Host: "),
        ("uid", "a b", "must be 1 to 128 letters"),
        ("event_types", "call.*\nnot a type!", "“not a type!”: must be a type such as call.started"),
        ("channels", "a/b", "“a/b”: must be 1 to 64 letters"),
        ("rate_limit", "many", "must be a whole number, or empty"),
        ("rate_limit", "0", "must be from 1 to 10000"),
        ("timeout_seconds", "61", "must be from 1 to 60"),
        ("order_patience_seconds", "4", "must be from 5 to 2592000"),
        ("order_patience_seconds", "an hour", "must be a whole number, or empty"),
        ("batch_max_events", "many", "must be a whole number, or empty"),
        ("retry_delays_seconds", "10, soon", "must be whole seconds, such as 10, 60, 600"),
        ("content_filter", "{", "is not valid JSON: expecting property name enclosed in double quotes at line 1"),
        ("content_filter", "[]", "must be a JSON object"),
        ("content_filter", '{"path": "/a", "path": "/b"}', "“path” is given twice in one object"),
        ("content_filter", "[" * 70 + "]" * 70, "The JSON is nested deeper than 64 levels"),
        ("headers", "no colon", "“no colon” must be written as name: value"),
        ("metadata", "a: 1\na: 2", "“a” is given twice"),
        ("metadata", '{"a": 1}', "a: must be a string, not a number"),
        ("secret", "whsec_short", "must be whsec_ and then base64 of 24 to 64 random bytes"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(name: str, typed: str, words: str) -> None:
    form = read(URL | {name: typed})
    assert form.typed[name] == typed
    assert list(form.wrong) == [name]
    assert words in form.wrong[name]


@pytest.mark.parametrize(
    ("problem", "wrong"),
    [
        (
            invalid_fields([
                {"field": "content_filter.and[0].gte", "detail": "must be a number or a text"},
                {"field": "content_filter.and[1]", "detail": "has no path"},
                {"field": "headers.Host", "detail": "is ours"},
            ]),
            {
                "content_filter": "and[0].gte: must be a number or a text; and[1]: has no path",
                "headers": "Host: is ours",
            },
        ),
        (invalid_fields([{"field": "batch.max_wait_ms", "detail": "is long"}]), {"batch_max_wait_ms": "is long"}),
        (invalid_fields([{"field": "later", "detail": "is new"}]), {"": "later: is new"}),
        (invalid_fields([{"field": "metadata.[0]", "detail": "no"}]), {"metadata": "[0]: no"}),
        (Problem("conflict", "PUT it", errors=[{"field": "uid", "detail": "is taken"}]), {"uid": "is taken"}),
        (Problem("conflict", "More than 50,000 deliveries wait."), {"": "More than 50,000 deliveries wait."}),
        (Problem("too_many", "There are 50 endpoints."), {"": "There are 50 endpoints."}),
    ],
)  # fmt: skip
def test_a_refusal_of_the_api_is_put_beside_its_fields(problem: Problem, wrong: dict[str, str]) -> None:
    form = read(URL)

    def act() -> None:
        raise problem

    assert not form.done(act)
    assert form.wrong == wrong


def test_another_problem_is_not_the_forms() -> None:
    def act() -> None:
        raise Problem("not_found", "gone")

    with pytest.raises(Problem, match="gone"):
        read(URL).done(act)


@pytest.mark.parametrize(
    "metadata",
    [{}, {"team": "billing", "b": "x: y"}, {"a:b": "1"}, {"note": "two\nlines"}, {"blank": " x"}, {"end": "x\u2028y"}],
)
def test_an_endpoint_as_it_is_makes_a_form_that_asks_for_the_same(metadata: dict[str, str]) -> None:
    values: dict[str, Any] = read(EVERYTHING).wanted | {"metadata": metadata}
    stored = {"batch_max_events": 50, "batch_max_wait_ms": 1000}
    values["batch"] = {"max_events": 50, "max_wait_ms": 1000}
    row: Any = SimpleNamespace(**values | stored | {"content_filter": '{"path":"/amount","gte":100}'})
    again = read(endpoint_form.form_of(row).typed, new=False)
    assert again.wrong == {}
    assert again.wanted == {name: values[name] for name in again.wanted} | {"metadata": metadata}


def test_the_numbers_of_a_batch_are_told_of_at_their_fields_and_count_with_batches_alone() -> None:
    form = read(URL | {"batch": "1", "batch_max_events": "1001", "batch_max_wait_ms": "60001"})
    assert form.wrong == {
        "batch_max_events": "must be a whole number from 1 to 1000",
        "batch_max_wait_ms": "must be a whole number from 0 to 60000",
    }
    assert read(URL | {"batch": "1"}).wanted["batch"] == {}
    assert read(URL | {"batch_max_events": "7"}).wanted["batch"] is None
