"""The pages of lanes: what stands still and why, over all customers and at one endpoint; skip and retry."""

from __future__ import annotations

import pytest
from flask import Flask

from app.core import ids
from app.database.connection import Database
from app.delivery import lane_reads
from tests.web.doors import Door
from tests.web.pages.console.people import Person
from tests.web.pages.console.test_pages import ATTEMPT, last_action
from tests.web.pages.portal.guests import GuestAtPortal

# The first delivery of a lane as it is after an attempt that has failed.
FAILED = """
WITH head AS (
  UPDATE due SET attempt_count = 1, window_attempts = 1, waited_seconds = 600, counted_at = now(),
    due_at = now() + interval '125 s'
  WHERE delivery_id = %(id)s RETURNING delivery_id, endpoint_id
), counted AS (UPDATE deliveries SET attempt_count = 1, window_attempts = 1 WHERE id = %(id)s)
UPDATE endpoints SET last_outcome = 'success' FROM head WHERE endpoints.id = head.endpoint_id
"""


@pytest.fixture
def endpoint(acme: Door) -> str:
    body = {"url": "http://127.0.0.1:9/in", "order": "stream", "order_patience_seconds": 900}
    return str(acme.post("/v1/endpoints", body)["id"])


@pytest.fixture
def heads(acme: Door, endpoint: str, database: Database) -> list[str]:
    """The deliveries of one stream, whose first has failed; another stream's only one has not been tried."""
    found = []
    for _ in range(3):
        event = acme.publish("call", "queue", "call.turn")
        found.append(str(acme.get(f"/v1/events/{event}/deliveries")["data"][0]["id"]))
    acme.publish("call", "calm", "call.turn")
    at = ids.created_at_of(found[0])
    with database.begin() as connection:
        connection.exec_driver_sql(FAILED, {"id": found[0]})
        values = {"id": ids.make(ids.ATTEMPT, at, bytes(10)), "at": at, "delivery": found[0]}
        connection.exec_driver_sql(ATTEMPT, values)
    return found


def test_what_stands_still_says_why_since_when_and_what_waits_behind_it(
    vic: Person, acme: Door, globex: Door, heads: list[str], endpoint: str
) -> None:
    page = vic.get("/console/lanes")
    for words in ("call/queue", "Attempt 1 failed: HTTP error 500. Next in 2 min.", "Acme", "call.turn"):
        assert words in page
    assert "goes on without it when it has failed for 5 min more, while the endpoint takes others" in page
    assert '<td data-label="Behind it" class="number">2</td>' in page
    assert "call/calm" not in page
    assert "/skip" not in page
    assert heads[0] in vic.get(f"/console/lanes?workspace={acme.workspace_id}")
    assert "Nothing stands still at this customer." in vic.get(f"/console/lanes?workspace={globex.workspace_id}")
    page = vic.get(f"/console/endpoints/{endpoint}/lanes")
    assert "call/calm" in page
    assert "on its way" in page
    assert "lanes of its streams" in vic.get(f"/console/endpoints/{endpoint}")


def test_a_lane_counts_once_whatever_was_in_a_batch_with_its_first(
    acme: Door, globex: Door, heads: list[str], database: Database
) -> None:
    alone = acme.publish("call", "alone", "call.turn")
    attempted = (*heads, acme.get(f"/v1/events/{alone}/deliveries")["data"][0]["id"])
    with database.begin() as connection:
        for one in attempted:
            connection.exec_driver_sql(FAILED, {"id": one})
        assert lane_reads.count_stopped(connection) == 1, "nothing waits behind the other stream's only delivery"
        assert [
            [one.lane.delivery_id for one in lane_reads.stopped_lanes(connection, workspace=whose, limit=9)]
            for whose in (None, acme.workspace_id, globex.workspace_id)
        ] == [[heads[0]], [heads[0]], []]
        connection.exec_driver_sql("UPDATE due SET window_attempts = 0 WHERE delivery_id = %s", (heads[0],))
        assert lane_reads.count_stopped(connection) == 0, "what has not failed in this turn holds nobody up"


def test_a_delivery_says_where_it_stands(ana: Person, heads: list[str]) -> None:
    page = ana.get(f"/console/deliveries/{heads[0]}")
    assert "First in its stream's order; 2 wait behind it. It has held them up for 10 min" in page
    assert f"/console/deliveries/{heads[0]}/skip" in page
    page = ana.get(f"/console/deliveries/{heads[2]}")
    assert f'It waits for <a href="/console/deliveries/{heads[0]}">#1</a>' in page
    assert "webhook-prev-seq: 2" in page
    assert f"{heads[2]}/retry" not in page


def test_an_operator_skips_and_retries(ana: Person, heads: list[str], endpoint: str, database: Database) -> None:
    done = ana.send(f"/console/deliveries/{heads[0]}/retry", back="lanes")
    assert done.headers["Location"] == "/console/lanes?done=retried"
    assert "The next is due now." in ana.get("/console/lanes")
    done = ana.send(f"/console/deliveries/{heads[0]}/skip", back="endpoint")
    assert done.headers["Location"] == f"/console/endpoints/{endpoint}/lanes?done=skipped"
    assert last_action(database) == ("ana", "delivery.skip", heads[0], "Acme")
    assert "Nothing stands still." in ana.get("/console/lanes")
    page = ana.get(f"/console/deliveries/{heads[0]}")
    assert "Late: its stream goes on without it." in page
    assert "webhook-late: 1" in page
    assert "webhook-skipped-seq: 1" in ana.get(f"/console/deliveries/{heads[1]}")
    refused = ana.send(f"/console/deliveries/{heads[2]}/skip")
    assert (refused.status_code, "not the first that waits" in refused.get_data(as_text=True)) == (409, True)
    assert ana.send(f"/console/deliveries/{heads[1]}/skip", back="elsewhere").headers["Location"] == (
        f"/console/deliveries/{heads[1]}?done=skipped"
    )


def test_what_has_arrived_meanwhile_is_not_sent_again(
    ana: Person, app: Flask, acme: Door, heads: list[str], database: Database
) -> None:
    guest = GuestAtPortal(app)
    guest.open(acme.post("/v1/portal-links", {"scopes": ["operate"]})["url"])
    with database.begin() as connection:
        connection.exec_driver_sql("DELETE FROM due WHERE delivery_id = %s", (heads[0],))
        connection.exec_driver_sql(
            "UPDATE deliveries SET status = 'delivered', finished_at = now() WHERE id = %s", (heads[0],)
        )
    for person, base in ((ana, "/console"), (guest, "/portal")):
        done = person.send(f"{base}/deliveries/{heads[0]}/retry", back="lanes").headers["Location"]
        assert done == f"{base}/lanes?done=ended-meanwhile"
        assert "It is not sent again." in person.get(done)
    assert acme.get(f"/v1/deliveries/{heads[0]}")["status"] == "delivered"


def test_an_endpoint_without_order_says_so(vic: Person, acme: Door) -> None:
    plain = acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/plain"})["id"]
    assert "This endpoint keeps no order." in vic.get(f"/console/endpoints/{plain}/lanes")
    ordered = acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/x", "order": "stream"})["id"]
    assert "Nothing waits." in vic.get(f"/console/endpoints/{ordered}/lanes")


def test_a_customer_sees_the_same_of_their_own(app: Flask, acme: Door, globex: Door, heads: list[str]) -> None:
    for door, words in ((acme, "Attempt 1 failed"), (globex, "Nothing stands still.")):
        guest = GuestAtPortal(app)
        guest.open(door.post("/v1/portal-links", {"scopes": ["operate"]})["url"])
        page = guest.get("/portal/lanes")
        assert words in page
        assert "/console/" not in page
        skipped = guest.send(f"/portal/deliveries/{heads[0]}/skip", back="lanes")
        assert skipped.status_code == (303 if door is acme else 404)
    assert skipped.status_code == 404
