"""A claimed row belongs to one drain until its lease ends; whoever lost it can report a success and nothing else."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from app.accounts.workspaces import delete_workspace
from app.delivery import claims
from app.delivery.drain import Drain
from app.local.embedded import EmbeddedPostgres
from app.settings import Settings, SettingsError
from tests.delivery.outages import no_connections
from tests.delivery.sending.scripted_server import OK, ScriptedServer, answering
from tests.delivery.world import World
from tests.processes import eventually
from workers.drains import delivery_database

NO = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"


def finish(drain: Drain) -> None:
    """Let a drain that has claimed go on to the end without claiming more."""
    while drain.in_flight or drain.unrecorded:
        drain.run_once("closed", 0.05)


def test_a_claimed_row_is_nobody_elses_until_the_lease_ends(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        for _ in range(4):  # so that one claim takes four rows
            world.endpoint(receiver.url)
        world.publish()
        first, second = world.drain(), world.drain()
        assert len(first.run_once().rows) == 4
        assert second.run_once().rows == []
        world.make_due()  # the lease has ended, the first drain is believed dead
        assert len(second.run_once().rows) == 4
        finish(second)
        finish(first)
    assert world.statuses() == {"delivered": 4}
    assert {row.attempt_count for row in world.deliveries()} == {2}
    assert len(world.attempts()) == len(receiver.seen) == 8


def test_a_late_success_wins_and_the_later_failure_changes_nothing(world: World) -> None:
    with ScriptedServer(answering(OK)) as good, ScriptedServer(answering(NO)) as bad:
        endpoint_id = world.endpoint(good.url)
        world.publish()
        late, present = world.drain(), world.drain()
        late.run_once()
        world.make_due()
        world.change(endpoint_id, url=bad.url)
        present.run_once()
        finish(late)
        row = world.delivery()
        assert (row.status, row.attempt_count) == ("delivered", 1)
        finish(present)
    after = world.delivery()
    assert (after.status, after.reason, after.finished_at, after.attempt_count) == (
        "delivered",
        None,
        row.finished_at,
        2,
    )
    assert [attempt.outcome for attempt in world.attempts()] == ["success", "http_error"]


def test_a_late_failure_changes_nothing_but_is_in_the_log(world: World) -> None:
    with ScriptedServer(answering(NO)) as bad, ScriptedServer(answering(OK)) as good:
        endpoint_id = world.endpoint(bad.url)
        world.publish()
        late, present = world.drain(), world.drain()
        late.run_once()
        world.make_due()
        world.change(endpoint_id, url=good.url)
        present.run_once()
        before = world.delivery()
        finish(late)
        row = world.delivery()
        assert (row.status, row.due_at, row.lease_token) == ("pending", before.due_at, before.lease_token)
        finish(present)
    assert world.delivery().status == "delivered"
    assert [attempt.outcome for attempt in world.attempts()] == ["http_error", "success"]


def test_no_outcome_leads_out_of_a_terminal_state(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url)
        world.publish()
        drain = world.drain()
        drain.run_once()
        world.end("cancelled")
        finish(drain)
    row = world.delivery()
    assert (row.status, row.reason, row.attempt_count) == ("cancelled", "x", 1)


def test_a_row_that_kills_its_worker_is_parked_after_five_lost_claims(world: World) -> None:
    world.endpoint("http://127.0.0.1:1/")
    world.publish()
    for _ in range(claims.MOST_LOST_CLAIMS):
        assert len(world.drain().run_once().rows) == 1  # a drain that is never heard of again
        world.make_due()
    assert world.drain().run_once().rows == []
    row = world.delivery()
    assert (row.status, row.attempt_count, row.lease_token) == ("failed", 0, None)
    assert row.reason.startswith("worker_crash")
    assert row.finished_at is not None


def test_a_row_whose_event_is_gone_fails_and_says_so(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url)
        world.publish(2)
        world.sql("DELETE FROM events WHERE seq = 1")
        world.drain().run()
    assert world.statuses() == {"delivered": 1, "failed": 1}
    assert world.one("SELECT reason FROM deliveries WHERE status = 'failed'").startswith("event_expired")


def test_a_workspace_deleted_during_the_attempt_leaves_nothing_behind(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        world.endpoint(receiver.url)
        world.publish(3)
        drain = world.drain()
        drain.run_once()
        with world.database.session() as session:
            delete_workspace(session, world.workspace_id)
        finish(drain)
    assert world.attempts() == []


def test_a_cut_connection_ends_the_run_with_a_line_and_loses_no_outcome(
    world: World, postgres: EmbeddedPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        for _ in range(3):  # so that one claim takes three rows
            world.endpoint(receiver.url)
        world.publish()
        drain = world.drain()
        drain.run_once()
        with no_connections(postgres, world.settings.database_url):
            assert drain.run() == 0
        assert "the database cannot be used" in caplog.text
        assert "3 outcomes are kept" in caplog.text
        assert drain.run() == 3
    assert world.statuses() == {"delivered": 3}
    assert len(world.attempts()) == len(receiver.seen) == 3


def test_a_database_that_goes_away_between_outcomes_costs_none(world: World) -> None:
    with ScriptedServer(answering(OK)) as receiver:
        for _ in range(4):  # so that one claim takes four rows
            world.endpoint(receiver.url)
        world.publish()
        drain = world.drain()
        drain.run_once()

        def all_have_answered() -> bool:
            drain.collect(0.01)
            return drain.unrecorded == 4

        eventually(all_have_answered)
        # Refuses batches, so that outcomes are recorded one by one, and at the third of them cuts the connection.
        world.sql(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
            " IF (SELECT count(*) FROM inserted) > 1 THEN RAISE data_exception; END IF;"
            " IF (SELECT count(*) FROM attempts) > 2 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;"
            " RETURN NULL; END$$"
        )
        world.sql(
            "CREATE TRIGGER refuse AFTER INSERT ON attempts REFERENCING NEW TABLE AS inserted"
            " FOR EACH STATEMENT EXECUTE FUNCTION refuse()"
        )
        drain.run()
        assert world.statuses() == {"delivered": 2, "pending": 2}
        world.sql("DROP TRIGGER refuse ON attempts")
        drain.run()
        assert len(receiver.seen) == 4
    assert world.statuses() == {"delivered": 4}
    assert len(world.attempts()) == 4


def test_a_lease_shorter_than_an_attempt_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="LEASE_SECONDS is 16, but an attempt may take SEND_TOTAL_SECONDS"):
        Settings.from_env({**environ, "LEASE_SECONDS": "16"})
    assert Settings.from_env({**environ, "LEASE_SECONDS": "17"}).lease_seconds == 17


def test_what_freezes_in_a_transaction_keeps_its_rows_for_ten_seconds_at_most(world: World) -> None:
    """The server ends it. (A trial, `frozen at drain.commit`, freezes a process for longer than that.)"""
    database = delivery_database(world.settings.database_url)
    with database.begin() as connection:
        assert connection.scalar(text("SHOW idle_in_transaction_session_timeout")) == "10s"
    database.close()
