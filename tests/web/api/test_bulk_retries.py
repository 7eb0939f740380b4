"""Bulk retries over HTTP: counted, ordered, read, listed, cancelled; by operators in the console, too."""

from __future__ import annotations

import pytest
from flask import Flask

from app.accounts.users import OPERATOR
from app.database.connection import Database
from app.delivery import bulk
from tests.web.doors import Door
from tests.web.pages.console.people import Person, signed_in

PATH = "/v1/bulk-retries"


@pytest.fixture
def endpoint(acme: Door) -> str:
    """One for which three deliveries were cancelled."""
    id = str(acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/in"})["id"])
    for number in range(3):
        acme.publish("call", f"c{number}", "call.started")
    for status in ("disabled", "enabled"):
        acme.patch(f"/v1/endpoints/{id}", {"status": status})
    return id


def statuses(door: Door) -> list[str]:
    return [row["status"] for row in door.get("/v1/deliveries")["data"]]


def test_an_order_is_counted_made_worked_and_read(acme: Door, endpoint: str, database: Database) -> None:
    query = f"endpoint_id={endpoint}&status=cancelled&event_type=call.*"
    assert acme.get(f"{PATH}/count?{query}") == {"count": 3, "skipped": 0, "endpoints": 1, "more": False}
    assert acme.get(f"{PATH}/count?status=failed")["count"] == 0
    assert statuses(acme) == ["cancelled"] * 3
    filters = {"endpoint_id": endpoint, "status": "cancelled"}
    made = acme.post(PATH, filters, status=202)
    assert (made["status"], made["count"], made["retried"], made["filters"]) == ("running", 3, 0, filters)
    with database.begin() as connection:
        assert connection.exec_driver_sql(bulk.ANY_RUNNING).scalar()
        bulk.work(connection, window_seconds=60)
    done = acme.get(f"{PATH}/{made['id']}")
    assert (done["status"], done["retried"]) == ("finished", 3)
    assert acme.get(PATH)["data"] == [done]
    assert statuses(acme) == ["pending"] * 3
    assert acme.post(f"{PATH}/{made['id']}/cancel", status=200)["status"] == "finished"


def test_an_order_is_repeated_by_its_key_and_cancelled(acme: Door, endpoint: str) -> None:
    key = {"Idempotency-Key": "once"}
    made = acme.post(PATH, {}, status=202, headers=key)
    assert acme.post(PATH, {}, status=202, headers=key) == made
    assert acme.post(f"{PATH}/{made['id']}/cancel", status=200)["status"] == "cancelled"
    assert statuses(acme) == ["cancelled"] * 3


def test_what_an_endpoint_has_missed_is_counted_ordered_and_delivered(acme: Door, database: Database) -> None:
    event = acme.publish("call", "c1", "call.started")
    endpoint = str(acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/in"})["id"])
    filters = {"endpoint_id": endpoint, "status": "missed"}
    query = f"endpoint_id={endpoint}&status=missed"
    assert acme.get(f"{PATH}/count?{query}") == {"count": 1, "skipped": 0, "endpoints": 1, "more": False}
    made = acme.post(PATH, filters, status=202)
    assert (made["count"], made["filters"]) == (1, filters)
    with database.begin() as connection:
        bulk.work(connection, window_seconds=60)
    assert acme.get(f"{PATH}/{made['id']}")["status"] == "finished"
    (delivery,) = acme.get("/v1/deliveries")["data"]
    assert (delivery["event_id"], delivery["endpoint_id"], delivery["status"]) == (event, endpoint, "pending")


def test_what_was_missed_was_missed_by_an_endpoint_of_ones_own(acme: Door) -> None:
    for way, given in (("GET", f"{PATH}/count?status=missed"), ("POST", PATH)):
        body = {"status": "missed"} if way == "POST" else None
        refused = acme.ask(way, given, body)
        assert (refused.status_code, refused.get_json()["errors"][0]["field"]) == (422, "endpoint_id")
    absent = {"status": "missed", "endpoint_id": "ep_" + "0" * 26}
    assert acme.ask("POST", PATH, absent).status_code == 404


def test_an_operator_recovers_what_an_endpoint_has_missed(app: Flask, acme: Door, database: Database) -> None:
    ana: Person = signed_in(app, database, "ana", OPERATOR)
    acme.publish("call", "c1", "call.started")
    endpoint = str(acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/in"})["id"])
    page = ana.get(f"/console/bulk-retries/new?endpoint={endpoint}&status=missed")
    assert "1 delivery to 1 endpoint" in page
    made = ana.send("/console/bulk-retries", endpoint=endpoint, status="missed")
    assert "0 of 1 missed events queued" in ana.get(made.headers["Location"])
    assert "Say which endpoint" in ana.get("/console/bulk-retries/new?status=missed")


@pytest.mark.parametrize("wrong", [{"status": "delivered"}, {"endpoint_id": "ep"}, {"since": "soon"}, {"dry": "run"}])
def test_what_makes_no_sense_is_refused(acme: Door, wrong: dict[str, str]) -> None:
    assert acme.ask("POST", PATH, wrong).status_code == 422


def test_an_operator_orders_what_the_dry_run_counted(app: Flask, acme: Door, endpoint: str, database: Database) -> None:
    ana = signed_in(app, database, "ana", OPERATOR)
    log = ana.get("/console/deliveries?status=cancelled")
    assert 'href="/console/bulk-retries/new?status=cancelled"' in log
    page = ana.get(f"/console/bulk-retries/new?status=cancelled&workspace={acme.workspace_id}")
    assert "3 deliveries to 1 endpoint" in page
    refused = ana.get("/console/bulk-retries/new?status=delivered&outcome=timeout")
    assert "cannot be narrowed by outcome" in refused
    assert "Attempt them again" not in refused
    assert ana.send("/console/bulk-retries", outcome="timeout").status_code == 422
    response = ana.send("/console/bulk-retries", status="cancelled", workspace=acme.workspace_id)
    here = response.headers["Location"]
    assert "0 of 3 attempted again" in ana.get(here)
    assert "running" in ana.get("/console/bulk-retries")
    assert ana.send(f"{here}/cancel").status_code == 303
    assert "cancelled" in ana.get(here)
    assert [row["status"] for row in acme.get(PATH)["data"]] == ["cancelled"]
    assert "bulk.cancel" in ana.get("/console/audit")


def test_a_stranger_sees_no_order(app: Flask, acme: Door) -> None:
    made = acme.post(PATH, status=202)
    Person(app).get(f"/console/bulk-retries/{made['id']}", 303)
