"""The delivery log: filtered, paged, read with attempts; and a delivery attempted again by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import text

from app.core import ids
from app.database.connection import Database
from app.delivery import search
from tests.web.doors import Door


def register(door: Door) -> str:
    return str(door.post("/v1/endpoints", {"url": "http://127.0.0.1:9/"})["id"])


def test_the_log_is_filtered_and_paged_newest_first(acme: Door) -> None:
    first, second = register(acme), register(acme)
    before = quote(datetime.now(UTC).isoformat())
    event = acme.publish("call", "c1", "call.started")
    acme.publish("call", "c1", "call.ended")
    everything = acme.get("/v1/deliveries")["data"]
    assert [row["id"] for row in everything] == sorted((row["id"] for row in everything), reverse=True)
    assert len(everything) == 4
    for query, count in (
        (f"endpoint_id={first}", 2),
        (f"endpoint_id={second}&event_type=call.ended", 1),
        ("event_type=call.*", 4),
        ("status=pending", 4),
        ("status=failed", 0),
        (f"since={before}", 4),
        (f"until={before}", 0),
        ("since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59.9995Z", 4),
    ):
        assert len(acme.get(f"/v1/deliveries?{query}")["data"]) == count, query
    assert {row["endpoint_id"] for row in acme.get(f"/v1/events/{event}/deliveries")["data"]} == {first, second}
    page = acme.get("/v1/deliveries?limit=3")
    rest = acme.get(f"/v1/deliveries?limit=3&cursor={page['next_cursor']}")
    assert page["data"] + rest["data"] == everything


ATTEMPT = """
INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
  status_code, trigger)
SELECT %(id)s, %(at)s, workspace_id, endpoint_id, id, %(number)s, %(at)s, 12, %(outcome)s, %(code)s, 'schedule'
FROM deliveries WHERE id = %(delivery)s
"""


def log_of_three(acme: Door, database: Database) -> tuple[list[dict[str, Any]], list[str]]:
    """Deliveries of c1 (failed: 500, then 404), c2 (delivered: time-out, then 200), c3 (pending); their attempts'
    ids in order."""
    register(acme)
    for stream in ("c1", "c2", "c3"):
        acme.publish("call", stream, "call.started")
    rows = sorted(acme.get("/v1/deliveries")["data"], key=lambda row: str(row["id"]))
    by_event = {acme.get(f"/v1/events/{row['event_id']}")["stream"]["id"]: row for row in rows}
    ordered = [by_event[stream] for stream in ("c1", "c2", "c3")]
    made = []
    with database.begin() as connection:
        tries = ((0, "http_error", 500), (0, "http_error", 404), (1, "timeout", None), (1, "success", 200))
        for number, (which, outcome, code) in enumerate(tries):
            at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=number)
            made.append(ids.make(ids.ATTEMPT, at, bytes(10)))
            connection.exec_driver_sql(
                ATTEMPT,
                {
                    "id": made[-1],
                    "at": at,
                    "number": number % 2 + 1,
                    "outcome": outcome,
                    "code": code,
                    "delivery": ordered[which]["id"],
                },
            )
        for which, status in ((0, "failed"), (1, "delivered")):
            key = {"id": ordered[which]["id"], "status": status}
            connection.exec_driver_sql(
                "UPDATE deliveries SET status = %(status)s, finished_at = now() WHERE id = %(id)s", key
            )
            connection.exec_driver_sql("DELETE FROM due WHERE delivery_id = %(id)s", key)
    return ordered, made


def test_the_log_answers_by_what_a_person_knows_of_a_delivery(acme: Door, database: Database) -> None:
    (failed, delivered, pending), attempts = log_of_three(acme, database)
    for query, expected in (
        (f"event_id={failed['event_id']}", [failed]),
        ("stream_kind=call&stream_id=c2", [delivered]),
        ("stream_kind=bot&stream_id=c2", []),
        ("status=failed,delivered", [failed, delivered]),
        ("status=pending,failed", [failed, pending]),
        ("stream_kind=call&stream_id=c1&status_code=5xx", [failed]),
        (f"event_id={delivered['event_id']}&outcome=timeout", [delivered]),
        (f"event_id={delivered['event_id']}&outcome=dns_error", []),
    ):
        found = acme.get(f"/v1/deliveries?{query}")["data"]
        assert sorted(row["id"] for row in found) == sorted(row["id"] for row in expected), query
    last = {row["id"]: row["attempt"] for row in acme.get("/v1/deliveries")["data"]}
    assert last[failed["id"]]["id"] == attempts[1]
    assert (last[delivered["id"]]["status_code"], last[pending["id"]]) == (200, None)
    (asked_for,) = acme.get(f"/v1/deliveries?event_id={failed['event_id']}&status_code=500")["data"]
    assert asked_for["attempt"]["id"] == attempts[0]


def test_asked_for_an_answer_the_log_shows_each_attempt_that_was_answered_so(acme: Door, database: Database) -> None:
    _, attempts = log_of_three(acme, database)
    for query, expected in (
        ("status_code=5xx", [0]),
        ("status_code=404", [1]),
        ("status_code=405", []),
        ("status_code=2xx", [3]),
        ("status_code=200&outcome=success", [3]),
        ("outcome=http_error", [1, 0]),
        ("outcome=timeout&status=delivered", [2]),
        ("outcome=timeout&status=failed,cancelled", []),
    ):
        found = acme.pages(f"/v1/deliveries?{query}&limit=1")
        assert [row["attempt"]["id"] for row in found] == [attempts[index] for index in expected], query


def test_a_platform_key_reads_the_log_of_all_workspaces(platform: Door, acme: Door, globex: Door) -> None:
    for door in (acme, globex):
        register(door)
        door.publish("call", "one", "call.started")
    found = platform.get("/v1/deliveries?stream_kind=call&stream_id=one")["data"]
    assert {row["workspace_id"] for row in found} == {acme.workspace_id, globex.workspace_id}
    (only,) = platform.get("/v1/deliveries", headers={"X-Workspace": "globex"})["data"]
    assert only["workspace_id"] == globex.workspace_id
    assert {row["workspace_id"] for row in acme.get("/v1/deliveries")["data"]} == {acme.workspace_id}


@pytest.mark.parametrize(
    "query",
    [
        "status=lost",
        "status=failed,",
        "status=failed,failed,failed,failed,failed",
        "stream_id=c1",
        "stream_kind=call",
        "outcome=http_error2",
        "status_code=1xx",
        "status_code=4",
        "event_id=dlv_x",
        "cursor=eA",
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(acme: Door, query: str) -> None:
    assert acme.get(f"/v1/deliveries?{query}", status=422)["code"] == "invalid"


def test_a_page_that_ends_early_says_how_far_it_has_looked(acme: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "WINDOW", 3)
    register(acme)
    for number in range(5):
        acme.publish("call", f"c{number}", "call.started" if number == 0 else "call.turn")
    page = acme.get("/v1/deliveries?event_type=call.started")
    assert page["data"] == []
    assert page["next_cursor"]
    assert page["searched_to"]
    assert len(acme.pages("/v1/deliveries?event_type=call.started")) == 1


def test_a_delivery_is_read_with_its_attempts(acme: Door, database: Database) -> None:
    register(acme)
    acme.publish("call", "c1", "call.started")
    (row,) = acme.get("/v1/deliveries")["data"]
    with database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at,"
                " duration_ms, outcome, status_code, remote_address, response_headers, response_body, trigger)"
                " SELECT 'att_01k00000000000000000000000', now(), workspace_id, endpoint_id, id, 1, now(), 12,"
                " 'http_error', 500, '127.0.0.1',"
                " '{\"Server\": \"x\"}', 'no\\377', 'schedule' FROM deliveries"
            )
        )
    (attempt,) = acme.get(f"/v1/deliveries/{row['id']}")["attempts"]
    assert (attempt["number"], attempt["outcome"], attempt["status_code"]) == (1, "http_error", 500)
    assert attempt["response_body"] == "no\ufffd"


def test_a_failed_delivery_is_pending_again_after_a_retry(acme: Door, database: Database) -> None:
    register(acme)
    acme.publish("call", "c1", "call.started")
    (row,) = acme.get("/v1/deliveries")["data"]
    with database.begin() as connection:
        connection.execute(text("UPDATE deliveries SET status = 'failed', reason = 'exhausted', finished_at = now()"))
        connection.execute(text("DELETE FROM due"))
    retried = acme.post(f"/v1/deliveries/{row['id']}/retry", status=202)
    assert (retried["status"], retried["reason"], retried["finished_at"]) == ("pending", None, None)
    assert retried["next_attempt_at"] is not None
