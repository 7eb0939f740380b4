"""Whose fault an error is, asked of a real server."""

from __future__ import annotations

import pytest
from sqlalchemy import event
from sqlalchemy.exc import DBAPIError

from app.database import faults
from app.database.connection import Database

REQUESTS = {
    "22021": "SELECT convert_from('\\xff', 'UTF8')",
    "22P02": "SELECT 'x'::int",
    "22003": "SELECT 2147483647::int + 1",
    "23505": "INSERT INTO workspaces VALUES ('a', 'a', 'a', now()), ('b', 'a', 'a', now())",
    "23503": "INSERT INTO streams (workspace_id, kind, external_id, created_at) VALUES ('none', 'k', 'i', now())",
    "23502": "INSERT INTO workspaces VALUES ('a', NULL, 'a', now())",
}
OTHERS = {
    "23514": "INSERT INTO events VALUES ('e', '1999-01-01', 'w', 1, 1, 't', now(), '')",  # no partition: ours to make
    "25006": "CREATE TABLE t ()",
    "42P01": "SELECT FROM not_migrated_yet",
    "42703": "SELECT not_migrated_yet FROM workspaces",
    "57014": "SELECT pg_sleep(2)",
    "P0001": "DO $$ BEGIN RAISE EXCEPTION 'no'; END $$",
    "XX000": "DO $$ BEGIN RAISE internal_error; END $$",
    "53100": "DO $$ BEGIN RAISE disk_full; END $$",
}


def error_of(database: Database, statement: str, *, read_only: bool = False) -> DBAPIError:
    with database.engine.connect() as connection:
        connection.exec_driver_sql("SET LOCAL statement_timeout = '500ms'")
        if read_only:
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        with pytest.raises(DBAPIError) as raised:
            connection.exec_driver_sql(statement)
    return raised.value


@pytest.mark.parametrize("state", REQUESTS)
def test_a_value_that_no_database_takes_is_the_requests_fault(database: Database, state: str) -> None:
    error = error_of(database, REQUESTS[state])
    assert faults.sqlstate(error) == state
    assert faults.is_requests_fault(error)


def test_so_is_a_check_that_a_row_does_not_pass(database: Database) -> None:
    error = error_of(database, "CREATE TEMP TABLE t (x int CHECK (x > 0)); INSERT INTO t VALUES (0)")
    assert faults.sqlstate(error) == faults.NO_PARTITION
    assert not faults.lacks_partition(error)
    assert faults.is_requests_fault(error)


def test_so_is_a_text_that_the_driver_cannot_send(database: Database) -> None:
    with database.engine.connect() as connection, pytest.raises(DBAPIError) as raised:
        connection.exec_driver_sql("SELECT %(x)s::text", {"x": "a\0b"})
    assert faults.sqlstate(raised.value) is None
    assert faults.is_requests_fault(raised.value)


@pytest.mark.parametrize("state", OTHERS)
def test_everything_else_is_not(database: Database, state: str) -> None:
    error = error_of(database, OTHERS[state], read_only=state == "25006")
    assert faults.sqlstate(error) == state
    assert not faults.is_requests_fault(error)
    assert faults.lacks_partition(error) == (state == "23514")


def test_a_lost_connection_is_not(database: Database) -> None:
    error = error_of(database, "SELECT pg_terminate_backend(pg_backend_pid())")
    assert not faults.is_requests_fault(error)
    assert faults.may_pass(error)


def test_a_read_only_server_is_left_for_another_connection(database: Database) -> None:
    """After a fail-over the pool's connections may lead to the former primary."""
    error = error_of(database, "CREATE TABLE t ()", read_only=True)
    assert faults.may_pass(error)
    connects: list[object] = []
    event.listen(database.engine, "do_connect", lambda *arguments: connects.append(arguments))
    with database.begin() as connection:
        connection.exec_driver_sql("SELECT 1")
    assert len(connects) == 1
