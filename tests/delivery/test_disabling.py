"""An endpoint that is gone, disabled or deleted gets nothing more, and each of its deliveries says why."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event, text

from app.core.problem import Problem
from app.delivery import cancelling, deliveries, endpoints
from app.delivery.cancelling import EndedEndpoints
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.delivery.world import World
from tests.processes import eventually

GONE = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"
NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"


def test_a_410_disables_the_endpoint_and_cancels_what_waits_saying_so(world: World) -> None:
    with ScriptedServer(answering(NO, GONE)) as receiver, ScriptedServer(answering(OK)) as other:
        endpoint_id = world.endpoint(receiver.url, rate_limit=1)  # one at a time
        healthy = world.endpoint(other.url)
        world.publish()
        world.drain().run()
        world.publish(5)
        world.drain().run()
    row = world.endpoint_row(endpoint_id)
    assert (row.status, row.disabled_reason) == ("disabled", "endpoint_gone: the endpoint answered 410 Gone")
    assert row.disabled_at is not None
    reasons = {row.reason for row in world.deliveries(endpoint_id) if row.status == "cancelled"}
    assert reasons == {deliveries.ENDPOINT_GONE}
    (gone,) = [row for row in world.deliveries(endpoint_id) if row.status == "failed"]
    assert gone.reason == "endpoint_gone"
    assert world.statuses(healthy) == {"delivered": 6}
    world.publish()
    assert len(world.deliveries(endpoint_id)) == 6


@pytest.mark.parametrize(
    ("code", "status", "reason"), [(500, "failed", "disabled_by_receiver"), (200, "delivered", None)]
)
def test_a_receiver_that_asks_for_it_is_disabled_and_what_waits_is_cancelled_saying_so(
    world: World, code: int, status: str, reason: str | None
) -> None:
    stop = b"HTTP/1.1 %d X\r\nWebhook-Delivery: Disable\r\nContent-Length: 0\r\n\r\n" % code
    with ScriptedServer(answering(stop)) as receiver:
        endpoint_id = world.endpoint(receiver.url, rate_limit=1)
        world.publish(3)
        world.drain().run()
    row = world.endpoint_row(endpoint_id)
    assert row.status == "disabled"
    assert row.disabled_reason == "disabled_by_receiver: the endpoint answered webhook-delivery: disable"
    found = [(row.status, row.reason) for row in world.deliveries()]
    cancelled = ("cancelled", deliveries.DISABLED_BY_RECEIVER)
    assert sorted(found, key=str) == sorted([(status, reason), cancelled, cancelled], key=str)


def test_a_receiver_that_aborts_one_delivery_gets_the_others(world: World) -> None:
    abort = b"HTTP/1.1 500 No\r\nwebhook-delivery: abort-message\r\nContent-Length: 0\r\n\r\n"
    with ScriptedServer(answering(abort, OK)) as receiver:
        endpoint_id = world.endpoint(receiver.url, rate_limit=1)
        world.publish()
        world.drain().run()
        world.let_pass(timedelta(seconds=1))
        world.publish()
        world.drain().run()
    assert [(row.status, row.reason) for row in world.deliveries()] == [
        ("failed", "aborted_by_receiver"),
        ("delivered", None),
    ]
    assert world.endpoint_row(endpoint_id).status == "enabled"


def test_a_disabled_endpoint_is_sent_nothing_and_a_recovery_brings_everything(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        endpoint_id = world.endpoint(receiver.url, event_types=["call.*"])
        since = world.divide()
        world.publish(3)
        world.change(endpoint_id, status="disabled")
        assert world.statuses() == {"cancelled": 3}
        world.publish(2)
        world.publish(2, type="other")
        world.drain().run()
        assert receiver.seen == []
        with pytest.raises(Problem, match="enable it first"), world.database.session() as session:
            deliveries.recover(session, world.workspace_id, endpoint_id, since=since, window_seconds=60)
        world.change(endpoint_id, status="enabled")
        with world.database.session() as session:
            recovered = deliveries.recover(session, world.workspace_id, endpoint_id, since=since, window_seconds=60)
        assert (recovered.retried, recovered.missed, recovered.complete) == (3, 2, True)
        world.drain().run()
    assert world.statuses() == {"delivered": 5}


def test_rows_that_slipped_in_are_cancelled_by_the_drain(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        disabled, deleted = world.endpoint(receiver.url), world.endpoint(receiver.url)
        world.publish(3)
        world.sql("UPDATE endpoints SET status = 'disabled' WHERE id = %(id)s", id=disabled)
        world.sql("DELETE FROM endpoints WHERE id = %(id)s", id=deleted)
        world.drain().run()
        assert receiver.seen == []
    assert {row.reason for row in world.deliveries(disabled)} == {"endpoint_disabled"}
    assert {row.reason for row in world.deliveries(deleted)} == {"endpoint_deleted"}
    assert world.statuses() == {"cancelled": 6}


@pytest.mark.parametrize(("answer", "status"), [(OK, "delivered"), (NO, "cancelled")])
def test_what_is_in_flight_when_its_endpoint_is_deleted_ends_as_it_turns_out(
    world: World, answer: bytes, status: str
) -> None:
    with ScriptedServer(answering(OK, answer)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        world.publish()
        drain = world.drain(clock=lambda: 0.0)
        drain.run()  # it may have two in flight after that
        world.publish(2)
        drain.run_once()
        world.publish()
        with world.database.session() as session:
            endpoints.delete_endpoint(session, world.workspace_id, endpoint_id)
        assert world.statuses() == {"delivered": 1, "pending": 2, "cancelled": 1}
        drain.run()
    assert [row.status for row in world.deliveries()] == ["delivered", status, status, "cancelled"]
    assert world.deliveries()[1].reason == (None if status == "delivered" else "endpoint_deleted")


def test_five_days_without_a_success_disable_the_endpoint(world: World) -> None:
    with ScriptedServer(answering(NO)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        world.publish()
        world.drain().run()
        assert world.endpoint_row(endpoint_id).consecutive_failures == 1
        started = world.endpoint_row(endpoint_id).failing_since
        world.publish()
        almost = timedelta(days=4, hours=23)
        world.let_pass(almost)
        world.drain().run()
        row = world.endpoint_row(endpoint_id)
        assert (row.status, row.consecutive_failures, row.failing_since) == ("enabled", 3, started - almost)
        world.publish(2)
        world.let_pass(timedelta(hours=1, seconds=1))
        world.drain().run()
    row = world.endpoint_row(endpoint_id)
    assert row.status == "disabled"
    assert row.disabled_reason.startswith("endpoint_failing: every attempt has failed since")
    assert "pending" not in world.statuses()


def test_a_success_forgets_the_failures(world: World) -> None:
    with ScriptedServer(answering(NO, OK, NO)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        drain = world.drain()
        for failures, outcome in [(1, "http_error"), (0, "success"), (1, "http_error")]:
            world.publish()
            drain.run()
            row = world.endpoint_row(endpoint_id)
            assert (row.consecutive_failures, row.last_outcome) == (failures, outcome)
            assert (row.failing_since is None) == (failures == 0)


def test_successes_of_a_healthy_endpoint_write_nothing_to_its_row(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url)
        drain = world.drain()
        world.publish()
        drain.run()
        before = world.one("SELECT xmin::text || ctid::text || xmax::text FROM endpoints")
        world.publish(10)
        drain.run()
        assert world.one("SELECT xmin::text || ctid::text || xmax::text FROM endpoints") == before


def test_a_long_queue_is_cancelled_in_parts_and_delays_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancelling, "MOST_CANCELLED", 20)
    with ScriptedServer(answering(GONE)) as receiver, ScriptedServer(answering(OK)) as other:
        gone = world.endpoint(receiver.url, rate_limit=1)
        later = world.endpoint("http://127.0.0.1:1/")
        world.publish(100)
        healthy = world.endpoint(other.url)
        world.publish()
        world.sql("UPDATE endpoints SET status = 'disabled' WHERE id = %(id)s", id=later)
        world.sql(
            "UPDATE due SET due_at = due_at + interval '1 hour' WHERE delivery_id = ANY (%(ids)s)",
            ids=[row.id for row in world.deliveries(later)[10:]],
        )
        drain = world.drain()
        before, most = 0, 0

        def cancelled() -> int:
            return sum(row.status == "cancelled" for row in world.deliveries())

        def one_round() -> bool:
            nonlocal before, most
            claim = drain.run_once(poll_seconds=0.01)
            now = cancelled()
            before, most = now, max(most, now - before)
            return not claim.more and not drain.in_flight

        eventually(one_round)
    assert most == 20
    assert world.statuses(healthy) == {"delivered": 1}
    assert world.statuses(gone) == {"failed": 1, "cancelled": 100}
    assert {row.reason for row in world.deliveries(gone)} == {"endpoint_gone", deliveries.ENDPOINT_GONE}
    assert world.statuses(later) == {"cancelled": 101}  # what was due later, too


def test_many_endpoints_that_end_at_once_are_cancelled_by_one_statement(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "MOST_CANCELLED", 7)
    made = [world.endpoint("http://127.0.0.1:1/") for _ in range(12)]
    world.publish()
    world.sql("UPDATE endpoints SET status = 'disabled' WHERE id = ANY (%(ids)s)", ids=made[1::2])
    world.sql("DELETE FROM endpoints WHERE id = ANY (%(ids)s)", ids=made[2::2])
    ended, statements = EndedEndpoints(), []
    ended.add(made)
    with world.database.begin() as connection:
        event.listen(connection, "before_cursor_execute", lambda *args: statements.append(args[2]))
        ended.cancel_some(connection)
    assert len(statements) == 3  # how the endpoints stand, how to read, and that
    assert [world.statuses(id) for id in made] == [
        {status: 1} for status in ["pending", *7 * ["cancelled"], *4 * ["pending"]]
    ]
    assert ended.are_left
    with world.database.begin() as connection:
        ended.cancel_some(connection)
    assert not ended.are_left
    reasons = [row.reason for id in made for row in world.deliveries(id)]
    assert reasons == [None, *5 * ["endpoint_disabled", "endpoint_deleted"], "endpoint_disabled"]


def test_an_endpoint_that_is_enabled_again_keeps_what_was_not_cancelled_yet(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "MOST_CANCELLED", 4)
    with ScriptedServer(answering(OK)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        world.publish(10)
        world.sql("UPDATE endpoints SET status = 'disabled'")
        drain = world.drain()
        assert drain.run_once().more
        world.change(endpoint_id, status="enabled")
        drain.run()
    assert world.statuses() == {"cancelled": 4, "delivered": 6}


@pytest.mark.parametrize("changed", [False, True], ids=["left as it was", "moved elsewhere"])
def test_a_410_counts_though_somebody_holds_the_endpoint_at_that_moment(world: World, changed: bool) -> None:
    with ScriptedServer(answering(GONE)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        world.publish()
        drain = world.drain()
        with world.database.begin() as person:
            person.exec_driver_sql("SELECT FROM endpoints WHERE id = %(id)s FOR UPDATE", {"id": endpoint_id})
            eventually(lambda: drain.run_once(poll_seconds=0.01) and world.statuses() == {"failed": 1})
            assert drain.run_once().more is False  # nor does it wait
        assert world.endpoint_row(endpoint_id).status == "enabled"
        if changed:
            world.change(endpoint_id, url="http://127.0.0.1:1/")
        world.publish(5)
        world.sql("UPDATE due SET due_at = now() + interval '1 hour'")
        drain.run()
        assert len(receiver.seen) == 1
    assert world.endpoint_row(endpoint_id).status == ("enabled" if changed else "disabled")
    assert world.statuses() == {"failed": 1, ("pending" if changed else "cancelled"): 5}


def test_a_410_whose_workspace_somebody_holds_keeps_nobody_waiting(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    other_world = World(world.database, world.settings)
    with ScriptedServer(answering(GONE)) as receiver, ScriptedServer(answering(OK)) as other:
        endpoint_id, healthy = world.endpoint(receiver.url), other_world.endpoint(other.url)
        world.publish()
        drain = world.drain()
        with world.database.begin() as person:
            locking = "SELECT FROM workspaces WHERE id = %(id)s FOR UPDATE"
            person.exec_driver_sql(locking, {"id": world.workspace_id})
            eventually(lambda: drain.run_once(poll_seconds=0.01) and world.statuses(endpoint_id) == {"failed": 1})
            other_world.publish()
            eventually(lambda: drain.run_once(poll_seconds=0.01) and world.statuses(healthy) == {"delivered": 1}, 1)
        assert world.endpoint_row(endpoint_id).status == "enabled"
        drain.run()
    assert world.endpoint_row(endpoint_id).status == "disabled"
    assert "cannot be used" not in caplog.text
    other_world.close()


def test_an_endpoint_that_fails_for_too_long_is_left_while_somebody_holds_its_workspace(world: World) -> None:
    with ScriptedServer(answering(NO)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        world.publish()
        world.sql("UPDATE endpoints SET failing_since = now() - interval '1 year', consecutive_failures = 9")
        drain = world.drain()
        with world.database.begin() as person:
            locking = "SELECT FROM workspaces WHERE id = %(id)s FOR UPDATE"
            person.exec_driver_sql(locking, {"id": world.workspace_id})
            eventually(lambda: drain.run_once(poll_seconds=0.01) and len(world.attempts()) == 1)
        assert world.endpoint_row(endpoint_id).status == "enabled"
        world.sql("UPDATE due SET due_at = now()")
        eventually(lambda: drain.run_once(poll_seconds=0.01) and len(world.attempts()) == 2)
    assert world.endpoint_row(endpoint_id).status == "disabled"


def test_a_410_that_came_before_its_owner_enabled_the_endpoint_again_disables_nothing(world: World) -> None:
    with ScriptedServer(answering(GONE)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        world.publish()
        drain = world.drain()
        drain.run_once()
        eventually(lambda: drain.collect(0.01) or drain.unrecorded == 1)
        world.change(endpoint_id, status="disabled")
        world.change(endpoint_id, status="enabled")
        drain.run_once()
        assert world.statuses() == {"failed": 1}
        assert world.endpoint_row(endpoint_id).status == "enabled"
        world.publish()
        drain.run()
    assert world.endpoint_row(endpoint_id).status == "disabled"


def test_an_endpoint_with_very_much_pending_is_deleted_at_once_and_the_rest_cancelled_by_drains(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "MOST_AT_ONCE", 4)
    endpoint_id = world.endpoint("http://127.0.0.1:1/")
    world.publish(10)
    world.sql("UPDATE due SET due_at = due_at + interval '10 hours'")
    with world.database.session() as session:
        endpoints.delete_endpoint(session, world.workspace_id, endpoint_id)
    assert world.statuses() == {"cancelled": 4, "pending": 6}
    world.drain().run()
    assert world.statuses() == {"cancelled": 10}
    assert {row.reason for row in world.deliveries()} == {deliveries.ENDPOINT_DELETED}


def test_what_cancelling_costs_depends_on_what_is_cancelled_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cancelling, "MOST_AT_ONCE", 300)
    endpoint_id = world.endpoint("http://127.0.0.1:1/")
    world.publish(2000)
    world.sql("ANALYZE due, deliveries")  # the planner knows then that a hash of everything would cost less
    with world.database.session() as session:
        endpoints.change_endpoint(session, world.settings, world.workspace_id, endpoint_id, {"status": "disabled"})
        read = session.scalar(
            text("SELECT sum(idx_tup_fetch) FROM pg_stat_xact_user_tables WHERE relname LIKE 'deliveries%'")
        )
    assert world.statuses() == {"cancelled": 300, "pending": 1700}
    assert read is not None
    assert read < 4 * 300
