"""The console's pages over real rows: what they show, what an operator does on them, and what they say when empty."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from app.accounts import audit
from app.core import ids
from app.database.connection import Database
from tests.web.doors import Door
from tests.web.pages.console.people import Person

ATTEMPT = """
INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
  status_code, remote_address, response_headers, response_body, trigger, dns_ms, connect_ms, first_byte_ms,
  connection_reused)
SELECT %(id)s, %(at)s, workspace_id, endpoint_id, id, 1, %(at)s, 1234, 'http_error', 500, '127.0.0.1',
  '{"Server": "<shop>"}', '<b>closed</b>', 'schedule', 4, 30, 1200, false
FROM deliveries WHERE id = %(delivery)s
"""
STREAM = "c+1@acme"
PAYLOAD = '{"text":"<script>alert(1)</script>","big":12345678901234567890}'
LISTS = ("deliveries", "events", "endpoints", "streams", "workspaces")


@pytest.fixture
def endpoint(acme: Door) -> str:
    return str(acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/in", "headers": {"X-Shop": "swordfish"}})["id"])


@pytest.fixture
def event(acme: Door, endpoint: str) -> str:
    return acme.publish("call", STREAM, "call.started", PAYLOAD)


@pytest.fixture
def delivery(acme: Door, event: str, database: Database) -> str:
    """One with a failed attempt."""
    (row,) = acme.get(f"/v1/events/{event}/deliveries")["data"]
    at = ids.created_at_of(row["id"])
    with database.begin() as connection:
        values = {"id": ids.make(ids.ATTEMPT, at, bytes(10)), "at": at, "delivery": row["id"]}
        connection.exec_driver_sql(ATTEMPT, values)
    return str(row["id"])


def last_action(database: Database) -> tuple[str, str, str | None, str | None]:
    with database.begin() as connection:
        entry = audit.entries(connection, limit=1)[0]
    return entry.actor, entry.action, entry.target, entry.workspace_name


@pytest.mark.parametrize("noun", LISTS)
def test_an_empty_list_says_what_would_be_there(ana: Person, noun: str) -> None:
    page = ana.get(f"/console/{noun}")
    assert "yet." in page
    assert "empty" in page


def test_the_log_shows_a_delivery_with_customer_endpoint_and_last_attempt(
    ana: Person, acme: Door, delivery: str, endpoint: str
) -> None:
    page = ana.get("/console/deliveries")
    for href in (f"deliveries/{delivery}", f"endpoints/{endpoint}", f"workspaces/{acme.workspace_id}"):
        assert f'href="/console/{href}"' in page
    assert "1: HTTP error 500" in page
    assert f"call/{STREAM}" in page
    assert delivery in ana.get(f"/console/deliveries?class=5xx&workspace={acme.workspace_id}&type=call.*&since=1h")
    assert "Nothing fits these filters." in ana.get("/console/deliveries?outcome=timeout")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("workspace=acme", "“acme” is not the id of a workspace"),
        ("status=lost", "“lost” is no status"),
        ("since=yesterday", "“yesterday” is not a time"),
        ("event=evt_7zzzzzzzzzzzzzzzzzzzzzzzzz", "is not the id of a event"),
        ("until=0001-01-01T00:00:00Z", "is not a time"),
        ("before=dlv_x&limit=x&status=%00", ""),
    ],
)
def test_a_filter_that_makes_no_sense_is_named_and_left_out(ana: Person, delivery: str, query: str, words: str) -> None:
    page = ana.get(f"/console/deliveries?{query}")
    assert words in page
    assert delivery in page


def test_a_delivery_is_a_timeline_with_what_was_sent_and_answered(ana: Person, delivery: str, event: str) -> None:
    page = ana.get(f"/console/deliveries/{delivery}")
    for words in ("Created", "Attempt 1", "1,234 ms", "127.0.0.1", "Next attempt", "Deadline", "X-Shop: •••"):
        assert words in page
    for words in ("Name look-up 4 ms", "Connect 30 ms", "Wait for first byte 1,200 ms"):
        assert words in page
    assert "TLS 0 ms" not in page
    assert f"webhook-id: {event}" in page
    assert "12345678901234567890" in page
    assert "swordfish" not in page
    raw = ana.client.get(f"/console/deliveries/{delivery}").get_data(as_text=True)
    assert "<script>alert" not in raw
    assert "<b>closed" not in raw
    assert "<shop>" not in raw


def test_the_command_for_a_shell_is_quoted(ana: Person, acme: Door, endpoint: str, database: Database) -> None:
    event = acme.publish("call", "c2", "call.started", '{"text":"it\'s $HOME `id`"}')
    (row,) = acme.get(f"/v1/events/{event}/deliveries")["data"]
    page = ana.get(f"/console/deliveries/{row['id']}")
    assert """it'"'"'s $HOME `id`""" in page


def test_an_operator_retries_a_delivery_and_it_is_written_down(ana: Person, delivery: str, database: Database) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET status = 'failed', reason = 'x'")
        connection.exec_driver_sql("DELETE FROM due")
    done = ana.send(f"/console/deliveries/{delivery}/retry")
    assert (done.status_code, done.headers["Location"]) == (303, f"/console/deliveries/{delivery}?done=retried")
    assert "attempted again now" in ana.get(done.headers["Location"])
    with database.begin() as connection:
        assert connection.exec_driver_sql("SELECT status, trigger FROM deliveries").one() == ("pending", "manual")
    assert last_action(database) == ("ana", "delivery.retry", delivery, "Acme")


def test_an_endpoint_is_paused_and_enabled(ana: Person, delivery: str, endpoint: str, database: Database) -> None:
    path = f"/console/endpoints/{endpoint}"
    assert ana.send(f"{path}/state", status="disabled").status_code == 303
    assert last_action(database) == ("ana", "endpoint.disable", endpoint, "Acme")
    page = ana.get(f"{path}?done=paused")
    assert "The endpoint is paused." in page
    assert "by a person" in page
    refused = ana.send(f"/console/deliveries/{delivery}/retry")
    assert (refused.status_code, "enable it first" in refused.get_data(as_text=True)) == (409, True)
    assert ana.send(f"{path}/state", status="enabled").status_code == 303
    assert last_action(database)[1] == "endpoint.enable"
    assert ana.send(f"{path}/state", status="gone").status_code == 400


def test_a_new_secret_is_shown_once_and_is_not_in_the_audit_log(
    ana: Person, acme: Door, endpoint: str, database: Database
) -> None:
    answer = ana.send(f"/console/endpoints/{endpoint}/rotate").get_data(as_text=True)
    secret = acme.get(f"/v1/endpoints/{endpoint}/secret")["secret"]
    assert secret.replace("+", "&#43;") in answer or secret in answer
    assert "whsec_" not in ana.get(f"/console/endpoints/{endpoint}")
    assert last_action(database) == ("ana", "endpoint.rotate", endpoint, "Acme")
    with database.begin() as connection:
        assert "whsec_" not in str(audit.entries(connection, limit=9))


def test_an_event_says_for_each_endpoint_whether_it_came_and_why_not(
    ana: Person, acme: Door, globex: Door, endpoint: str
) -> None:
    filtered = acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/x", "event_types": ["bot.*"]})["id"]
    foreign = globex.post("/v1/endpoints", {"url": "http://127.0.0.1:9/foreign"})["id"]
    event = acme.publish("call", "c1", "call.ended")
    later = acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/later"})["id"]
    page = ana.get(f"/console/events/{event}")
    assert re.findall(r'data-code="(\w+)"', page) == ["due", "registered_later", "filtered_type"]
    for id in (endpoint, filtered, later):
        assert f'href="/console/endpoints/{id}"' in page
    assert foreign not in page


def test_an_event_and_its_delivery_show_metadata_and_channels(ana: Person, acme: Door, endpoint: str) -> None:
    said = {"type": "user.created", "data": {}, "metadata": {"request": "r_<1>"}, "channels": ["team:a", "b"]}
    event = acme.post("/v1/events", said, 202)["id"]
    page = ana.get(f"/console/events/{event}")
    (metadata,) = re.findall(r'<pre id="metadata" tabindex="0">(.*)</pre>', page)
    assert metadata == '{"request":"r_<1>"}'
    assert "<dt>Channels</dt><dd>team:a, b</dd>" in page
    (delivery,) = acme.get(f"/v1/deliveries?endpoint_id={endpoint}")["data"]
    assert 'id="metadata"' in ana.get(f"/console/deliveries/{delivery['id']}")
    assert 'id="metadata"' not in ana.get(f"/console/events/{acme.publish('call', 'c1', 'call.noted')}")


def test_a_test_is_not_missed_by_the_other_endpoints(ana: Person, acme: Door, endpoint: str) -> None:
    other = acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/other"})["id"]
    event = acme.post(f"/v1/endpoints/{other}/test", status=202)["id"]
    assert 'data-code="test_of_another"' in ana.get(f"/console/events/{event}")


def test_an_event_that_reached_nobody_is_in_the_list_as_such(ana: Person, acme: Door) -> None:
    event = acme.publish("call", "c1", "call.ended")
    page = ana.get(f"/console/events?workspace={acme.workspace_id}&type=call.*&since=1h")
    assert event in page
    assert "no delivery" in page
    assert "This customer has no endpoint." in ana.get(f"/console/events/{event}")


def test_a_customer_has_its_days_and_what_was_not_delivered(
    ana: Person, acme: Door, delivery: str, event: str, database: Database
) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql("UPDATE deliveries SET status = 'failed', reason = 'window_exhausted: no success'")
    page = ana.get(f"/console/workspaces/{acme.workspace_id}")
    assert page.count(f'href="/console/events/{event}"') == 2
    assert "window_exhausted" in page
    assert "No events on this day." in ana.get(f"/console/workspaces/{acme.workspace_id}?day=2026-01-01")
    assert "Acme" in ana.get("/console/workspaces?q=acm")
    assert "No customer is called so." in ana.get("/console/workspaces?q=%25")


def test_a_stream_page_begins_with_its_last_events(ana: Person, acme: Door, event: str) -> None:
    path = f"/console/streams/{acme.workspace_id}/call/{quote(STREAM)}"
    assert f'href="{path}"' in ana.get("/console/streams?kind=call&state=open")
    page = ana.get(path)
    assert f'data-url="{path}/live" data-after="1" data-ended="no"' in page
    assert "12345678901234567890" in page
    acme.post(f"/v1/streams/call/{STREAM}/end", status=200)
    assert 'data-ended="yes"' in ana.get(path)
    assert "No stream fits." in ana.get("/console/streams?state=open")


@pytest.mark.parametrize(
    "path",
    [
        "deliveries/dlv_01k00000000000000000000000",
        "deliveries/x",
        "events/evt_01k00000000000000000000000",
        "events/evt_7zzzzzzzzzzzzzzzzzzzzzzzzz",
        "endpoints/ep_x",
        "workspaces/ws_x",
        "streams/ws_x/call/x",
        "nothing/at/all",
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(ana: Person, path: str) -> None:
    page = ana.get(f"/console/{path}", 404)
    assert "There is no such" in page
    assert 'href="/console"' in page


def test_a_broken_database_is_a_page_that_says_so(ana: Person, delivery: str, database: Database) -> None:
    with database.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE deliveries RENAME TO away")
    assert "The database did not answer" in ana.get("/console/deliveries", 503)


def test_the_search_leads_to_the_one_thing_and_lists_several(ana: Person, acme: Door, event: str) -> None:
    assert ana.client.get(f"/console/search?q=+{event}+").headers["Location"] == f"/console/events/{event}"
    assert ana.client.get("/console/search?q=acme").headers["Location"] == f"/console/workspaces/{acme.workspace_id}"
    acme.publish("bot", "c9", "bot_status")
    acme.publish("call", "c9", "call.started")
    assert "2 things are called “c9”" in ana.get("/console/search?q=c9")
    assert "Nothing is called “zzz”" in ana.get("/console/search?q=zzz", 404)
