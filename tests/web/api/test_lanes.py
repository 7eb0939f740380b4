"""Order over the API: the fields, what waits for what, and going on without what stands in the way."""

from __future__ import annotations

from flask import Flask

from app.accounts.keys import SCOPES, create_key
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen, answering
from tests.delivery.world import World
from tests.web.doors import Door

NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"


def first_fails(server: ScriptedServer, connection: object, seen: Seen) -> bytes:
    return NO if b'"seq":1,' in seen.body else OK


def test_what_waits_for_what_and_a_person_who_has_it_go_on(app: Flask, world: World) -> None:
    with world.database.session() as session:
        key = create_key(session, name="all", scopes=SCOPES, workspace_id=world.workspace_id).key
    door = Door(app, key, world.workspace_id)
    with ScriptedServer(first_fails) as receiver:
        body = {"url": receiver.url, "order": "stream", "order_patience_seconds": 600}
        endpoint = door.post("/v1/endpoints", body)
        assert (endpoint["order"], endpoint["order_patience_seconds"]) == ("stream", 600)
        for _ in range(3):
            door.publish("call", "one", "call.started")
        world.drain().run()
        (lane,) = door.get(f"/v1/endpoints/{endpoint['id']}/lanes")["data"]
        assert (lane["stream"], lane["behind"]) == ({"kind": "call", "id": "one"}, 2)
        of_stream = f"/v1/endpoints/{endpoint['id']}/lanes?stream_kind=call&stream_id="
        assert [door.get(f"{of_stream}{id}")["data"] for id in ("one", "other")] == [[lane], []]
        head = lane["head"]
        assert (head["seq"], head["attempt_count"], head["reason"]) == (1, 1, "http_error 500")
        assert head["next_attempt_at"] is not None
        behind = next(row.id for row in world.deliveries() if row.id != head["delivery_id"])
        shown = door.get(f"/v1/deliveries/{behind}")
        assert (shown["status"], shown["next_attempt_at"]) == ("pending", None)
        explained = door.get(f"/v1/events/{shown['event_id']}/explain?endpoint_id={endpoint['id']}")
        assert explained["data"][0]["code"] == "in_order"
        door.post(f"/v1/deliveries/{head['delivery_id']}/skip", {}, 202)
        assert door.get(f"/v1/endpoints/{endpoint['id']}/lanes")["data"][0]["head"]["seq"] == 2
        world.drain().run()
        assert door.get(f"/v1/endpoints/{endpoint['id']}/lanes")["data"] == []
        door.post(f"/v1/deliveries/{head['delivery_id']}/retry", {}, 202)
        world.drain().run()
    told = [(seen.header("webhook-prev-seq"), seen.header("webhook-skipped-seq")) for seen in receiver.seen]
    assert told == [(None, None), ("1", "1"), ("2", None), (None, None)]
    assert [seen.header("webhook-late") for seen in receiver.seen] == [None, None, None, "1"]


def test_what_a_person_begins_anew_is_a_replay(app: Flask, world: World) -> None:
    with world.database.session() as session:
        key = create_key(session, name="all", scopes=SCOPES, workspace_id=world.workspace_id).key
    door = Door(app, key, world.workspace_id)
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url)
        door.publish("call", "one", "call.started")
        world.drain().run()
        id = world.delivery().id
        door.post(f"/v1/deliveries/{id}/retry", {}, 202)
        world.drain().run()
    assert [seen.header("webhook-replay") for seen in receiver.seen] == [None, "1"]
    first, second = door.get(f"/v1/deliveries/{id}")["attempts"]
    assert "webhook-replay" not in first["request"]["headers"]
    assert second["request"]["headers"]["webhook-replay"] == "1"
