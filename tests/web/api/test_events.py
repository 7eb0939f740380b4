"""Events read back: byte for byte, in order, filtered, paged."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from app.ledger import events
from tests.delivery.world import World
from tests.web.doors import Door

# Every spelling that a parser would change: key order, a big integer, floats, a number beyond floats, escapes.
SPELLED = r'{"b":1,"a":1.0,"n":12345678901234567890,"e":1e400,"s":"\u2028é😀","z":-0.0,"t":"\u00e9"}'


def test_an_event_is_read_back_in_its_own_spelling(acme: Door) -> None:
    event = acme.publish("call", "c1", "call.noted", SPELLED)
    for path in (f"/v1/events/{event}", "/v1/events", "/v1/events?stream_kind=call&stream_id=c1"):
        response = acme.client.get(path, headers={"Authorization": f"Bearer {acme.key}"})
        assert response.status_code == 200
        assert b'"data":' + SPELLED.encode() + b"}" in response.data


def test_a_stream_is_read_in_order_behind_a_seq(acme: Door) -> None:
    for number in range(7):
        acme.publish("call", "c1", "call.noted", f'{{"n":{number}}}')
        acme.publish("call", "c2", "call.noted")
    path = "/v1/events?stream_kind=call&stream_id=c1"
    assert [event["seq"] for event in acme.get(path)["data"]] == [1, 2, 3, 4, 5, 6, 7]
    assert [event["seq"] for event in acme.get(f"{path}&after_seq=5")["data"]] == [6, 7]
    assert acme.get(f"{path}&after_seq=7") == {"data": [], "next_cursor": None}
    ahead = acme.get(f"{path}&after_seq=8", status=409)
    assert (ahead["code"], ahead["last_seq"]) == ("cursor_ahead", 7)
    assert [event["seq"] for event in acme.pages(f"{path}&after_seq=1&limit=2")] == [2, 3, 4, 5, 6, 7]
    assert acme.get("/v1/events?stream_kind=call&stream_id=absent")["data"] == []


def test_a_workspace_is_read_newest_first(acme: Door) -> None:
    made = [acme.publish("call", f"c{number % 3}", "call.noted") for number in range(8)]
    assert [event["id"] for event in acme.pages("/v1/events?limit=3")] == sorted(made, reverse=True)


@pytest.mark.parametrize(
    ("query", "types"),
    [
        ("type=call.started", ["call.started"]),
        ("type=call.*", ["call.ended", "call.started"]),
        ("type=*", ["call.ended", "bot_x", "botax", "call.started"]),
        ("type=bot_x", ["bot_x"]),  # the underscore is no wildcard
        ("type=call", []),
        ("stream_kind=bot", ["bot_x", "botax"]),
        ("stream_kind=bot&type=call.*", []),
    ],
)
def test_events_are_filtered_by_type_and_kind(acme: Door, query: str, types: list[str]) -> None:
    for kind, type in (("call", "call.started"), ("bot", "botax"), ("bot", "bot_x"), ("call", "call.ended")):
        acme.publish(kind, "s1", type)
    # Events of the same millisecond are in no order across streams.
    assert sorted(event["type"] for event in acme.get(f"/v1/events?{query}")["data"]) == sorted(types)


def test_a_page_of_large_events_ends_early_and_goes_on(acme: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PAGE_BYTES", 3000)
    for _ in range(5):
        acme.publish("call", "c1", "call.noted", '{"x":"' + "x" * 1500 + '"}')
    for path in ("/v1/events?limit=50", "/v1/events?stream_kind=call&stream_id=c1&limit=50"):
        assert len(acme.get(path)["data"]) == 2
        assert len(acme.pages(path)) == 5


def test_events_are_read_by_time(acme: Door, world: World) -> None:
    early = [acme.publish("call", "c1", "a"), acme.publish("call", "c2", "a")]
    middle = quote(world.divide().isoformat())
    late = [acme.publish("call", "c1", "b"), acme.publish("call", "c2", "b")]
    for query, expected in (
        (f"since={middle}", late),
        (f"until={middle}", early),
        (f"since={middle}&stream_kind=call&stream_id=c1", late[:1]),
        (f"until={middle}&stream_kind=call&stream_id=c2&type=a", early[1:]),
        (f"since={middle}&until={middle}", []),
    ):
        found = acme.pages(f"/v1/events?{query}&limit=1")
        assert sorted(event["id"] for event in found) == sorted(expected), query


def test_a_platform_key_reads_the_events_of_all_workspaces(platform: Door, acme: Door, globex: Door) -> None:
    made = [acme.publish("call", "c1", "a"), globex.publish("call", "c1", "a")]
    found = platform.get("/v1/events")["data"]
    assert [event["id"] for event in found] == sorted(made, reverse=True)
    assert {event["workspace_id"] for event in found} == {acme.workspace_id, globex.workspace_id}
    refused = platform.get("/v1/events?stream_kind=call&stream_id=c1", status=400)
    assert "X-Workspace" in refused["detail"]


def test_a_page_that_ends_early_says_how_far_it_has_looked(acme: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "WINDOW", 3)
    for number in range(8):
        acme.publish("call", "c1", "rare" if number in (0, 7) else "call.turn")
    page = acme.get("/v1/events?type=missing")
    assert page["data"] == []
    assert page["next_cursor"]
    assert page["searched_to"]
    assert len(acme.pages("/v1/events?type=rare")) == 2
    of_stream = acme.pages("/v1/events?type=rare&stream_kind=call&stream_id=c1")
    assert [event["seq"] for event in of_stream] == [1, 8]
