"""How often PostgreSQL is asked for what producers and readers do all the time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from app import create_app
from app.settings import Settings
from app.web.engine import engine_of
from tests.database.turns import Turns
from tests.web.doors import Door

ATTEMPT = """
INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
  trigger)
SELECT 'att_' || substr(id, 5), created_at, workspace_id, endpoint_id, id, 1, created_at, 1, 'success', 'schedule'
FROM deliveries WHERE id = %(delivery)s
"""


@pytest.fixture
def counted(acme: Door, settings: Settings, turns: Turns) -> Iterator[Door]:
    """The same key's way in through another process, whose round trips are counted."""
    app = create_app(replace(settings, database_url=turns.url))
    yield Door(app, acme.key, acme.workspace_id)
    engine_of(app).close()


def event(stream_id: str = "c1", **more: object) -> dict[str, object]:
    return {"stream": {"kind": "call", "id": stream_id}, "type": "call.started", "data": {}, **more}


def trips(turns: Turns, act: Callable[[], object]) -> int:
    before = turns.count
    act()
    return turns.count - before


def test_an_event_is_accepted_in_one_round_trip(counted: Door, acme: Door, turns: Turns) -> None:
    acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/"})
    counted.post("/v1/events", event(), 202)  # looks the key up, connects, prepares, learns the endpoints
    assert trips(turns, lambda: counted.post("/v1/events", event(), 202)) == 1
    assert trips(turns, lambda: counted.post("/v1/events", event("new", idempotency_key="k"), 202)) == 1
    assert trips(turns, lambda: counted.post("/v1/events", event("new", idempotency_key="k"), 200)) == 1
    own = {"type": "user.created", "data": {}, "metadata": {"a": 1}, "channels": ["a"]}
    counted.post("/v1/events", own, 202)
    assert trips(turns, lambda: counted.post("/v1/events", {**own, "idempotency_key": "k"}, 202)) == 1
    other = {**own, "idempotency_key": "k", "data": {"n": 1}}
    assert trips(turns, lambda: counted.post("/v1/events", [other], 202)) == 1  # its key has another payload
    bot = {"stream": {"kind": "bot", "id": "b1"}, "data": {"status": "failed", "timestamp": 1, "recording_url": "r"}}
    counted.post("/v1/events", {**bot, "type": "bot_status"}, 202)
    assert trips(turns, lambda: counted.post("/v1/events", {**bot, "type": "recording_ready"}, 202)) == 1
    many = [event(f"s{number}") for number in range(100)]
    assert trips(turns, lambda: counted.post("/v1/events", many, 202)) == 1
    assert len(acme.pages("/v1/deliveries?limit=250")) == 107


def test_a_workspaces_own_schema_costs_no_round_trip_but_once(counted: Door, acme: Door, turns: Turns) -> None:
    counted.post("/v1/events", event(), 202)
    schema = {"required": ["order"], "properties": {"order": {"type": "string"}}}
    acme.put("/v1/event-types/call.started", {"schema": schema, "check": "reject"})
    assert trips(turns, lambda: counted.post("/v1/events", event(data={"order": "o_1"}), 202)) == 2
    assert trips(turns, lambda: counted.post("/v1/events", event(data={"order": "o_2"}), 202)) == 1


def test_a_new_endpoint_costs_one_round_trip_more_once(counted: Door, acme: Door, turns: Turns) -> None:
    counted.post("/v1/events", event(), 202)
    acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/"})
    assert trips(turns, lambda: counted.post("/v1/events", event(), 202)) == 2
    assert trips(turns, lambda: counted.post("/v1/events", event(), 202)) == 1


def test_a_platform_key_that_names_its_workspace_costs_no_more(counted: Door, platform: Door, turns: Turns) -> None:
    door = Door(counted.app, platform.key, counted.workspace_id, {"X-Workspace": "acme"})
    door.post("/v1/events", event(), 202)
    assert trips(turns, lambda: door.post("/v1/events", event(), 202)) == 1


def test_a_stream_and_a_delivery_are_read_in_one_round_trip(counted: Door, acme: Door, turns: Turns) -> None:
    acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/"})
    acme.post("/v1/events", event(), 202)
    (delivery,) = acme.get("/v1/deliveries")["data"]
    for path in ("/v1/streams/call/c1", f"/v1/deliveries/{delivery['id']}"):
        counted.get(path)
        assert trips(turns, lambda path=path: counted.get(path)) == 1, path  # type: ignore[misc]
    with engine_of(acme.app).database.begin() as connection:
        connection.exec_driver_sql(ATTEMPT, {"delivery": delivery["id"]})
    seen: list[Any] = []
    assert trips(turns, lambda: seen.append(counted.get(f"/v1/deliveries/{delivery['id']}"))) == 1
    assert [attempt["request"]["url"] for attempt in seen[0]["attempts"]] == ["http://127.0.0.1:9/"]
