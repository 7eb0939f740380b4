"""What came of an attempt reaches the log exactly once, and no row that cannot be written keeps the others waiting."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from app.database.calls import Prepared
from app.database.connection import Database
from app.database.direct import Direct
from app.delivery import claims
from app.delivery.drain import Drain
from app.delivery.sending.sender import Sender
from app.delivery.wake import Wake
from tests.database.black_hole import BlackHole
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.delivery.world import World
from tests.processes import eventually

NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
GONE = b"HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n"


class ForgetfulDirect(Direct):
    """Commits, and loses the answer, as often as its database is told to."""

    def __init__(self, database: ForgetfulDatabase) -> None:
        super().__init__(database)
        self._forgetful = database

    def call(self, prepared: Prepared, values: Sequence[Any]) -> list[Any]:
        rows = super().call(prepared, values)
        if self._forgetful.answers_lost:
            self._forgetful.answers_lost -= 1
            raise OperationalError("SELECT", None, ConnectionError("server closed the connection unexpectedly"))
        return rows


class ForgetfulDatabase(Database):
    """Loses answers."""

    answers_lost = 0

    def direct(self) -> Direct:
        return ForgetfulDirect(self)


@pytest.fixture
def forgetful(world: World) -> Iterator[tuple[Drain, ForgetfulDatabase]]:
    """A drain, and its database."""
    settings = world.settings
    database = ForgetfulDatabase(settings.database_url, pool_size=1, options=claims.DATABASE_OPTIONS)
    sender = Sender(settings.allow_subnets, settings.send_total_seconds, settings.send_connect_seconds)
    wake = Wake(settings.redis_url)
    yield Drain(database, sender, settings, wake, clock=lambda: 0.0), database
    for part in (wake, sender, database):
        part.close()


def all_have_answered(drain: Drain, count: int) -> None:
    def collected() -> bool:
        drain.collect(0.01)
        return drain.unrecorded == count

    eventually(collected)


@pytest.mark.parametrize(
    ("answer", "status"), [(OK, "delivered"), (NO, "pending"), (GONE, "failed")], ids=["200", "500", "410"]
)
@pytest.mark.parametrize("times", [1, 3])
def test_a_lost_answer_to_the_commit_writes_no_attempt_twice(
    world: World, forgetful: tuple[Drain, ForgetfulDatabase], answer: bytes, status: str, times: int
) -> None:
    drain, database = forgetful
    with ScriptedServer(answering(OK, OK, OK, answer)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        for count in (1, 2):  # so that it may have four in flight
            world.publish(count)
            eventually(lambda: drain.run_once(poll_seconds=0.01) and "pending" not in world.statuses())
        world.publish(5)
        drain.run_once()
        all_have_answered(drain, 4)
        database.answers_lost = times
        for _ in range(times):
            with pytest.raises(OperationalError):
                drain.run_once("closed")
        drain.run_once("closed")
        assert drain.unrecorded == 0
        assert len(world.attempts()) == len(receiver.seen) == 3 + 4
    tried = [row for row in world.deliveries()[3:] if row.attempt_count]
    assert {(row.status, row.attempt_count, row.window_attempts) for row in tried} == {(status, 1, 1)}
    failures = {OK: 0, NO: 4, GONE: 4}[answer]
    assert world.endpoint_row(endpoint_id).consecutive_failures == failures
    assert world.endpoint_row(endpoint_id).status == ("disabled" if answer == GONE else "enabled")


def test_locked_deliveries_keep_their_outcomes_and_stop_nobody(world: World, caplog: pytest.LogCaptureFixture) -> None:
    stop = threading.Event()
    with ScriptedServer(answering(OK)) as receiver:
        locked = [world.endpoint(receiver.url, event_types=["call.*"]) for _ in range(4)]
        others = world.endpoint(receiver.url, event_types=["only.this"])
        world.publish()
        drain = world.drain(stopping=stop.is_set)
        drain.run_once()
        all_have_answered(drain, 4)
        with world.database.begin() as person:
            person.exec_driver_sql("SELECT FROM deliveries FOR UPDATE")
            world.publish(20, type="only.this")
            thread = threading.Thread(target=drain.run)
            thread.start()
            eventually(lambda: world.statuses(others) == {"delivered": 20}, 5)
            assert [world.statuses(id) for id in locked] == [{"pending": 1}] * 4
            assert drain.unrecorded == 4
        eventually(lambda: [world.statuses(id) for id in locked] == [{"delivered": 1}] * 4, 5)
        stop.set()
        thread.join(10)
        assert not thread.is_alive()
        assert len(receiver.seen) == len(world.attempts()) == 24
    assert "cannot be used" not in caplog.text


def test_a_drain_that_is_to_stop_does_not_wait_for_a_lock_for_ever(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    ticks = itertools.count()
    told = threading.Event()
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url)
        world.publish()
        drain = world.drain(stopping=told.is_set, clock=lambda: float(next(ticks)))  # each look takes a second
        drain.run_once()
        all_have_answered(drain, 1)
        told.set()
        with world.database.begin() as person:
            person.exec_driver_sql("SELECT FROM deliveries FOR UPDATE")
            drain.run()
            assert drain.unrecorded == 1
    assert "1 outcomes wait for deliveries that somebody has locked" in caplog.text


def test_a_read_only_database_costs_no_outcome(world: World, caplog: pytest.LogCaptureFixture) -> None:
    name = world.one("SELECT current_database()")
    with ScriptedServer(answering(OK)) as receiver:
        for _ in range(3):  # so that one claim takes three rows
            world.endpoint(receiver.url)
        world.publish()
        drain = world.drain()
        drain.run_once()
        all_have_answered(drain, 3)
        world.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        world.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert drain.run() == 0
        assert drain.run() == 0
        assert "read-only transaction" in caplog.text
        assert drain.unrecorded == 3
        with world.database.begin() as person:
            person.exec_driver_sql("SET TRANSACTION READ WRITE")
            person.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = off")
        assert drain.run() == 3
        assert len(receiver.seen) == 3
    assert world.statuses() == {"delivered": 3}


def test_an_outcome_that_the_database_refuses_fails_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url)
        world.publish(4)
        refused = world.deliveries()[1].id
        world.sql(f"ALTER TABLE attempts ADD CONSTRAINT refuse CHECK (delivery_id <> '{refused}')")
        world.drain().run()
        assert len(receiver.seen) == 4
    assert world.statuses() == {"delivered": 3, "pending": 1}
    assert f"an outcome of delivery {refused} cannot be recorded" in caplog.text


@pytest.mark.parametrize("before", ["the record", "the claim"])
def test_a_connection_that_falls_silent_is_given_up_and_costs_no_outcome(world: World, before: str) -> None:
    settings = world.settings
    hole = BlackHole(settings.database_url)
    database = Database(hole.url, pool_size=1, options=claims.DATABASE_OPTIONS, statement_seconds=1)
    sender = Sender(settings.allow_subnets, settings.send_total_seconds, settings.send_connect_seconds)
    wake = Wake(settings.redis_url)
    drain = Drain(database, sender, settings, wake)
    with ScriptedServer(answering(OK)) as receiver:
        for _ in range(3):  # so that one claim takes three rows
            world.endpoint(receiver.url)
        drain.run()
        world.publish()
        if before == "the record":
            drain.run_once()
            all_have_answered(drain, 3)
        hole.forget_connections()
        started = time.monotonic()
        drain.run()
        drain.run()
        print(f"{time.monotonic() - started:.1f} s")
        assert drain.unrecorded == 0
        assert len(receiver.seen) == len(world.attempts()) == 3
    assert world.statuses() == {"delivered": 3}
    for part in (wake, sender, database, hole):
        part.close()


def test_what_an_unanswered_call_is_about_to_commit_is_not_recorded_again(world: World) -> None:
    """Its answer was lost, and it comes to its COMMIT while the second call is under way."""
    world.endpoint("http://127.0.0.1:1/")
    world.publish()
    row = world.delivery()
    outcome = {
        "n": 0, "attempt_id": "att_1", "attempt_at": row.created_at.isoformat(), "delivery_id": row.id,
        "created_at": row.created_at.isoformat(), "workspace_id": row.workspace_id, "endpoint_id": row.endpoint_id,
        "lease_token": None, "trigger": "schedule", "started_at": row.created_at.isoformat(), "duration_ms": 1,
        "outcome": "success", "status_code": 200, "resent": False, "by_us": False, "status": "delivered",
    }  # fmt: skip
    record = "SELECT record_outcomes(%(outcomes)s, 1000) FROM (SELECT pg_backend_pid()) AS me"
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'SELECT record_%%'"
    second = threading.Thread(
        target=world.sql, args=(record,), kwargs={"outcomes": json.dumps([{**outcome, "doubtful": True}])}
    )
    with world.database.begin() as first:
        first.exec_driver_sql("LOCK TABLE due IN SHARE MODE")  # so that the second has begun, and goes on later
        second.start()
        eventually(lambda: world.one(waits) == 1)
        first.exec_driver_sql(record, {"outcomes": json.dumps([{**outcome, "doubtful": False}])})
    second.join(10)
    assert (world.delivery().status, world.delivery().attempt_count, len(world.attempts())) == ("delivered", 1, 1)


@pytest.mark.parametrize("times", [1, 3])
def test_what_a_claim_has_leased_whose_answer_was_lost_is_handed_out_again(
    world: World, forgetful: tuple[Drain, ForgetfulDatabase], times: int
) -> None:
    drain, database = forgetful
    with ScriptedServer(answering(OK)) as receiver:
        for _ in range(3):  # so that one claim takes three rows
            world.endpoint(receiver.url)
        world.publish()
        database.answers_lost = times
        for _ in range(times):
            with pytest.raises(OperationalError):
                drain.run_once()
        assert {row.claims for row in world.deliveries()} == {1}
        assert len(drain.run_once().rows) == 3
        all_have_answered(drain, 3)
        drain.run_once("closed")
        assert len(receiver.seen) == 3
    assert {(row.status, row.attempt_count) for row in world.deliveries()} == {("delivered", 1)}
    assert drain.run_once().rows == []


def test_what_a_cut_connection_has_claimed_is_handed_out_again(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url)
        drain = world.drain()
        drain.run()
        world.publish(1)
        world.sql(
            "UPDATE due SET leased_until = now() + interval '1 hour', lease_token = gen_random_uuid(), claims = 1"
        )
        held = world.one("SELECT lease_token::text FROM due")
        asked = {"token": held, "lease_seconds": 60, "most_rows": 600, "most_endpoints": 256, "free": {}}
        statement = "SELECT delivery_id FROM drain_round(NULL, 1000, %(asked)s) WHERE delivery_id IS NOT NULL"
        assert world.sql(statement, asked=json.dumps(asked)) == []
        (row,) = world.sql(statement, asked=json.dumps(asked | {"again": True}))
        assert row.delivery_id == world.delivery().id
    assert world.delivery().claims == 1
    assert world.one("SELECT leased_until < now() + interval '2 minutes' FROM due")
