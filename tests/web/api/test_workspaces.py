"""Workspaces: made by the platform, reachable by id and uid, deleted with everything in them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from app.database.connection import Database
from app.database.partitions import make_partitions
from app.ledger.ledger import GROUPS_AT_ONCE
from app.web.engine import engine_of
from tests.processes import eventually
from tests.web.conftest import open_workspace
from tests.web.doors import Door


def test_a_workspace_is_made_read_renamed_and_listed(platform: Door) -> None:
    made = platform.post("/v1/workspaces", {"name": "Acme", "uid": "acme"})
    assert platform.get("/v1/workspaces/acme") == platform.get(f"/v1/workspaces/{made['id']}") == made
    changed = platform.patch("/v1/workspaces/acme", {"name": "Acme Ltd", "uid": "acme-ltd"})
    assert changed == made | {"name": "Acme Ltd", "uid": "acme-ltd"}
    platform.get("/v1/workspaces/acme", 404)
    assert platform.get("/v1/workspaces")["data"] == [changed]


def test_without_a_uid_the_id_serves(platform: Door) -> None:
    made = platform.post("/v1/workspaces", {"name": "Plain"})
    assert made["uid"] == made["id"]


def test_a_uid_is_taken_once(platform: Door, acme: Door) -> None:
    assert platform.post("/v1/workspaces", {"name": "Again", "uid": "acme"}, 409)["code"] == "conflict"
    platform.post("/v1/workspaces", {"name": "Other", "uid": "other"})
    platform.patch("/v1/workspaces/other", {"uid": "acme"}, 409)
    assert "ws_" in platform.post("/v1/workspaces", {"name": "Sly", "uid": acme.workspace_id}, 422)["detail"]


def test_a_list_is_paged_without_gap_or_repeat(platform: Door) -> None:
    made = [platform.post("/v1/workspaces", {"name": f"w{n}"})["id"] for n in range(7)]
    seen = [row["id"] for row in platform.pages("/v1/workspaces?limit=3")]
    assert sorted(seen) == sorted(made)
    assert seen == sorted(seen, reverse=True)


@pytest.mark.parametrize("cursor", ["x", "!!", "ws_1", "Zm9v", "%00", "é"])
def test_a_cursor_that_was_never_given_is_refused(platform: Door, cursor: str) -> None:
    problem = platform.get(f"/v1/workspaces?cursor={cursor}", 422)
    assert problem["errors"][0]["field"] == "cursor"


def test_a_workspace_key_reads_its_own_workspace_and_changes_none(acme: Door) -> None:
    assert acme.get("/v1/workspaces/acme")["id"] == acme.workspace_id
    for status, ask in (
        (403, lambda: acme.ask("GET", "/v1/workspaces")),
        (403, lambda: acme.ask("POST", "/v1/workspaces", {"name": "x"})),
        (403, lambda: acme.ask("PATCH", "/v1/workspaces/acme", {"name": "x"})),
        (403, lambda: acme.ask("DELETE", "/v1/workspaces/acme")),
    ):
        assert ask().status_code == status


def test_deleting_a_workspace_takes_everything_along_and_kills_its_keys(
    platform: Door, acme: Door, globex: Door, database: Database
) -> None:
    for door in (acme, globex):
        door.post("/v1/endpoints", {"url": "http://127.0.0.1:9/"})
        door.publish("call", "c1", "call.started")
        door.post("/v1/streams/call/c1/tokens")
    platform.delete("/v1/workspaces/acme")
    acme.get("/v1/streams", 401)
    platform.get("/v1/workspaces/acme", 404)
    platform.get("/v1/streams", 404, headers={"X-Workspace": acme.workspace_id})
    for table in ("api_keys", "streams", "stream_tokens", "events", "endpoints", "deliveries"):
        with database.begin() as connection:
            found = connection.execute(text(f"SELECT DISTINCT workspace_id FROM {table}")).scalars().all()
        assert set(found) - {None} == {globex.workspace_id}, table
    assert len(globex.get("/v1/events")["data"]) == 1


def test_no_attempt_outlives_its_workspace(platform: Door, acme: Door, globex: Door, database: Database) -> None:
    """Also those whose delivery is in a partition that was dropped already: they hold what receivers answered."""
    with database.begin() as connection:
        make_partitions(connection, datetime.now(UTC) - timedelta(weeks=8), 0)
        for weeks in (0, 8):
            for door in (acme, globex):
                connection.exec_driver_sql(
                    "INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at,"
                    " duration_ms, outcome, response_body, trigger) VALUES (gen_random_uuid()::text,"
                    " now() - make_interval(weeks => %(weeks)s), %(workspace)s, 'ep', 'gone', 1, now(), 1, 'success',"
                    " 'private', 'schedule')",
                    {"weeks": weeks, "workspace": door.workspace_id},
                )
    platform.delete("/v1/workspaces/acme")
    with database.begin() as connection:
        left = connection.execute(text("SELECT workspace_id, count(*) FROM attempts GROUP BY 1")).all()
    assert left == [(globex.workspace_id, 2)]


def test_a_request_that_was_let_in_before_its_workspace_was_deleted_finds_none(
    acme: Door, globex: Door, platform: Door, database: Database
) -> None:
    gates = [globex, open_workspace(platform, "second"), open_workspace(platform, "third")]
    assert len(gates) == GROUPS_AT_ONCE
    for gate in gates:
        gate.publish("call", "gate", "first")
    event = {"stream": {"kind": "call", "id": "c1"}, "type": "late", "data": {}}
    ledger = engine_of(platform.app).ledger
    ledger.lock_seconds = 30
    named = {"X-Workspace": acme.workspace_id}
    with ThreadPoolExecutor(5) as pool:
        with database.begin() as connection:
            connection.execute(text("SELECT 1 FROM streams WHERE external_id = 'gate' FOR UPDATE"))
            leading = [pool.submit(gate.publish, "call", "gate", "second") for gate in gates]  # wait for the locks
            waits = "SELECT FROM pg_locks WHERE NOT granted"
            eventually(lambda: len(connection.execute(text(waits)).all()) == GROUPS_AT_ONCE)
            late = pool.submit(platform.ask, "POST", "/v1/events", event, headers=named)
            own = pool.submit(acme.ask, "POST", "/v1/events", event)
            eventually(lambda: ledger.waiting == 2)
            platform.delete("/v1/workspaces/acme")
        assert all(one.result(10) for one in leading)
        assert (late.result(10).status_code, late.result().get_json()["code"]) == (404, "not_found")
        assert own.result(10).status_code == 401  # its keys went with it
    assert acme.ask("POST", "/v1/events", event).status_code == 401
    again = platform.ask("POST", "/v1/events", event, headers=named)
    assert (again.status_code, again.get_json()["code"]) == (404, "not_found")
