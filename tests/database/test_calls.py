"""Prepared statements past SQLAlchemy: what they carry, and what becomes of a connection that breaks under them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.exc import DataError, OperationalError

from app.database import calls
from app.database.calls import BOOL, INT4, INT8, MOMENT, TEXT, Prepared, Type, Unanswered
from app.database.connection import Database

MOMENTS = [
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(2026, 11, 20, 10, 0, 0, 123_456, UTC),
    datetime(9999, 12, 31, tzinfo=UTC),
]
CASES: list[tuple[str, list[Any]]] = [
    ("BOOL", [True, False]),
    ("INT4", [0, -1, 2**31 - 1]),
    ("INT8", [0, -(2**63), 2**63 - 1]),
    ("TEXT", ["", "é😀\u2028", "x" * 10_000]),
    ("BYTEA", [b"", b"\0\xff", b"x" * 10_000]),
    ("MOMENT", MOMENTS),
]

WHO = Prepared(b"test_who", "SELECT pg_backend_pid() AS pid", (), {"pid": INT4})
# A connection that turns out dead: the server ends it, if it is the one that is meant.
END_ONE = Prepared(
    b"test_end",
    "SELECT pg_backend_pid() AS pid, pg_backend_pid() = $1 AND pg_terminate_backend($1) AS ended",
    (INT4,),
    {"pid": INT4, "ended": BOOL},
)


@pytest.mark.parametrize(("name", "values"), CASES, ids=[name for name, _ in CASES])
def test_values_come_back_as_they_went(database: Database, name: str, values: list[Any]) -> None:
    one: Type = getattr(calls, name)
    many: Type = getattr(calls, f"{name}S")
    echo = Prepared(
        b"test_echo",
        "SELECT $1 AS one, $2 AS many, $3 AS none",
        (one, many, many),
        {"one": one, "many": many, "none": many},
    )
    for value in [*values, None]:
        for array in (values, [*values, None], [], None):
            (row,) = database.read(echo, value, array, [])
            assert (row.one, row.many, row.none) == (value, array, [])


def test_what_the_server_refuses_is_raised_as_sqlalchemy_does_and_the_connection_goes_on(database: Database) -> None:
    divide = Prepared(b"test_divide", "SELECT 1 / $1 AS x", (INT4,), {"x": INT4})
    ((pid,),) = database.read(WHO)
    with pytest.raises(DataError, match="division by zero") as error:
        database.write(divide, 0)
    assert not error.value.connection_invalidated
    assert database.read(divide, 1) == [(1,)]
    assert database.read(WHO) == [(pid,)]


def test_statements_are_prepared_again_where_they_were_forgotten(database: Database) -> None:
    ((pid,),) = database.read(WHO)
    with database.begin() as connection:
        connection.exec_driver_sql("DEALLOCATE ALL")
    assert database.read(WHO) == [(pid,)]


def test_a_connection_that_the_server_has_ended_is_not_used(database: Database, database_url: str) -> None:
    ((pid,),) = database.read(WHO)
    other = Database(database_url)
    other.read(Prepared(b"test_kill", "SELECT pg_terminate_backend($1, 5000) AS ok", (INT4,), {"ok": BOOL}), pid)
    assert database.write(WHO) != [(pid,)]
    other.close()


def test_a_read_on_a_connection_that_turns_out_dead_is_retried_once(database: Database) -> None:
    ((pid,),) = database.read(WHO)
    (row,) = database.read(END_ONE, pid)
    assert (row.pid == pid, row.ended) == (False, False)


def test_a_write_is_not_retried(database: Database) -> None:
    ((pid,),) = database.read(WHO)
    with pytest.raises(Unanswered):
        database.write(END_ONE, pid)
    assert database.write(WHO) != [(pid,)]


def test_a_server_that_cannot_be_reached_has_done_nothing() -> None:
    away = Database("postgresql://nobody:x@127.0.0.1:1/none")
    with pytest.raises(OperationalError):
        away.write(WHO)
    away.close()


def test_types_are_numbered_as_in_postgresql(database: Database) -> None:
    names = {"bool": BOOL, "int4": INT4, "int8": INT8, "text": TEXT, "timestamptz": MOMENT}
    with database.begin() as connection:
        for name, type in names.items():
            assert connection.exec_driver_sql(f"SELECT '{name}'::regtype::oid").scalar() == type.oid
