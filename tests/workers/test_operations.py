"""What becomes of endpoints is told as events: once, not to and fro, and never about the events that tell it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Connection

from app.core.event.own_streams import OPERATIONS
from app.delivery import notices
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.delivery.world import World
from tests.statements import statements
from workers.operations import Operations

NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
GONE = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
MINUTE, DAY = timedelta(seconds=61), timedelta(days=1)


@pytest.fixture
def operations(world: World) -> Iterator[Operations]:
    made = Operations(world.settings)
    yield made
    made.stop()


def told(world: World) -> list[tuple[str, dict[str, Any]]]:
    """The events of `operations`, in order."""
    rows = world.sql(
        "SELECT v.type, v.body FROM events v JOIN streams s ON s.id = v.stream_id"
        " WHERE s.kind = '_workspace' AND s.external_id = %(name)s ORDER BY v.seq",
        name=OPERATIONS,
    )
    return [(row.type, json.loads(bytes(row.body))["data"]) for row in rows]


def pass_minute(world: World) -> None:
    world.let_pass(MINUTE)
    world.sql("UPDATE endpoint_notices SET told_at = told_at - interval '61 s',"
              " exhausted_told_at = exhausted_told_at - interval '61 s'")  # fmt: skip


def test_an_endpoint_that_fails_and_recovers_is_told_of_once_each(world: World, operations: Operations) -> None:
    with ScriptedServer(answering(NO, NO, OK)) as receiver:
        endpoint = world.endpoint(f"{receiver.url}?key=geheim", event_types=["call.*"])
        world.publish()
        world.drain().run()
        assert operations.look() == 0  # it may have been restarted
        pass_minute(world)
        assert [operations.look() for _ in range(3)] == [1, 0, 0]
        world.make_due()
        world.drain().run()
        assert operations.look() == 0
        pass_minute(world)
        world.make_due()
        world.drain().run()
        assert [operations.look() for _ in range(2)] == [1, 0]
    (first, failing), (second, recovered) = told(world)
    assert (first, second) == ("endpoint.failing", "endpoint.recovered")
    assert failing["endpoint"] == {"id": endpoint, "url": receiver.url, "description": ""}
    assert (failing["consecutive_failures"], failing["last_outcome"]) == (1, "http_error")
    assert recovered["endpoint"]["id"] == endpoint


def test_an_endpoint_that_is_disabled_is_told_of_with_its_reason_and_the_event_is_delivered(
    world: World, operations: Operations
) -> None:
    with ScriptedServer(answering(GONE)) as receiver, ScriptedServer(answering(OK)) as other:
        endpoint = world.endpoint(receiver.url, event_types=["call.*"])
        world.endpoint(other.url, event_types=["endpoint.*"], stream_kinds=["_workspace"])
        world.publish()
        world.drain().run()
        assert [operations.look() for _ in range(2)] == [1, 0]
        world.drain().run()
        (seen,) = other.seen
    ((type, data),) = told(world)
    assert (type, data["reason"]) == ("endpoint.disabled", "endpoint_gone: the endpoint answered 410 Gone")
    assert json.loads(seen.body)["data"] == data
    world.change(endpoint, status="enabled")
    pass_minute(world)
    assert operations.look() == 0
    world.change(endpoint, status="disabled")
    pass_minute(world)
    assert operations.look() == 1


def test_owners_are_told_although_lanes_cannot_be_looked_at(world: World, operations: Operations) -> None:
    endpoint = world.endpoint("http://127.0.0.1:1/", event_types=["other.*"])
    world.endpoint("http://127.0.0.1:1/", event_types=["call.*"], order="stream")
    world.publish()
    operations.look()
    world.sql("ALTER FUNCTION open_lane RENAME TO out_of_reach")
    world.sql("ALTER TABLE due RENAME COLUMN waited_seconds TO out_of_reach")
    world.sql("ALTER TABLE due RENAME COLUMN stream_id TO nowhere")
    world.change(endpoint, status="disabled")
    assert operations.look() == 1
    assert [type for type, _ in told(world)] == ["endpoint.disabled"]


def test_a_look_that_finds_nothing_asks_three_questions(world: World, operations: Operations) -> None:
    operations.look()
    with statements() as asked:
        assert operations.look() == 0
    assert len(asked) == 3, asked
    world.endpoint("http://127.0.0.1:1/", order="stream")
    world.publish()
    with statements() as asked:
        operations.look()
    assert any("open_lane" in text for text in asked), "lanes are looked at where there are any"


def test_deliveries_that_were_given_up_are_told_of_together(world: World, operations: Operations) -> None:
    with ScriptedServer(answering(NO)) as receiver:
        endpoint = world.endpoint(receiver.url, event_types=["call.*"])
        world.publish(25)
        world.let_pass(DAY)
        world.drain().run()
        assert world.statuses() == {"failed": 25}
        found = operations.look()
        assert [operations.look() for _ in range(2)] == [0, 0]
    exhausted = [data for type, data in told(world) if type == "delivery.exhausted"]
    assert found == len(told(world))
    assert [(data["count"], len(data["delivery_ids"])) for data in exhausted] == [(25, notices.MOST_IDS)]
    assert exhausted[0]["endpoint"]["id"] == endpoint
    assert set(exhausted[0]["delivery_ids"]) <= {row.id for row in world.deliveries()}


def test_an_operations_event_that_is_not_delivered_makes_no_other(world: World, operations: Operations) -> None:
    with ScriptedServer(answering(NO)) as receiver, ScriptedServer(answering(GONE)) as gone:
        listener = world.endpoint(receiver.url, event_types=["endpoint.*", "delivery.*"])
        world.endpoint(gone.url, event_types=["call.*"])
        world.publish()
        world.drain().run()
        assert operations.look() == 1
        world.drain().run()
        for span in (MINUTE, DAY):
            world.let_pass(span)
            world.drain().run()
            pass_minute(world)
            assert operations.look() == 0
    assert world.statuses(listener) == {"failed": 1}
    assert [type for type, _ in told(world)] == ["endpoint.disabled"]


def test_a_storm_of_failing_endpoints_is_told_of_little_by_little(
    world: World, operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(7):
        world.change(world.endpoint("http://127.0.0.1:9/"), status="disabled")
    world.sql("INSERT INTO endpoint_notices (endpoint_id, told) VALUES ('ep_deleted', 'failing')")
    monkeypatch.setattr(notices, "MOST_NOTICES", 3)
    assert [operations.look() for _ in range(4)] == [3, 3, 1, 0]
    assert world.one("SELECT count(*) FROM endpoint_notices WHERE endpoint_id = 'ep_deleted'") == 0


def test_what_was_published_and_not_noted_is_not_published_again(
    world: World, operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.change(world.endpoint("http://127.0.0.1:9/"), status="disabled")
    with monkeypatch.context() as context:
        context.setattr(notices, "told", lambda connection, notice: None)
        operations.look()
    operations.look()
    assert len(told(world)) == 1


def test_what_is_given_up_after_a_publication_that_was_not_noted_is_told_of(
    world: World, operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(answering(NO)) as receiver:
        world.endpoint(receiver.url, event_types=["call.*"])
        for count in (2, 1):
            world.publish(count)
            world.let_pass(DAY)
            world.drain().run()
            with monkeypatch.context() as context:
                if count == 2:
                    context.setattr(notices, "told", lambda connection, notice: None)
                operations.look()
    counts = [data["count"] for type, data in told(world) if type == "delivery.exhausted"]
    assert counts == [2, 3]
    assert world.one("SELECT exhausted FROM endpoint_notices") == 0


def test_an_endpoint_that_fails_to_take_operations_events_only_comes_behind_the_others(
    world: World, operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(answering(NO)) as receiver, ScriptedServer(answering(GONE)) as gone:
        world.endpoint(receiver.url, event_types=["endpoint.*"])
        world.endpoint(gone.url, event_types=["call.*"])
        other = world.endpoint(receiver.url, event_types=["bot.*"])
        world.publish()
        world.drain().run()
        assert operations.look() == 1
        world.publish(type="bot.joined")
        world.drain().run()
    pass_minute(world)
    monkeypatch.setattr(notices, "MOST_NOTICES", 1)
    assert [operations.look() for _ in range(3)] == [0, 1, 0]
    type, data = told(world)[-1]
    assert (type, data["endpoint"]["id"]) == ("endpoint.failing", other)


def test_a_notice_that_is_refused_comes_behind_the_others_and_is_told_later(
    world: World, operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.change(world.endpoint("http://127.0.0.1:9/"), status="disabled")
    assert operations.look() == 1
    world.sql("UPDATE streams SET ended_at = now()")  # takes nothing more
    made = [world.endpoint("http://127.0.0.1:9/") for _ in range(2)]
    for endpoint in made:
        world.change(endpoint, status="disabled")
    monkeypatch.setattr(notices, "MOST_NOTICES", 1)
    assert [operations.look() for _ in range(3)] == [0, 0, 0]
    rows = world.sql("SELECT endpoint_id FROM endpoint_notices WHERE told = 'ok' AND told_at IS NOT NULL")
    assert {row.endpoint_id for row in rows} == set(made)
    world.sql("UPDATE streams SET ended_at = NULL")
    assert operations.look() == 0
    pass_minute(world)
    assert [operations.look() for _ in range(3)] == [1, 1, 0]


def test_a_look_locks_rows_in_the_order_in_which_drains_do_and_none_while_it_publishes(
    world: World, operations: Operations, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sorted(world.endpoint("http://127.0.0.1:9/") for _ in range(3))
    for endpoint in made:
        world.change(endpoint, status="disabled")
    world.sql("INSERT INTO endpoint_notices (endpoint_id, told_at) VALUES (%(id)s, now() - interval '1 h')", id=made[0])
    world.sql("INSERT INTO endpoint_notices (endpoint_id) VALUES ('ep_deleted')")
    look, told_of = notices.look, notices.told
    left: list[int] = []
    order: list[str] = []

    def looked(connection: Connection) -> list[notices.Notice]:
        left.append(world.one("SELECT count(*) FROM endpoint_notices WHERE endpoint_id = 'ep_deleted'"))
        return look(connection)

    def noted(connection: Connection, notice: notices.Notice) -> None:
        order.append(notice.endpoint_id)
        told_of(connection, notice)

    monkeypatch.setattr(notices, "look", looked)
    monkeypatch.setattr(notices, "told", noted)
    assert operations.look() == 3
    assert (left, order) == ([0], made)


def test_a_note_that_somebody_has_locked_is_not_waited_for_to_be_forgotten(
    world: World, operations: Operations
) -> None:
    world.sql("INSERT INTO endpoint_notices (endpoint_id) VALUES ('ep_deleted')")
    with world.database.begin() as connection:
        connection.exec_driver_sql("SELECT FROM endpoint_notices FOR UPDATE")
        assert operations.look() == 0
