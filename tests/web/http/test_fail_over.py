"""A database that only reads, as after a fail-over: writers are told to come again, and readers notice nothing."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import DBAPIError

from app.database.connection import Database
from app.web.engine import engine_of
from app.web.http.problems import problem_of
from tests.web.doors import Door

EVENT = {"stream": {"kind": "call", "id": "c1"}, "type": "call.started", "data": {}}


def test_a_read_only_database_is_unavailable_to_writers_and_found_again(acme: Door, database: Database) -> None:
    name = database.url.rpartition("/")[2]
    engine_of(acme.app).close()
    with database.begin() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    for method, path, body in (
        ("POST", "/v1/events", EVENT),
        ("PUT", "/v1/streams/call/c1", {}),
        ("POST", "/v1/endpoints", {"url": "https://example.com/"}),
    ):
        refused = acme.ask(method, path, body)
        assert (refused.status_code, refused.get_json()["code"]) == (503, "unavailable"), path
        assert refused.headers["Retry-After"] == "1"
    assert acme.get("/v1/streams")["data"] == []
    with database.begin() as connection:  # the database has changed the setting for new connections only
        connection.exec_driver_sql("SET TRANSACTION READ WRITE")
        connection.exec_driver_sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    assert acme.ask("POST", "/v1/events", EVENT).status_code == 202


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELECT 1/0", "bad_request"),
        ("INSERT INTO workspaces VALUES ('a', NULL, 'a', now())", "conflict"),
        ("INSERT INTO events VALUES ('e', '1999-01-01', 'w', 1, 1, 't', now(), '')", "unavailable"),
        ("SELECT FROM not_migrated_yet", "unavailable"),
        ("DO $$ BEGIN RAISE disk_full; END $$", "unavailable"),
    ],
)
def test_only_what_is_the_requests_fault_is_said_to_be(
    acme: Door, database: Database, statement: str, code: str
) -> None:
    with database.engine.connect() as connection, pytest.raises(DBAPIError) as error:
        connection.exec_driver_sql(statement)
    with acme.app.test_request_context("/v1/events"):
        problem = problem_of(error.value)
    assert (problem.code, problem.retry_after_seconds) == (code, 1 if code == "unavailable" else None)
