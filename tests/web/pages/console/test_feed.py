"""The pages of a customer's feed and its consumers: by filters, by page, by place; what an operator does there."""

from __future__ import annotations

import re

import pytest
from flask import Flask

from app.database.connection import Database
from app.web.engine import engine_of
from tests.web.doors import Door
from tests.web.pages.console.people import Person
from tests.web.pages.console.test_pages import last_action


def shown(page: str) -> list[str]:
    """The seqs of the events on a page, with their streams."""
    return re.findall(r'<span class="small"><a href="[^"]*">([^<]*)</a></span><span class="quiet small">#', page)


@pytest.fixture
def feed(acme: Door) -> str:
    """Acme's page, with four events of three streams."""
    for kind, stream, type in (
        ("call", "one", "call.started"),
        ("bot", "two", "bot_status"),
        ("call", "three", "call.started"),
        ("call", "one", "call.turn"),
    ):
        acme.publish(kind, stream, type, '{"big":12345678901234567890,"html":"<b>"}')
    return f"/console/feed/{acme.workspace_id}"


def test_everything_is_shown_in_one_order_and_narrowed_by_stream_kind_and_type(vic: Person, feed: str) -> None:
    page = vic.get(feed)
    assert shown(page) == ["call/one", "bot/two", "call/three", "call/one"]
    assert "12345678901234567890" in page
    assert '<b>"}' not in vic.client.get(feed).get_data(as_text=True)
    assert 'data-start="yes"' in page
    for query, streams in (
        ("stream=call/one", ["call/one", "call/one"]),
        ("stream=call:three, bot/two", ["bot/two", "call/three"]),
        ("kind=bot", ["bot/two"]),
        ("type=call.turn", ["call/one"]),
        ("type=call.*&kind=call&from=1h", ["call/one", "call/three", "call/one"]),
        ("from=earliest&stream=call/one", ["call/one", "call/one"]),
        (f"stream=call/{'a' * 120},call/{'b' * 120},call/{'c' * 120},call/{'d' * 120},bot/two", ["bot/two"]),
    ):
        assert shown(vic.get(f"{feed}?{query}")) == streams, query


def test_pages_go_on_by_the_cursor_to_the_end(vic: Person, acme: Door, feed: str) -> None:
    for number in range(60):
        acme.publish("call", "many", "call.turn", f'{{"n":{number}}}')
    first = vic.get(f"{feed}?from=earliest")
    assert len(shown(first)) == 50
    assert 'data-start="no"' in first
    on = re.search(r'rel="next" href="([^"]+)"', first)
    assert on is not None
    second = vic.get(on[1])
    assert len(shown(second)) == 14
    assert "That is all so far." in second
    assert 'rel="next"' not in second
    cursor = re.search(r'data-after="([^"]+)"', second)
    assert cursor is not None
    assert "Nothing more has come." in vic.get(f"{feed}?after={cursor[1]}")
    newest = vic.get(feed)
    assert len(shown(newest)) == 50
    assert '{"n":59}' in newest


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("stream=nothing", "The filter stream was left out: 'nothing' is not the kind and the id of a stream"),
        ("kind=a b", "The filter kind was left out"),
        ("type=a b", "The filter type was left out"),
        ("from=yesterday", "“yesterday” is not a time"),
    ],
)
def test_a_filter_that_makes_no_sense_is_named_and_left_out(vic: Person, feed: str, query: str, words: str) -> None:
    page = vic.get(f"{feed}?{query}")
    assert words in page
    assert len(shown(page)) == 4


def test_what_is_empty_or_not_there_says_so(vic: Person, acme: Door, globex: Door, feed: str) -> None:
    assert "No events yet." in vic.get(f"/console/feed/{globex.workspace_id}")
    assert "No event fits among the newest 10,000." in vic.get(f"{feed}?kind=session")
    assert "must be earliest, latest, a time, or a cursor" in vic.get(f"{feed}?after=nothing", 422)
    assert "There is no such customer." in vic.get("/console/feed/acme", 404)
    assert "Globex" in vic.get("/console/feed")
    chosen = vic.client.get(f"/console/feed?workspace={acme.workspace_id}&kind=call&type=")
    assert (chosen.status_code, chosen.headers["Location"]) == (303, f"{feed}?kind=call")


def test_a_cursor_of_a_place_that_is_lost_leads_to_where_the_feed_goes_on(
    vic: Person, app: Flask, database: Database, feed: str
) -> None:
    cursor = re.search(r'data-after="([^"]+)"', vic.get(feed))
    assert cursor is not None
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE ticks SET mark = mark + 1 WHERE mark > 0")
    engine_of(app).feed.tick(0)
    page = vic.get(f"{feed}?after={cursor[1]}")
    assert "What was behind that place is no longer there." in page


def test_consumers_are_seen_moved_and_forgotten(
    ana: Person, vic: Person, acme: Door, feed: str, database: Database
) -> None:
    assert "No consumers." in vic.get(f"{feed}/consumers")
    only = {"path": "/big", "exists": True}
    acme.put("/v1/feed/consumers/billing", {"types": ["call.*"], "content_filter": only})
    acme.post("/v1/feed/consumers/billing/read", {"limit": 1}, 200)
    page = vic.get(f"{feed}/consumers")
    for words in ("billing", "types: call.*; content: {", '"/big"', "being read", "never; read"):
        assert words in page
    assert re.search(r'data-label="Behind" class="number">4 <span class="quiet small">events', page)
    assert "<form" not in page.partition("</header>")[2]
    moved = ana.send(f"{feed}/consumers/billing/seek", to="latest")
    assert moved.headers["Location"] == f"{feed}/consumers?done=consumer-moved"
    page = ana.get(moved.headers["Location"])
    assert "Whoever was reading has lost the lease." in page
    assert "nothing" in page
    assert last_action(database) == ("ana", "consumer.seek", "billing", "Acme")
    assert ana.send(f"{feed}/consumers/billing/seek", to="24h").status_code == 303
    wrong = ana.send(f"{feed}/consumers/billing/seek", to="soon")
    assert wrong.status_code == 422
    for words in ("“soon” is not a place.", 'value="soon" aria-invalid'):
        assert words in wrong.get_data(as_text=True)
    for name in ("nobody", "no body"):
        assert ana.send(f"{feed}/consumers/{name}/seek", to="latest").status_code == 404
        assert ana.send(f"{feed}/consumers/{name}/delete").status_code == 404
    assert ana.send(f"{feed}/consumers/billing/delete").status_code == 303
    assert last_action(database) == ("ana", "consumer.delete", "billing", "Acme")
    assert acme.get("/v1/feed/consumers")["data"] == []
