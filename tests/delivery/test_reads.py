"""The delivery log tells what happened to each delivery, and finds it by what a person knows of it."""

from __future__ import annotations

from typing import Any

import pytest

from app.core import ids
from app.core.problem import Problem
from app.core.wire.envelope import rfc3339
from app.delivery import reads
from app.delivery.search import Filters
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.delivery.world import World

NO = b"HTTP/1.1 500 No\r\nX-Why: because\r\nContent-Length: 5\r\n\r\nno\xff\x00!"
URL = "http://127.0.0.1:1/"


def listed(world: World, *, limit: int = 50, before: str | None = None, **wanted: Any) -> list[dict[str, Any]]:
    filters = Filters(**{"workspace": world.workspace_id, **wanted})
    with world.database.begin() as connection:
        return reads.list_deliveries(connection, filters, limit=limit, before=before).rows


def read(world: World, delivery_id: str) -> dict[str, Any]:
    with world.database.session() as session:
        return reads.get_delivery(session, world.workspace_id, delivery_id)


def test_a_delivery_has_the_fields_that_callers_rely_on(world: World) -> None:
    with ScriptedServer(answering(NO, OK)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        (event,) = world.publish()
        row = world.delivery()
        assert read(world, row.id) == {
            "id": row.id,
            "workspace_id": world.workspace_id,
            "event_id": event.id,
            "endpoint_id": endpoint_id,
            "event_type": "call.turn",
            "status": "pending",
            "reason": None,
            "attempt_count": 0,
            "created_at": rfc3339(row.created_at),
            "next_attempt_at": rfc3339(row.due_at),
            "deadline_at": rfc3339(row.deadline_at),
            "finished_at": None,
            "attempts": [],
        }
        world.drain().run()
        delivery = read(world, row.id)
        assert (delivery["status"], delivery["reason"]) == ("pending", "http_error 500")
        assert delivery["next_attempt_at"] == rfc3339(world.delivery().due_at)
        world.make_due()
        drain = world.drain()
        drain.run_once()
        assert read(world, row.id)["next_attempt_at"] is None  # being made now
        drain.run()
    delivery = read(world, row.id)
    assert (delivery["status"], delivery["reason"], delivery["next_attempt_at"]) == ("delivered", None, None)
    assert delivery["finished_at"] == rfc3339(world.delivery().finished_at)
    first, second = delivery["attempts"]
    assert (first["number"], second["number"]) == (1, 2)
    assert first == {
        "id": first["id"],
        "number": 1,
        "started_at": rfc3339(world.attempts()[0].started_at),
        "duration_ms": first["duration_ms"],
        "outcome": "http_error",
        "error": None,
        "status_code": 500,
        "remote_address": "127.0.0.1",
        "timing_ms": first["timing_ms"],
        "connection_reused": False,
        "batch_id": None,
        "batch_size": None,
        "batch_position": None,
        "response_headers": {"X-Why": "because", "Content-Length": "5"},
        "response_body": "no\ufffd\x00!",
        "response_body_truncated": False,
        "trigger": "schedule",
    }
    for attempt in (first, second):
        timing = attempt["timing_ms"]
        assert (timing["dns"], timing["tls"], timing["total"]) == (None, None, attempt["duration_ms"])
        assert timing["connect"] >= 0
        assert 0 <= timing["first_byte"] <= timing["total"] + 1


def test_the_list_is_newest_first_in_pages_and_by_every_filter(world: World) -> None:
    one = world.endpoint(URL, event_types=["call.*"])
    two = world.endpoint(URL)
    start = world.divide()
    events = world.publish(3)
    middle = world.divide()
    world.publish(2, type="other")
    for row in world.deliveries(two):
        if row.event_type == "other":
            world.end("failed", row.id)
    every = listed(world)
    assert [delivery["id"] for delivery in every] == sorted((delivery["id"] for delivery in every), reverse=True)
    assert len(every) == 8
    pages, before = [], None
    while page := listed(world, limit=3, before=before):
        pages += page
        before = page[-1]["id"]
    assert pages == every
    assert len(listed(world, endpoint=one)) == 3
    assert len(listed(world, status="failed")) == 2
    assert len(listed(world, status="pending", endpoint=two)) == 3
    assert len(listed(world, event_type="call.*")) == 6
    assert len(listed(world, event_type="other")) == 2
    assert len(listed(world, since=middle)) == 2
    assert len(listed(world, since=start, until=middle)) == 6
    assert {delivery["endpoint_id"] for delivery in listed(world, event=events[0].id)} == {one, two}
    assert listed(world, workspace="ws_other") == []


@pytest.mark.parametrize("wanted", [{"status": "lost"}, {"before": "x"}, {"event": "evt_"}])
def test_a_filter_that_makes_no_sense_is_refused(world: World, wanted: dict[str, Any]) -> None:
    with pytest.raises(Problem) as caught:
        listed(world, **wanted)
    assert caught.value.code == "invalid"


@pytest.mark.parametrize("id", ["dlv_" + "0" * ids.LENGTH, "dlv_7zzzzzzzzzzzzzzzzzzzzzzzzz", "nonsense"])
def test_an_absent_delivery_is_not_found(world: World, id: str) -> None:
    with pytest.raises(Problem) as caught:
        read(world, id)
    assert caught.value.code == "not_found"


def test_a_long_answer_is_marked_as_cut(world: World) -> None:
    body = b"x" * 20_000
    with ScriptedServer(answering(b"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n" + body)) as receiver:
        world.endpoint(receiver.url)
        world.publish()
        world.drain().run()
    (attempt,) = read(world, world.delivery().id)["attempts"]
    assert attempt["response_body"] == "x" * 16 * 1024
    assert attempt["response_body_truncated"] is True


def test_statistics_of_an_endpoint(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        world.publish(9)
        world.drain().run()
    world.end("failed", world.deliveries()[0].id)
    world.publish(2)
    oldest = min(row.created_at for row in world.deliveries() if row.status == "pending")
    with world.database.session() as session:
        stats = reads.endpoint_stats(session, world.workspace_id, endpoint_id)
        assert stats["deliveries"] == {"pending": 2, "delivered": 8, "failed": 1, "cancelled": 0}
        assert stats["success_rate"] == round(8 / 9, 4)
        assert (stats["attempts"], stats["pending"]) == (9, 2)
        assert stats["oldest_pending_at"] == rfc3339(oldest)
        assert 0 <= stats["duration_ms"]["p50"] <= stats["duration_ms"]["p95"]
        fresh = world.endpoint(URL)
        stats = reads.endpoint_stats(session, world.workspace_id, fresh)
        assert (stats["success_rate"], stats["duration_ms"]) == (None, {"p50": None, "p95": None})
        with pytest.raises(Problem):
            reads.endpoint_stats(session, "ws_other", endpoint_id)
