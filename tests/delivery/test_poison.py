"""A row that cannot be delivered, or that kills whoever tries, costs no other row its delivery."""

from __future__ import annotations

import itertools
import math
import socket

import pytest
from sqlalchemy.exc import IntegrityError

from app.core.sealing import seal
from app.delivery import claims
from app.delivery.drain import Drain
from tests.conftest import SECRET_KEY
from tests.delivery.sending.scripted_server import OK, ScriptedServer, Seen, answering
from tests.delivery.world import World
from tests.processes import eventually


def never(server: ScriptedServer, _connection: socket.socket, _seen: Seen) -> None:
    """Does not answer while the test goes on."""
    server.over.wait(30)


def finish(drain: Drain) -> None:
    while drain.in_flight or drain.unrecorded:
        drain.run_once("closed", 0.05)


def test_a_row_that_kills_its_worker_takes_no_other_into_failure(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        for _ in range(4):  # so that a claim takes four rows
            world.endpoint(receiver.url)
        world.sql("UPDATE endpoints SET last_outcome = 'success'")
        world.publish()
        poison = world.deliveries()[0].id
        lost: dict[str, int] = {}
        for _ in range(20):
            world.make_due()
            lost.update(
                (row.id, row.claims - row.attempt_count) for row in world.deliveries() if row.status == "pending"
            )
            drain = world.drain()
            claimed = [row.id for row in drain.run_once().rows]
            if poison not in claimed:
                finish(drain)  # else this process is killed: nothing of it is heard again
            if world.statuses().get("pending", 0) == 0:
                break
    assert world.statuses() == {"delivered": 3, "failed": 1}
    rows = {row.id: row for row in world.deliveries()}
    assert rows[poison].reason.startswith("worker_crash")
    assert {count for id, count in lost.items() if id != poison} == {claims.SUSPICIOUS_LOST_CLAIMS}


def test_a_suspicious_row_travels_alone_and_the_others_wait_for_a_second_at_most(world: World) -> None:
    now = 0.0
    with ScriptedServer(never) as hanging, ScriptedServer(answering(OK)) as receiver:
        world.endpoint(hanging.url, event_types=["call.*"])
        healthy = world.endpoint(receiver.url, event_types=["only.this"])
        world.publish(2)
        world.sql("UPDATE due SET claims = 2")
        drain = world.drain(clock=lambda: now)
        assert [row.alone for row in drain.run_once().rows] == [True]
        world.publish(type="only.this")
        now = 0.9
        assert drain.run_once().rows == []
        now = 1.0
        assert [(row.endpoint_id, row.alone) for row in drain.run_once().rows] == [(healthy, False)]
        eventually(lambda: drain.run_once(poll_seconds=0.01) and world.statuses(healthy) == {"delivered": 1})
        assert drain.in_flight == 1  # the other suspicious one waits until nothing is
        hanging.over.set()
        eventually(lambda: drain.run_once("closed", 0.05) and not drain.in_flight)


def test_a_drain_that_is_always_busy_sends_suspicious_rows_at_the_end_of_its_turn(world: World) -> None:
    ticks = itertools.count()
    with ScriptedServer(answering(OK)) as receiver:
        endpoint_id = world.endpoint(receiver.url)
        world.publish(3)
        world.sql("UPDATE due SET claims = 2")
        suspicious = {row.id for row in world.deliveries()}
        world.publish(3000)
        drain = world.drain(send_total_seconds=1, clock=lambda: next(ticks) * 0.01)
        drain.run(turn_seconds=1)
        done = {row.id for row in world.deliveries(endpoint_id) if row.status == "delivered"}
        assert world.statuses().get("pending", 0) > 0, "the queue was gone before its turn was over"
        assert suspicious <= done


@pytest.mark.parametrize(
    "damage",
    [
        {"sealed_headers": seal(SECRET_KEY, b"[1, 2]", bytes(12))},
        {"sealed_headers": seal(SECRET_KEY, b'"text"', bytes(12))},
        {"sealed_headers": seal(SECRET_KEY, b'{"X": [1]}', bytes(12))},
        {"sealed_headers": seal(SECRET_KEY, b"\xff", bytes(12))},
        {"sealed_headers": b"no seal"},
        {"url": "no url"},
        {"rate_limit": 0},
        {"rate_limit": -1},
        {"rate_limit": 5, "rate_tat": math.nan},
        {"rate_limit": 5, "rate_tat": math.inf},
        {"rate_limit": 10_000, "rate_tat": 1e308},
        {"rate_limit": 0, "rate_tat": math.nan},
    ],
    ids=lambda damage: ",".join(f"{name}={str(value)[:8]}" for name, value in damage.items()),
)
def test_a_damaged_endpoint_harms_no_other(world: World, damage: dict[str, object]) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        damaged = world.endpoint(receiver.url)
        healthy = world.endpoint(receiver.url)
        for check in ("rate_limit", "rate_tat"):
            world.sql(f"ALTER TABLE endpoints DROP CONSTRAINT ck_endpoints_{check}")
        for column, value in damage.items():
            world.sql(f"UPDATE endpoints SET {column} = %(value)s WHERE id = %(id)s", value=value, id=damaged)
        world.publish(2)
        world.drain().run()
        assert world.statuses(healthy) == {"delivered": 2}
    # What can be delivered is; the other attempts failed, are in the log and will be made again.
    assert {row.attempt_count for row in world.deliveries(damaged)} == {1}
    assert set(world.statuses(damaged)) <= {"delivered", "pending"}
    assert len(world.statuses(damaged)) == 1


@pytest.mark.parametrize(
    "damage",
    ["rate_limit = 0", "rate_limit = -1", "rate_tat = 'NaN'", "rate_tat = 'Infinity'", "rate_tat = '-Infinity'"],
)
def test_the_database_refuses_numbers_that_are_no_rate(world: World, damage: str) -> None:
    world.endpoint("http://127.0.0.1:1/")
    with pytest.raises(IntegrityError):
        world.sql(f"UPDATE endpoints SET {damage}")


DAMAGED_TIMES = [
    "deadline_at = 'infinity'",
    "window_started_at = '-infinity'",
    "due_at = '-infinity'",
    "created_at = 'infinity'",
]


def test_a_damaged_time_harms_no_other_row(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        damaged = {damage: world.endpoint(receiver.url) for damage in DAMAGED_TIMES}
        healthy = world.endpoint(receiver.url)
        world.publish()
        world.sql("ALTER TABLE due DROP CONSTRAINT ck_due_sound")
        for damage, endpoint_id in damaged.items():
            world.sql(f"UPDATE due SET {damage} WHERE endpoint_id = %(id)s", id=endpoint_id)
        world.drain().run()
    assert world.statuses(healthy) == {"delivered": 1}
    for damage, endpoint_id in damaged.items():
        assert world.statuses(endpoint_id) == {"delivered": 1} or "created_at" in damage  # it is no delivery's row then
    world.sql("DELETE FROM due")
    world.sql("DELETE FROM deliveries WHERE status = 'pending'")


@pytest.mark.parametrize(
    "damage",
    [
        *DAMAGED_TIMES,
        "due_at = 'infinity'",
        "due_at = '9999-06-01'",
        "event_created_at = '1969-12-31'",
        "leased_until = 'infinity', lease_token = gen_random_uuid()",
        "leased_until = now()",
        "claims = -1",
        "attempt_count = -1",
        "window_attempts = -1",
    ],
)
def test_the_database_refuses_times_that_no_claim_can_answer(world: World, damage: str) -> None:
    world.endpoint("http://127.0.0.1:1/")
    world.publish()
    with pytest.raises(IntegrityError):
        world.sql(f"UPDATE due SET {damage}")
