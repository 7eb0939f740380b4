"""What an event may say beside its data, where it goes when it names no stream, and what its key stands for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app import create_app
from app.core.event.own_streams import operational
from app.ledger.ledger import Submission
from app.settings import Settings
from app.web.engine import engine_of
from tests.web.conftest import open_workspace
from tests.web.doors import Door

CALL = {"stream": {"kind": "call", "id": "c1"}, "type": "call.noted", "data": {"a": 1}}
OWN = {"type": "user.created", "data": {"id": "u_1"}}


def ndjson(acme: Door, *events: object) -> list[Any]:
    """The answers to NDJSON."""
    body = "\n".join(json.dumps(one) for one in events).encode()
    headers = {"Authorization": f"Bearer {acme.key}"}
    answer = acme.client.post("/v1/events", data=body, headers=headers, content_type="application/x-ndjson")
    return [json.loads(line) for line in answer.data.splitlines()]


def test_metadata_travels_in_the_envelope_and_channels_do_not(acme: Door) -> None:
    made = acme.post("/v1/events", CALL | {"metadata": {"b": 1.5, "a": "x"}, "channels": ["team:a", "b"]}, 202)
    shown = acme.get(f"/v1/events/{made['id']}")
    assert list(shown) == ["id", "type", "timestamp", "workspace_id", "stream", "seq", "metadata", "data"]
    assert (shown["metadata"], shown["data"]) == ({"b": 1.5, "a": "x"}, {"a": 1})
    assert acme.get("/v1/events")["data"] == [shown]
    with engine_of(acme.app).database.begin() as connection:
        rows = connection.exec_driver_sql("SELECT channels FROM events").all()
    assert [row.channels for row in rows] == [["team:a", "b"]]


def test_an_envelope_without_metadata_is_what_it_always_was(acme: Door) -> None:
    for more in ({}, {"metadata": {}}, {"metadata": None, "channels": None}, {"channels": ["a"]}):
        made = acme.post("/v1/events", CALL | more, 202)
        shown = acme.get(f"/v1/events/{made['id']}")
        assert list(shown) == ["id", "type", "timestamp", "workspace_id", "stream", "seq", "data"]


def test_events_without_a_stream_belong_to_the_workspaces_own(acme: Door) -> None:
    many = [OWN | {"idempotency_key": f"k{number}"} for number in range(64)]
    answers = [acme.post("/v1/events", OWN, 202), *acme.post("/v1/events", many[:32], 202)["data"]]
    answers += ndjson(acme, *many[32:])
    assert {one["stream"]["kind"] for one in answers} == {"_workspace"}
    names = {f"events-{number}" for number in range(1, 9)}
    assert {one["stream"]["id"] for one in answers} == names
    listed = acme.get("/v1/streams?kind=_workspace")["data"]
    assert {(one["id"], one["status"]) for one in listed} == {(name, "open") for name in names}
    assert sum(one["last_seq"] for one in listed) == len(answers)
    one = answers[-1]
    path = f"/v1/streams/_workspace/{one['stream']['id']}"
    assert acme.get(path)["last_seq"] == one["seq"]
    read_back = acme.get(
        f"/v1/events?stream_kind=_workspace&stream_id={one['stream']['id']}&after_seq={one['seq'] - 1}"
    )
    assert [event["id"] for event in read_back["data"]] == [one["id"]]
    assert len(acme.pages("/v1/events?stream_kind=_workspace&limit=250")) == len(answers)
    acme.post(f"{path}/tokens", status=201)


def test_nobody_opens_names_or_ends_a_workspaces_own_stream(acme: Door) -> None:
    acme.post("/v1/events", OWN | {"idempotency_key": "k"}, 202)
    (own,) = acme.get("/v1/streams")["data"]
    for kind, id in (("_workspace", own["id"]), ("_workspace", "operations"), ("_workspace", "mine")):
        refused = [
            acme.post("/v1/events", CALL | {"stream": {"kind": kind, "id": id}}, 422),
            acme.put(f"/v1/streams/{kind}/{id}", {"attributes": {"a": 1}}, 422),
            acme.post(f"/v1/streams/{kind}/{id}/end", status=422),
        ]
        assert {problem["code"] for problem in refused} == {"invalid"}
        assert all("leave stream out" in problem["detail"] for problem in refused)
    assert acme.get("/v1/streams")["data"] == [own]


def test_a_workspaces_own_streams_are_not_counted_among_the_open_ones(environ: dict[str, str], platform: Door) -> None:
    app = create_app(Settings.from_env({**environ, "MAX_OPEN_STREAMS": "1"}))
    acme = open_workspace(Door(app, platform.key), "acme")
    acme.post("/v1/events", CALL, 202)
    many = [OWN | {"idempotency_key": f"k{number}"} for number in range(20)]
    assert all("seq" in one for one in acme.post("/v1/events", [*many, CALL], 202)["data"])
    assert acme.post("/v1/events", CALL | {"stream": {"kind": "call", "id": "c2"}}, 429)["code"] == "too_many"
    acme.put("/v1/streams/call/c2", status=429)
    acme.post("/v1/streams/call/c1/end", status=200)
    acme.put("/v1/streams/call/c2")
    engine_of(app).close()


def test_without_a_stream_a_key_is_unique_in_the_workspace(acme: Door, globex: Door) -> None:
    keyed = OWN | {"idempotency_key": "k"}
    first = acme.post("/v1/events", keyed, 202)
    assert acme.post("/v1/events", keyed, 200) == first | {"duplicate": True}
    assert acme.post("/v1/events", OWN, 200, headers={"Idempotency-Key": "k"}) == first | {"duplicate": True}
    for other in (OWN | {"type": "user.deleted"}, OWN | {"data": {"id": "u_2"}}, OWN | {"metadata": {"a": 1}}):
        problem = acme.post("/v1/events", other | {"idempotency_key": "k"}, 409)
        assert (problem["code"], problem["event_id"]) == ("idempotency_conflict", first["id"])
    assert globex.post("/v1/events", keyed, 202)["id"] != first["id"]
    assert acme.post("/v1/events", CALL | {"idempotency_key": "k"}, 202)["seq"] == 1  # a stream has keys of its own


@pytest.mark.parametrize("send", ["array", "ndjson"])
def test_in_a_batch_only_the_event_with_a_taken_key_fails(acme: Door, send: str) -> None:
    first = acme.post("/v1/events", CALL | {"idempotency_key": "old"}, 202)
    events = [
        CALL | {"idempotency_key": "old"},
        CALL | {"idempotency_key": "old", "data": {"a": 2}},
        CALL | {"idempotency_key": "new"},
        CALL | {"idempotency_key": "new", "occurred_at": "2026-01-01T00:00:00Z"},
        CALL | {"idempotency_key": "new"},
        CALL,
    ]
    answers = ndjson(acme, *events) if send == "ndjson" else acme.post("/v1/events", events, 202)["data"]
    new = answers[2]
    assert [one.get("seq", one.get("code")) for one in answers] == [
        1, "idempotency_conflict", 2, "idempotency_conflict", 2, 3,
    ]  # fmt: skip
    assert [one["duplicate"] for one in (answers[0], new, answers[4])] == [True, False, True]
    assert (answers[1]["event_id"], answers[3]["event_id"]) == (first["id"], new["id"])
    assert (answers[1]["status"], answers[3]["status"]) == (409, 409)


def test_what_twofold_tells_is_an_event_of_the_stream_operations(acme: Door) -> None:
    endpoint = acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/", "stream_kinds": ["_workspace"]})
    ledger = engine_of(acme.app).ledger
    for _ in range(2):
        told = operational("endpoint.disabled", {"endpoint_id": "ep_1", "why": "é"}, "ep_1:3")
        ledger.accept(Submission(acme.workspace_id, [told]))
    (event,) = acme.get("/v1/events?stream_kind=_workspace&stream_id=operations")["data"]
    assert (event["type"], event["seq"], event["data"]) == ("endpoint.disabled", 1, {"endpoint_id": "ep_1", "why": "é"})
    (delivery,) = acme.get("/v1/deliveries")["data"]
    assert (delivery["event_id"], delivery["endpoint_id"]) == (event["id"], endpoint["id"])
