"""Why an event has, or has not, reached an endpoint: each reason made as it comes about, and asked for over HTTP."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from app.accounts.keys import SCOPES, create_key
from app.delivery.claims import MOST_LOST_CLAIMS
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen
from tests.delivery.world import World
from tests.web.doors import Door

ANSWERS = {
    "/ok": OK,
    "/500": b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
    "/410": b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
    "/disable": b"HTTP/1.1 500 No\r\nWebhook-Delivery: disable\r\nContent-Length: 0\r\n\r\n",
    "/abort": b"HTTP/1.1 500 No\r\nWebhook-Delivery: abort-message\r\nContent-Length: 0\r\n\r\n",
}
DAY = timedelta(days=1)


def answer(server: ScriptedServer, _connection: socket.socket, seen: Seen) -> bytes | None:
    """By the path; /cut closes without an answer, /slow says nothing before the test ends."""
    path = seen.head[0].split()[1]
    if path == "/slow":
        server.over.wait(30)
    return ANSWERS.get(path)


@dataclass
class Customer:
    """A workspace over HTTP, its worker, and a receiver that answers as it is asked to."""

    door: Door
    world: World
    receiver: ScriptedServer

    def endpoint(self, path: str = "/ok", **more: Any) -> str:
        url = path if path.startswith("http") else f"http://127.0.0.1:{self.receiver.port}{path}"
        return str(self.door.post("/v1/endpoints", {"url": url, **more})["id"])

    def publish(self, kind: str = "call", type: str = "call.started") -> str:
        return str(self.door.publish(kind, "one", type))

    def change(self, endpoint: str, **body: Any) -> None:
        self.door.patch(f"/v1/endpoints/{endpoint}", body)

    def deliver(self, **changed: Any) -> None:
        self.world.drain(**changed).run()

    def explained(self, event: str, endpoint: str) -> dict[str, Any]:
        answer = self.door.get(f"/v1/events/{event}/explain?endpoint_id={endpoint}")
        (found,) = answer["data"]
        assert answer["next_cursor"] is None
        assert found["endpoint_id"] == endpoint
        return dict(found)


@pytest.fixture
def customer(app: Flask, world: World) -> Iterator[Customer]:
    with world.database.session() as session:
        key = create_key(session, name="all", scopes=SCOPES, workspace_id=world.workspace_id).key
    with ScriptedServer(answer) as receiver:
        yield Customer(Door(app, key, world.workspace_id), world, receiver)


Asked = tuple[str, str]  # an event and an endpoint


def delivered(c: Customer) -> Asked:
    endpoint, event = c.endpoint(), c.publish()
    c.deliver()
    return event, endpoint


def due(c: Customer) -> Asked:
    endpoint = c.endpoint()
    return c.publish(), endpoint


def retrying(c: Customer) -> Asked:
    endpoint, event = c.endpoint("/500"), c.publish()
    c.deliver()
    return event, endpoint


def due_again(c: Customer) -> Asked:
    asked = retrying(c)
    c.world.let_pass_until(c.world.delivery().due_at)
    return asked


def sending(c: Customer) -> Asked:
    endpoint, event = c.endpoint("/slow"), c.publish()
    c.world.drain(lease_seconds=3600).run_once()
    return event, endpoint


def rate_limited(c: Customer) -> Asked:
    endpoint = c.endpoint(rate_limit=1)
    c.publish()
    c.world.drain().run_once()
    c.world.sql("UPDATE endpoints SET rate_tat = rate_tat + 3600")  # as after an hour's worth of attempts
    return c.publish(), endpoint


def blocked(c: Customer) -> Asked:
    endpoint, event = c.endpoint(f"http://localhost:{c.receiver.port}/ok"), c.publish()
    c.deliver(allow_subnets=())
    return event, endpoint


def exhausted(c: Customer) -> Asked:
    asked = retrying(c)
    c.world.let_pass(DAY)
    c.deliver()
    return asked


def unknown_outcome(c: Customer) -> Asked:
    endpoint, event = c.endpoint("/cut"), c.publish()
    c.deliver()
    c.world.let_pass(DAY)
    c.deliver()
    return event, endpoint


def endpoint_gone(c: Customer) -> Asked:
    endpoint, event = c.endpoint("/410"), c.publish()
    c.deliver()
    return event, endpoint


def disabled_by_receiver(c: Customer) -> Asked:
    endpoint, event = c.endpoint("/disable"), c.publish()
    c.deliver()
    return event, endpoint


def aborted_by_receiver(c: Customer) -> Asked:
    endpoint, event = c.endpoint("/abort"), c.publish()
    c.deliver()
    return event, endpoint


def endpoint_disabled(c: Customer) -> Asked:
    event, endpoint = due(c)
    c.change(endpoint, status="disabled")
    return event, endpoint


def endpoint_deleted(c: Customer) -> Asked:
    event, endpoint = due(c)
    c.door.delete(f"/v1/endpoints/{endpoint}")
    return event, endpoint


def event_expired(c: Customer) -> Asked:
    """The event stays for the question, and is taken away for the worker alone."""
    event, endpoint = due(c)
    c.world.sql("CREATE TABLE kept AS SELECT * FROM events")
    c.world.sql("DELETE FROM events")
    c.deliver()
    c.world.sql("INSERT INTO events SELECT * FROM kept")
    return event, endpoint


def worker_crash(c: Customer) -> Asked:
    event, endpoint = due(c)
    c.world.sql("UPDATE due SET claims = %(n)s", n=MOST_LOST_CLAIMS)  # workers that ended before they recorded
    c.deliver()
    return event, endpoint


def test_failed(c: Customer) -> Asked:
    endpoint = c.endpoint("/500")
    event = c.door.post(f"/v1/endpoints/{endpoint}/test", status=202)["id"]
    c.deliver()
    return event, endpoint


test_failed.__test__ = False  # type: ignore[attr-defined]


def test_of_another(c: Customer) -> Asked:
    other = c.endpoint()
    event, _ = test_failed(c)
    return event, other


test_of_another.__test__ = False  # type: ignore[attr-defined]


def registered_later(c: Customer) -> Asked:
    event = c.publish()
    c.world.divide()
    return event, c.endpoint()


def filtered_kind(c: Customer) -> Asked:
    endpoint = c.endpoint(stream_kinds=["bot"])
    return c.publish(), endpoint


def filtered_type(c: Customer) -> Asked:
    endpoint = c.endpoint(event_types=["call.ended", "bot.*"])
    return c.publish(), endpoint


def disabled_then(c: Customer) -> Asked:
    endpoint = c.endpoint()
    c.change(endpoint, status="disabled")
    c.world.divide()
    return c.publish(), endpoint


def changed_since(c: Customer) -> Asked:
    event, endpoint = filtered_type(c)
    c.world.divide()
    c.change(endpoint, event_types=None)
    return event, endpoint


def disabled_since(c: Customer) -> Asked:
    event, endpoint = changed_since(c)
    c.change(endpoint, status="disabled")
    return event, endpoint


def missed(c: Customer) -> Asked:
    event, endpoint = due(c)
    for table in ("due", "deliveries"):
        c.world.sql(f"DELETE FROM {table}")  # as nothing in the product would
    return event, endpoint


MADE: list[tuple[Callable[[Customer], Asked], str, str | None]] = [
    (delivered, "at attempt 1.", "delivered"),
    (due, "for the first time", "pending"),
    (retrying, "ended as http error 500", "pending"),
    (due_again, "Due now for attempt 2", "pending"),
    (sending, "attempt 1 is under way", "pending"),
    (rate_limited, "rate limit until", "pending"),
    (blocked, "private or reserved network", "pending"),
    (exhausted, "after 2 attempts until the deadline", "failed"),
    (unknown_outcome, "The receiver may have it", "failed"),
    (endpoint_gone, "410 Gone", "failed"),
    (disabled_by_receiver, "webhook-delivery: disable", "failed"),
    (aborted_by_receiver, "webhook-delivery: abort-message", "failed"),
    (endpoint_disabled, "disabled while this delivery was waiting", "cancelled"),
    (endpoint_deleted, "deleted while this delivery was waiting", "cancelled"),
    (event_expired, "older than events are kept", "failed"),
    (worker_crash, "again and again", "failed"),
    (test_failed, "which has one attempt", "failed"),
    (test_of_another, "a test of another endpoint", None),
    (registered_later, "after the event came", None),
    (filtered_kind, "takes streams of the kinds bot; this one is call", None),
    (filtered_type, "takes call.ended, bot.*; this event is call.started", None),
    (disabled_then, "disabled when the event came", None),
    (disabled_since, "disabled after the event came", None),
    (changed_since, "after the event came: it was disabled then, or its filters were others", None),
    (missed, "should have a delivery", None),
]


@pytest.mark.parametrize(("make", "words", "status"), MADE, ids=[make.__name__ for make, *_ in MADE])
def test_each_reason_is_told_with_its_facts(
    customer: Customer, make: Callable[[Customer], Asked], words: str, status: str | None
) -> None:
    event, endpoint = make(customer)
    found = customer.explained(event, endpoint)
    assert found["code"] == make.__name__
    assert words in found["sentence"]
    assert (found["delivery"] or {}).get("status") == status
    assert (found["endpoint"] is None) == (make is endpoint_deleted)
    everything = customer.door.get(f"/v1/events/{event}/explain")["data"]
    assert found in everything


def test_all_endpoints_are_explained_newest_first_in_pages(customer: Customer) -> None:
    endpoints = [customer.endpoint(), customer.endpoint(event_types=["other"]), customer.endpoint()]
    event = customer.publish()
    customer.door.delete(f"/v1/endpoints/{endpoints[2]}")
    found = customer.door.pages(f"/v1/events/{event}/explain?limit=2")
    assert [one["endpoint_id"] for one in found] == sorted(endpoints, reverse=True)
    codes = {one["endpoint_id"]: one["code"] for one in found}
    assert [codes[id] for id in endpoints] == ["due", "filtered_type", "endpoint_deleted"]


def test_a_foreign_endpoint_and_a_foreign_event_are_answered_as_absent_ones(customer: Customer, acme: Door) -> None:
    event, endpoint = due(customer)
    foreign = acme.post("/v1/endpoints", {"url": "http://127.0.0.1:9/"})["id"]
    acme.get(f"/v1/events/{event}/explain", status=404)
    customer.door.get(f"/v1/events/{event}/explain?endpoint_id={foreign}", status=404)
    customer.door.get(f"/v1/events/{event}/explain?endpoint_id=ep_{'0' * 26}", status=404)
    assert customer.explained(event, endpoint)["code"] == "due"
