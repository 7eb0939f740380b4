"""An attempt shows its request: as it arrived at the receiver, but for what its owner has given as headers."""

from __future__ import annotations

from typing import Any

from flask import Flask

from app.accounts.keys import SCOPES, create_key
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen, answering
from tests.delivery.world import World
from tests.web.doors import Door

NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"


def door_of(app: Flask, world: World) -> Door:
    with world.database.session() as session:
        key = create_key(session, name="all", scopes=SCOPES, workspace_id=world.workspace_id).key
    return Door(app, key, world.workspace_id)


def sent(seen: Seen) -> dict[str, str]:
    pairs = (line.partition(": ") for line in seen.head[1:])
    return {name.lower(): value for name, _, value in pairs}


def requests(door: Door, world: World) -> list[dict[str, Any]]:
    return [attempt["request"] for attempt in door.get(f"/v1/deliveries/{world.delivery().id}")["attempts"]]


def test_each_attempt_shows_what_the_receiver_has_seen(app: Flask, world: World) -> None:
    door = door_of(app, world)
    with ScriptedServer(answering(NO, OK)) as receiver:
        wanted = {"url": receiver.url, "headers": {"Authorization": "Bearer geheim", "User-Agent": "Mine"}}
        door.post("/v1/endpoints", wanted)
        event = door.publish("call", "c1", "call.started")
        world.drain().run()
        world.make_due()
        world.drain().run()
    told = requests(door, world)
    assert len(told) == len(receiver.seen) == 2
    for request, seen in zip(told, receiver.seen, strict=True):
        arrived = sent(seen)
        assert (request["method"], request["url"], request["exact"]) == ("POST", receiver.url, True)
        assert request["body"] == {"event_id": event, "bytes": len(seen.body)}
        shown = {name.lower(): value for name, value in request["headers"].items()}
        assert shown["authorization"] == shown["user-agent"] == "[masked]"
        assert set(arrived) - set(shown) == {"host", "content-length"}
        for name in ("webhook-id", "webhook-timestamp", "webhook-signature", "content-type", "accept"):
            assert shown[name] == arrived[name], name


def test_an_endpoint_that_was_changed_since_is_said_to_be(app: Flask, world: World) -> None:
    door = door_of(app, world)
    with ScriptedServer(answering(OK)) as receiver:
        endpoint = door.post("/v1/endpoints", {"url": receiver.url})["id"]
        door.publish("call", "c1", "call.started")
        world.drain().run()
    (before,) = requests(door, world)
    world.divide()
    door.post(f"/v1/endpoints/{endpoint}/secret/rotate", status=200)
    (after,) = requests(door, world)
    assert (before["exact"], after["exact"]) == (True, False)
    assert after["headers"]["webhook-signature"] == before["headers"]["webhook-signature"]
    door.delete(f"/v1/endpoints/{endpoint}")
    assert requests(door, world) == [None]


def test_a_trace_goes_on_with_a_child_for_each_attempt(app: Flask, world: World) -> None:
    door = door_of(app, world)
    of_request, of_event = f"00-{'a' * 32}-{'b' * 16}-01", f"00-{'c' * 32}-{'d' * 16}-00"
    event = {"stream": {"kind": "call", "id": "c1"}, "type": "call.started", "data": {"seq": 1, "traceparent": "x"}}
    with ScriptedServer(answering(NO, OK)) as receiver:
        door.post("/v1/endpoints", {"url": receiver.url, "headers": {"Traceparent": "mine"}})
        made = door.post("/v1/events", event, status=202, headers={"traceparent": of_request})
        world.drain().run()
        world.make_due()
        world.drain().run()
        told = requests(door, world)
        batch = [event | {"traceparent": of_event}, event, event | {"traceparent": "nonsense"}]
        door.post("/v1/events", batch, status=202, headers={"traceparent": of_request})
        door.post("/v1/events", event, status=202, headers={"traceparent": "nonsense"})
    assert door.get(f"/v1/events/{made['id']}")["traceparent"] == of_request
    children = [seen.header("traceparent") for seen in receiver.seen]
    assert [one[:36] + one[-3:] for one in children if one] == [f"00-{'a' * 32}--01"] * 2
    assert len({*children, of_request}) == 3
    assert [request["headers"]["traceparent"] for request in told] == children
    kept = [one.get("traceparent") for one in door.get("/v1/events?stream_kind=call&stream_id=c1")["data"]]
    assert kept == [of_request, of_event, of_request, of_request, None]


def test_what_was_never_sent_shows_no_request(app: Flask, world: World) -> None:
    door = door_of(app, world)
    world.endpoint("http://127.0.0.1:9/")
    world.sql("UPDATE endpoint_secrets SET sealed = '\\x00'")
    door.publish("call", "c1", "call.started")
    world.drain().run()
    assert requests(door, world) == [None]


def test_of_a_batch_the_id_is_told_and_of_one_event_the_signature(app: Flask, world: World) -> None:
    door = door_of(app, world)
    with ScriptedServer(answering(OK)) as receiver:
        door.post("/v1/endpoints", {"url": receiver.url, "batch": {"max_wait_ms": 0}})
        alone = world.publish(1)
        world.drain().run()
        together = world.publish(2)
        world.drain().run()
    one, two = receiver.seen
    for event, seen, size in ((alone[0], one, 1), (together[1], two, 2)):
        (row,) = (row for row in world.deliveries() if row.event_id == event.id)
        (attempt,) = door.get(f"/v1/deliveries/{row.id}")["attempts"]
        assert (attempt["batch_id"], attempt["batch_size"], attempt["batch_position"]) == (
            sent(seen)["webhook-id"],
            size,
            size,
        )
        headers = attempt["request"]["headers"]
        assert headers["webhook-id"] == attempt["batch_id"]
        assert headers.get("webhook-signature") == (sent(seen)["webhook-signature"] if size == 1 else None)
        assert attempt["request"]["exact"] == (size == 1)
