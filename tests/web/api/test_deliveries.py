"""The delivery log: filtered, paged, read with attempts; and a delivery attempted again by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import quote

from sqlalchemy import text

from app.database.connection import Database
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
    ):
        assert len(acme.get(f"/v1/deliveries?{query}")["data"]) == count, query
    assert {row["endpoint_id"] for row in acme.get(f"/v1/events/{event}/deliveries")["data"]} == {first, second}
    page = acme.get("/v1/deliveries?limit=3")
    rest = acme.get(f"/v1/deliveries?limit=3&cursor={page['next_cursor']}")
    assert page["data"] + rest["data"] == everything


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
