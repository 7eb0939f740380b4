"""The catalogue of event types: declared over HTTP, checked on accept from the very answer on, and sent as a test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask

from app import create_app
from app.core.event import own_streams
from app.ledger import event_types
from app.settings import Settings
from app.web.engine import engine_of
from tests.web.doors import Door

SCHEMA = {"type": "object", "required": ["order"], "properties": {"order": {"type": "string", "pattern": "^o_[0-9]+$"}}}
GOOD, BAD = {"order": "o_17"}, {"order": 17}


def post(door: Door, data: Any, status: int, type: str = "order.paid", kind: str = "call") -> Any:
    return door.post("/v1/events", {"stream": {"kind": kind, "id": "c1"}, "type": type, "data": data}, status=status)


@pytest.fixture
def elsewhere(settings: Settings, acme: Door) -> Iterator[Door]:
    """Another process of the same product."""
    app: Flask = create_app(settings)
    yield Door(app, acme.key, acme.workspace_id)
    for one in engine_of(app).databases.values():
        one.close()


def test_a_schema_holds_from_its_answer_on_in_every_process(acme: Door, elsewhere: Door) -> None:
    for door in (acme, elsewhere):
        post(door, BAD, 202)
    made = acme.put("/v1/event-types/order.paid", {"schema": SCHEMA, "check": "reject", "example": GOOD})
    for door in (elsewhere, acme):
        refused = post(door, BAD, 422)
        assert (refused["code"], refused["errors"][0]["field"]) == ("schema_mismatch", "data.order")
        post(door, GOOD, 202)
        post(door, BAD, 202, type="order.other")
    changed = elsewhere.put("/v1/event-types/order.paid", {"schema": SCHEMA, "check": "warn"}, status=200)
    assert changed["created_at"] == made["created_at"]
    for door in (acme, elsewhere):
        post(door, BAD, 202)
    acme.put("/v1/event-types/order.paid", {"schema": SCHEMA, "check": "reject"}, status=200)
    post(elsewhere, BAD, 422)
    acme.delete("/v1/event-types/order.paid")
    post(elsewhere, BAD, 202)


def test_in_a_batch_only_what_does_not_fit_is_refused(acme: Door) -> None:
    acme.put("/v1/event-types/order.paid", {"schema": SCHEMA, "check": "reject"})
    events = [
        {"stream": {"kind": "call", "id": "c1"}, "type": "order.paid", "data": data} for data in (GOOD, BAD, {}, GOOD)
    ]
    answers = acme.post("/v1/events", events, status=202)["data"]
    assert [answer.get("code", "stored") for answer in answers] == [
        "stored",
        "schema_mismatch",
        "schema_mismatch",
        "stored",
    ]
    assert [answer["errors"][0]["field"] for answer in answers[1:3]] == ["data.order", "data.order"]


def test_a_schema_is_its_workspaces_own(acme: Door, globex: Door) -> None:
    acme.put("/v1/event-types/order.paid", {"schema": SCHEMA, "check": "reject"})
    post(globex, BAD, 202)
    globex.get("/v1/event-types/order.paid", status=404)


def test_the_catalogue_has_the_contracts_types_and_ones_own(acme: Door) -> None:
    acme.put("/v1/event-types/a.first", {"description": "ours", "deprecated": True})
    acme.put("/v1/event-types/call.barge_in", {"example": {"mine": 1}})
    rows = acme.pages("/v1/event-types?limit=7")
    names = [(row["type"], row["kind"] or "") for row in rows]
    assert names == sorted(names)
    assert (rows[0]["type"], rows[0]["source"], rows[0]["deprecated"]) == ("a.first", "workspace", True)
    assert {row["source"] for row in rows} == {"workspace", "contract", "twofold"}
    assert len(rows) == len(engine_of(acme.app).rules.types) + 2 + len(own_streams.TYPES)
    assert acme.get("/v1/event-types/endpoint.failing")["example"]["endpoint"]
    assert acme.get("/v1/event-types/call.barge_in")["example"] == {"mine": 1}
    contract = next(row for row in rows if row["source"] == "contract" and row["type"] != "call.barge_in")
    assert acme.get(f"/v1/event-types/{contract['type']}")["source"] == "contract"
    acme.delete(f"/v1/event-types/{contract['type']}", status=404)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"schema": {"type": "strange"}}, "schema.type"),
        ({"schema": {"$ref": "https://example.com/schema"}}, "schema"),
        ({"schema": {"$ref": "file:///etc/passwd"}}, "schema"),
        ({"schema": {"properties": {"a": {"pattern": "^(a+)+$"}}}}, "schema.properties.a"),
        ({"schema": {"properties": {"a": {"pattern": "("}}}}, "schema.properties.a"),
        ({"schema": {"properties": {"next": {"$ref": "#"}}}}, "schema"),
        ({"schema": {"unevaluatedProperties": False}}, "schema"),
        ({"schema": {"enum": ["x" * 17_000]}}, "schema"),
        ({"schema": SCHEMA, "example": BAD}, "example.order"),
        ({"example": {"x": "x" * 17_000}}, "example"),
        ({"check": "refuse"}, "check"),
        ({"deprecated": "yes"}, "deprecated"),
        ({"name": "x"}, "name"),
    ],
)
def test_a_declaration_that_could_not_be_kept_is_refused(acme: Door, body: dict[str, Any], field: str) -> None:
    refused = acme.put("/v1/event-types/order.paid", body, status=422)
    assert refused["errors"][0]["field"] == field
    acme.get("/v1/event-types/order.paid", status=404)


def test_a_workspace_has_so_many_types_and_no_more(acme: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_types, "MOST_TYPES", 2)
    for name, status in (("a", 201), ("b", 201), ("c", 429), ("b", 200)):
        acme.put(f"/v1/event-types/{name}", {}, status=status)
    for reserved in ("error", "endpoint.disabled"):
        acme.put(f"/v1/event-types/{reserved}", {}, status=422)


def test_a_test_of_a_type_sends_its_example(acme: Door) -> None:
    endpoint = acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/", "event_types": ["nothing"]})["id"]
    acme.put("/v1/event-types/order.paid", {"schema": SCHEMA, "check": "reject", "example": GOOD})
    acme.put("/v1/event-types/order.bare", {"schema": SCHEMA})
    sent = acme.post(f"/v1/endpoints/{endpoint}/test", {"type": "order.paid"}, status=202)
    event = acme.get(f"/v1/events/{sent['id']}")
    assert (event["type"], event["data"]) == ("order.paid", GOOD)
    (delivery,) = acme.get(f"/v1/deliveries?event_id={sent['id']}")["data"]
    assert delivery["endpoint_id"] == endpoint
    for type in ("order.bare", "order.unknown"):
        refused = acme.post(f"/v1/endpoints/{endpoint}/test", {"type": type}, status=422)
        assert refused["code"] == "unknown_type"
