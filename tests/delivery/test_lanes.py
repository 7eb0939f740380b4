"""Lanes: an endpoint that keeps order gets the deliveries of each stream one after the other, whatever happens."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from app.core.event.acceptance import Accepted
from app.core.event.drafts import Draft
from app.core.problem import Problem
from app.core.webhook.lanes import STREAM
from app.database.connection import Database
from app.database.tables import PARKED
from app.delivery import claims, deliveries, lane_rows
from app.delivery.sending.sender import standing_seconds
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.delivery.test_claiming import ask
from tests.delivery.world import World
from tests.processes import eventually

NOWHERE = "http://127.0.0.1:1/"
HELD = timedelta(seconds=61)  # the lease of `ask`, and a little
# The rows that wait, with their places.
WAITING = f"""
SELECT q.delivery_id AS id, s.external_id AS stream, q.seq, q.prev_seq, q.due_at >= '{PARKED}' AS is_parked,
  q.leased_until > now() AS is_sent
FROM due q JOIN events v ON v.id = q.event_id JOIN streams s ON s.id = v.stream_id ORDER BY s.external_id, v.seq
"""

LOCK_SOME = "SELECT FROM due WHERE random() < 0.2 FOR UPDATE SKIP LOCKED"
IS_LEASED = "SELECT count(*) FROM due WHERE delivery_id = %(id)s AND lease_token::text = %(token)s"
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def publish(world: World, *streams: str, together: bool = True) -> list[Accepted]:
    """An event for each name, in this order; in one transaction or one after the other."""
    drafts = [Draft("call", name, "call.turn", "{}", {}, None, None) for name in streams]
    groups = [drafts] if together else [[draft] for draft in drafts]
    answers = [answer for group in groups for answer in world.accept(group)]
    assert all(isinstance(answer, Accepted) for answer in answers)
    return [answer for answer in answers if isinstance(answer, Accepted)]


def claim(world: World, **asked: Any) -> list[Any]:
    with world.database.begin() as connection:
        return ask(connection, **asked)


def outcome(row: Any, n: int, status: str, token: str, **other: Any) -> dict[str, Any]:
    moment = row.created_at.isoformat()
    given = {
        "n": n, "attempt_id": f"att_{random.getrandbits(60)}", "attempt_at": moment, "started_at": moment,
        "outcome": "success" if status == "delivered" else "http_error", "status": status, "trigger": "schedule",
        "resent": False, "by_us": False, "doubtful": False, "duration_ms": 1, "lease_token": token,
        "delivery_id": row.delivery_id, "endpoint_id": row.endpoint_id, "created_at": moment,
        "workspace_id": row.workspace_id, "due_at": moment if status == "pending" else None,
    }  # fmt: skip
    return given | other


def seqs(world: World, rows: Sequence[Any]) -> list[tuple[str, int]]:
    places = {row.id: (row.stream, row.seq) for row in world.sql(WAITING)}
    return [places[row.delivery_id] for row in rows]


def record(world: World, rows: Sequence[Any], token: str, status: str = "delivered", **other: Any) -> list[Any]:
    """Record what came of these, in one round with the next claim; what that takes."""
    done = [outcome(row, n, status, token, **other) for n, row in enumerate(rows)]
    with world.database.begin() as connection:
        return ask(connection, done)


TOKEN = "6f1c9f3a-5d5b-4a7e-9b58-1a2b3c4d5e6f"


@pytest.mark.parametrize("together", [True, False])
def test_of_each_stream_one_delivery_is_out_and_the_next_follows_in_the_round_that_records_it(
    world: World, together: bool
) -> None:
    world.endpoint(NOWHERE, order=STREAM)
    publish(world, "a", "b", "a", "a", "b", together=together)
    first = claim(world, token=TOKEN)
    assert sorted(seqs(world, first)) == [("a", 1), ("b", 1)]
    assert claim(world) == []
    then = record(world, first, TOKEN)
    assert sorted(seqs(world, then)) == [("a", 2), ("b", 2)]
    assert [row.note["lane"]["prev"] for row in then] == [1, 1]


def test_a_failure_holds_up_its_own_stream_only(world: World) -> None:
    world.endpoint(NOWHERE, order=STREAM)
    publish(world, "a", "b", "a", "b")
    first = sorted(claim(world, token=TOKEN), key=lambda row: seqs(world, [row]))
    in_an_hour = (world.now() + timedelta(hours=1)).isoformat()
    next_one = record(world, first[:1], TOKEN, "pending", due_at=in_an_hour)
    assert next_one == []
    assert seqs(world, record(world, first[1:], TOKEN)) == [("b", 2)]
    publish(world, "a")
    assert claim(world) == []
    assert [(row.seq, row.is_parked) for row in world.sql(WAITING) if row.stream == "a"] == [
        (1, False),
        (2, True),
        (3, True),
    ]


def test_a_lane_goes_on_however_its_head_ends(world: World) -> None:
    world.endpoint(NOWHERE, order=STREAM)
    publish(world, *"aaaaa")
    (head,) = claim(world, token=TOKEN)
    (head,) = record(world, [head], TOKEN, "failed")
    assert (head.note["lane"]["prev"], head.note["lane"]["skipped"]) == (1, [1])
    world.sql("DELETE FROM due WHERE delivery_id = %(id)s", id=head.delivery_id)  # as housekeeping does
    world.sql("DELETE FROM deliveries WHERE id = %(id)s", id=head.delivery_id)
    (head,) = claim(world, token=TOKEN)
    assert (head.note["lane"]["prev"], head.note["lane"]["skipped"]) == (2, [1])
    (head,) = record(world, [head], TOKEN)
    assert (head.note["lane"]["prev"], head.note["lane"]["skipped"]) == (3, None)


def test_whoever_has_lost_the_lease_moves_nothing_while_another_sends(world: World) -> None:
    world.endpoint(NOWHERE, order=STREAM)
    publish(world, "a", "a")
    frozen = claim(world, token=TOKEN)
    world.let_pass(HELD)
    (again,) = claim(world)
    assert again.delivery_id == frozen[0].delivery_id
    assert record(world, frozen, TOKEN) == []
    assert [(row.seq, row.is_sent) for row in world.sql(WAITING)] == [(1, True), (2, None)]
    world.let_pass(HELD)  # nobody sends it any more: now the success counts
    assert seqs(world, record(world, frozen, TOKEN)) == [("a", 2)]


def test_order_that_begins_and_ends_while_deliveries_wait(world: World) -> None:
    endpoint = world.endpoint(NOWHERE)
    publish(world, "a", "b", "a", together=False)
    world.change(endpoint, order=STREAM)
    publish(world, "a")
    assert [(row.stream, row.seq, row.prev_seq) for row in world.sql(WAITING)] == [
        ("a", 1, None), ("a", 2, 1), ("a", 3, 2), ("b", 1, None)
    ]  # fmt: skip
    assert sorted(seqs(world, claim(world))) == [("a", 1), ("b", 1)]
    world.change(endpoint, order=None)
    assert len(claim(world)) == 2
    assert world.one("SELECT count(*) FROM due WHERE stream_id IS NOT NULL OR seq IS NOT NULL") == 0
    assert world.one("SELECT keeps_order FROM workspaces") is False


def test_a_head_that_fails_while_others_are_answered_steps_aside(world: World) -> None:
    endpoint = world.endpoint(NOWHERE, order=STREAM, order_patience_seconds=20)
    publish(world, "a", "a", "b")
    rows = sorted(claim(world, token=TOKEN), key=lambda row: seqs(world, [row]))
    in_an_hour = (world.now() + timedelta(hours=1)).isoformat()
    record(world, rows[:1], TOKEN, "pending", due_at=in_an_hour)

    def look() -> list[str]:
        world.sql("UPDATE due SET counted_at = counted_at - interval '15 s'")
        with world.database.begin() as connection:
            return lane_rows.step_aside(connection)

    assert [look() for _ in range(4)] == [[]] * 4  # the whole endpoint may be down
    record(world, rows[1:], TOKEN)
    assert [look(), look()] == [[], []]
    assert look() == [rows[0].delivery_id]
    (second,) = claim(world, token=TOKEN)
    assert second.note["lane"] == {"late": False, "prev": 1, "skipped": [1]}
    world.make_due_now()
    (late,) = claim(world)
    assert (late.delivery_id, late.note["lane"]["late"]) == (rows[0].delivery_id, True)
    assert world.endpoint_row(endpoint).status == "enabled"


def test_a_person_skips_a_head_and_nothing_else(world: World) -> None:
    world.endpoint(NOWHERE, order=STREAM)
    publish(world, "a", "a", "a")
    first, second, _ = (row.id for row in world.sql(WAITING))
    with world.database.session() as session, pytest.raises(Problem, match="first"):
        deliveries.skip_delivery(session, world.workspace_id, second)
    with world.database.session() as session, pytest.raises(Problem, match="its turn"):
        deliveries.retry_delivery(session, world.workspace_id, second, window_seconds=60)
    with world.database.session() as session:
        deliveries.skip_delivery(session, world.workspace_id, first)
    assert [row.delivery_id for row in claim(world)] == [first, second]
    assert world.one("SELECT skipped_ids FROM endpoint_notices") == [first]
    with world.database.session() as session, pytest.raises(Problem, match="being sent"):
        deliveries.skip_delivery(session, world.workspace_id, second)


@pytest.mark.parametrize("by", ["look", "retry"])
def test_a_lane_that_was_left_closed_because_its_next_row_was_locked_is_opened(world: World, by: str) -> None:
    world.endpoint(NOWHERE, order=STREAM)
    publish(world, "a", "a")
    head = claim(world, token=TOKEN)
    second = world.sql(WAITING)[1].id
    with world.database.begin() as other:
        other.exec_driver_sql("SELECT FROM due WHERE delivery_id = %(id)s FOR UPDATE", {"id": second})
        assert record(world, head, TOKEN) == []
    assert [(row.id, row.is_parked) for row in world.sql(WAITING)] == [(second, True)]
    if by == "retry":
        with world.database.session() as session:
            deliveries.retry_delivery(session, world.workspace_id, second, window_seconds=60)
    else:
        with world.database.begin() as connection:
            assert lane_rows.open_stuck(connection) == lane_rows.START
    assert [row.delivery_id for row in claim(world)] == [second]


def test_a_worker_that_stood_still_until_its_lease_was_over_sends_nothing_that_it_had_begun(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url, order=STREAM)
        publish(world, "a", "a")
        with monkeypatch.context() as patched:
            frozen = standing_seconds() + 1000
            patched.setattr("app.delivery.sending.transfer.standing_seconds", lambda: frozen)
            world.drain().run()
        assert receiver.seen == []
        assert world.one("SELECT count(*) FROM attempts") == 0
        assert [row.seq for row in world.sql(WAITING)] == [1, 2]
        world.sql("UPDATE due SET leased_until = now() WHERE leased_until IS NOT NULL")
        world.drain().run()
    assert len(receiver.seen) == 2


def test_each_look_for_closed_lanes_goes_on_where_the_last_one_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_rows, "MOST_LOOKED_AT", 2)
    world.endpoint(NOWHERE, order=STREAM)
    publish(world, *"abc")
    world.sql(f"UPDATE due SET due_at = '{PARKED}'")
    after, opened = lane_rows.START, []
    for _ in range(2):
        with world.database.begin() as connection:
            after = lane_rows.open_stuck(connection, after)
        opened.append([row.stream for row in world.sql(WAITING) if not row.is_parked])
    assert opened == [["a", "b"], ["a", "b", "c"]]
    assert after == lane_rows.START


def test_what_has_left_a_lane_is_not_looked_through_while_somebody_holds_an_old_snapshot(world: World) -> None:
    endpoint = world.endpoint(NOWHERE, order=STREAM)
    publish(world, *["a"] * 202)
    rows = [row.id for row in world.sql(WAITING)]
    (stream,) = world.sql("SELECT id FROM streams WHERE external_id = 'a'")
    explain = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT open_lane(%(endpoint)s, %(stream)s)"

    drains = Database(world.settings.database_url, options=claims.DATABASE_OPTIONS)

    def pages() -> int:
        """Those that a look reads; the first one of a connection reads the function as well."""
        with drains.begin() as connection:
            values = {"endpoint": endpoint, "stream": stream.id}
            looks = [connection.exec_driver_sql(explain, values).scalar_one() for _ in range(2)]
        return int(looks[1][0]["Plan"]["Shared Hit Blocks"])

    with world.database.engine.connect().execution_options(isolation_level="REPEATABLE READ") as old:
        old.exec_driver_sql("SELECT count(*) FROM due")
        for place, row in enumerate(rows[:-2]):
            if place % 16 == 0:
                world.sql("UPDATE lane_marks SET marked_at = marked_at - interval '1 s'")
            world.end("delivered", row)
        near = pages()
        world.sql("DELETE FROM lane_marks")
        far = pages()
        drains.close()
        assert near * 2 < far, (near, far)
        assert [row.is_parked for row in world.sql(WAITING)] == [False, True]


def test_a_lane_is_never_looked_at_from_behind_its_first_row(world: World) -> None:
    """Not while what is before it goes in another order, nor when order begins again."""
    endpoint = world.endpoint(NOWHERE, order=STREAM)
    publish(world, *["a"] * 200)
    rows = [row.id for row in world.sql(WAITING)]
    world.sql("UPDATE due SET due_at = now()")
    for row in rows[:70]:
        world.end("delivered", row)
    assert world.one("SELECT low_seq FROM lane_marks") == 64
    for row in rows[150:]:
        world.sql("UPDATE lane_marks SET marked_at = marked_at - interval '1 s'")
        world.end("delivered", row)
    assert world.one("SELECT low_seq FROM lane_marks") == 71
    assert seqs(world, claim(world)) == [("a", 71)]
    world.change(endpoint, order=None)
    world.change(endpoint, order=STREAM)
    assert world.one("SELECT count(*) FROM lane_marks") == 0


def test_of_what_was_skipped_no_more_is_kept_than_is_told(world: World) -> None:
    """A receiver may refuse millions; its next success forgets them in a statement that others wait for."""
    world.endpoint(NOWHERE, order=STREAM)
    publish(world, *["a"] * 110)
    for row in world.sql(WAITING)[:105]:
        world.end("failed", row.id)
    assert [row.seq for row in world.sql("SELECT seq FROM lane_skips ORDER BY seq")] == [*range(6, 106)]
    (head,) = claim(world)
    assert head.note["lane"] == {"late": False, "prev": 105, "skipped": [*range(6, 106)]}


def test_what_is_put_away_leaves_without_opening_its_lane(world: World) -> None:
    world.endpoint(NOWHERE, order=STREAM)
    publish(world, *"aaa")
    world.sql(f"UPDATE due SET due_at = '{PARKED}'")
    world.end("cancelled", world.sql(WAITING)[1].id)
    assert [(row.seq, row.is_parked) for row in world.sql(WAITING)] == [(1, True), (3, True)]


def test_what_is_being_accepted_when_order_ends_waits_in_no_lane(world: World) -> None:
    endpoint = world.endpoint(NOWHERE, order=STREAM)
    publish(world, "a", "a")
    world.sql("UPDATE due SET stream_id = NULL, seq = NULL, prev_seq = NULL, due_at = now()")
    ending = threading.Thread(target=lambda: world.change(endpoint, order=None))
    with world.database.begin() as accepting:  # as accept_events does
        accepting.exec_driver_sql("SELECT FROM workspaces FOR KEY SHARE")
        accepting.exec_driver_sql("SELECT join_lanes(ARRAY(SELECT delivery_id FROM due))")
        ending.start()
        eventually(lambda: world.one(BLOCKED) or not ending.is_alive())
    ending.join(10)
    assert world.sql(WAITING) != []
    assert {(row.seq, row.is_parked) for row in world.sql(WAITING)} == {(None, False)}


def test_an_endpoint_that_is_made_with_order_stops_no_accepting(world: World) -> None:
    world.endpoint(NOWHERE, order=STREAM)
    with world.database.begin() as accepting:
        accepting.exec_driver_sql("SELECT FROM workspaces FOR KEY SHARE")
        world.endpoint(NOWHERE, order=STREAM)
    assert world.one("SELECT count(*) FROM endpoints WHERE ordered_at IS NOT NULL") == 2


def test_whatever_several_do_at_once_one_of_a_lane_is_out_in_order_and_none_is_forgotten(world: World) -> None:
    """Random steps of two drains, producers and people, each its own transaction, some of which stay open: then
    everything is delivered, and of each stream nothing was handed out before what is earlier had ended."""
    seed = int(os.environ.get("SEED", random.randrange(1 << 30)))
    print(f"seed {seed}")
    dice = random.Random(seed)
    endpoint = world.endpoint(NOWHERE, order=STREAM)
    held: list[tuple[Any, str]] = []
    places: dict[str, tuple[str, int]] = {}
    over: set[str] = set()
    made = 0

    def taken(rows: Sequence[Any], token: str) -> None:
        places.update({row.id: (row.stream, row.seq) for row in world.sql(WAITING) if row.seq is not None})
        for row in rows:
            if row.note["lane"]["late"]:
                continue
            stream, seq = places[row.delivery_id]
            earlier = [id for id, place in places.items() if place[0] == stream and place[1] < seq and id not in over]
            assert not earlier, (seed, places[row.delivery_id])
            held.append((row, token))

    def look() -> None:
        with world.database.begin() as other:
            other.exec_driver_sql(LOCK_SOME)
            with world.database.begin() as connection:
                lane_rows.open_stuck(connection)

    for step in range(120):
        kind = dice.choice("ppcccrrrrrfsxnl")
        token = f"6f1c9f3a-5d5b-4a7e-9b58-{step:012x}"
        if kind == "p":
            made += 3
            publish(world, *dice.choices("abc", k=3), together=dice.random() < 0.5)
        elif kind == "c":
            with world.database.begin() as other:  # holds some rows while another claims
                other.exec_driver_sql(LOCK_SOME)
                with world.database.begin() as connection:
                    rows = ask(connection, token=token)
            taken(rows, token)
        elif kind in "rf" and held:
            row, lease = held.pop(dice.randrange(len(held)))
            status = "delivered" if kind == "r" else dice.choice(["pending", "failed"])
            with world.database.begin() as other:
                other.exec_driver_sql(LOCK_SOME)
                with world.database.begin() as connection:
                    rows = ask(connection, [outcome(row, 0, status, lease)], token=token)
            if world.one(IS_LEASED, id=row.delivery_id, token=lease):  # it was locked: nothing is recorded
                held.append((row, lease))
            elif status != "pending":
                over.add(row.delivery_id)
            taken(rows, token)
        elif kind == "s":
            ids = [row.id for row in world.sql(WAITING) if row.seq is not None and not row.is_sent]
            if ids:
                with world.database.begin() as connection:
                    over.update(lane_rows.set_aside(connection, dice.sample(ids, 1)))
        elif kind == "x" and dice.random() < 0.2:
            held.clear()  # the worker is killed
            world.let_pass(HELD)
        elif kind == "n" and dice.random() < 0.1:
            world.change(endpoint, order=None)
            world.change(endpoint, order=STREAM)
        elif kind == "l":
            look()
    world.let_pass(HELD)
    held.clear()
    for _ in range(400):
        world.make_due_now()
        look()
        rows = claim(world, token=TOKEN, alone="too")
        taken(rows, TOKEN)
        with world.database.begin() as connection:
            ask(connection, [outcome(row, n, "delivered", TOKEN) for n, row in enumerate(rows)], free={}, rooms={})
        over.update(row.delivery_id for row in rows)
        if not world.one("SELECT count(*) FROM due"):
            break
    assert world.sql(WAITING) == [], seed
    assert sum(world.statuses().values()) == made
