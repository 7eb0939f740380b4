"""Calls that take one round trip: a prepared statement, sent in binary past SQLAlchemy, in a transaction of its own.

For what every request does. A call costs a tenth of what a transaction of four statements does, most of which is
Python's. Errors are those that SQLAlchemy would raise, so that nobody has to know which way a statement went.
"""

from __future__ import annotations

import json
import struct
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psycopg
from psycopg import generators
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import PoolProxiedConnection

from app.database.patience import PatientConnection, is_useless

BINARY = 1
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's
_MICROSECOND = timedelta(microseconds=1)
_LENGTH = struct.Struct("!i")
_EMPTY_ARRAY = struct.Struct("!iiI")  # no dimensions, no NULLs, the elements' type
_ARRAY = struct.Struct("!iiIii")  # one dimension, whether there are NULLs, the elements' type, how many, from 1
_NULL = _LENGTH.pack(-1)

Value = bytes | None


class Unanswered(RuntimeError):
    """The connection broke behind a statement that was sent: whether it has been executed is not known."""


@dataclass(frozen=True, slots=True)
class Type:
    """How PostgreSQL writes a type in binary. oid: the type's number in pg_type.dat."""

    oid: int
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A statement with $1, $2, …. name: unique in the product; connections keep the statement under it.

    takes: the types of the parameters. gives: the columns of the rows, by which each row names its values.
    """

    name: bytes
    text: str
    takes: tuple[Type, ...]
    gives: Mapping[str, Type]
    row: Callable[..., Any] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "row", namedtuple("Row", self.gives))


def _number(oid: int, format: str) -> Type:
    packing = struct.Struct(format)
    return Type(oid, packing.pack, lambda raw: packing.unpack(raw)[0])


BOOL, INT4, INT8 = _number(16, "!?"), _number(23, "!i"), _number(20, "!q")
FLOAT8 = _number(701, "!d")
TEXT = Type(25, str.encode, bytes.decode)
BYTEA = Type(17, bytes, bytes)
MOMENT = Type(
    1184,
    lambda moment: struct.pack("!q", (moment - _EPOCH) // _MICROSECOND),
    lambda raw: _EPOCH + timedelta(microseconds=struct.unpack("!q", raw)[0]),
)


JSON = Type(114, lambda value: json.dumps(value).encode(), json.loads)
JSONB = Type(3802, lambda value: b"\x01" + json.dumps(value).encode(), lambda raw: json.loads(raw[1:]))


def _array_of(oid: int, element: Type) -> Type:
    return Type(oid, lambda values: _encoded(element, values), lambda raw: _decoded(element, raw))


BOOLS, INT4S, INT8S = _array_of(1000, BOOL), _array_of(1007, INT4), _array_of(1016, INT8)
TEXTS, BYTEAS, MOMENTS = _array_of(1009, TEXT), _array_of(1001, BYTEA), _array_of(1185, MOMENT)


def _encoded(element: Type, values: Sequence[Any]) -> bytes:
    if not values:
        return _EMPTY_ARRAY.pack(0, 0, element.oid)
    parts = [b""]
    encode, length, has_null = element.encode, _LENGTH.pack, 0
    for value in values:
        if value is None:
            has_null = 1
            parts.append(_NULL)
        else:
            raw = encode(value)
            parts += (length(len(raw)), raw)
    parts[0] = _ARRAY.pack(1, has_null, element.oid, len(values), 1)
    return b"".join(parts)


def _decoded(element: Type, raw: bytes) -> list[Any]:
    dimensions, _, _ = _EMPTY_ARRAY.unpack_from(raw)
    if not dimensions:
        return []
    values: list[Any] = []
    at, length, decode = _ARRAY.size, _LENGTH.unpack_from, element.decode
    while at < len(raw):
        (size,) = length(raw, at)
        at += 4
        if size < 0:
            values.append(None)
        else:
            values.append(decode(raw[at : at + size]))
            at += size
    return values


def call(lent: PoolProxiedConnection, prepared: Prepared, values: Sequence[Any]) -> list[Any]:
    """Run a statement on a connection that the pool has lent; the rows.

    Raises DBAPIError for what the server refuses, and Unanswered. A connection that is of no more use is closed then,
    which lent.is_valid says.
    """
    connection = cast(PatientConnection, lent.dbapi_connection)
    try:
        rows = run(connection, prepared, values)
    except psycopg.Error as error:
        useless = is_useless(error, connection)
        if useless:
            lent.invalidate(error)
        if connection.sent and error.sqlstate is None:
            raise Unanswered(str(error)) from error
        raise as_sqlalchemy(prepared.text, error, useless) from error
    except BaseException:  # killed in the middle: what comes on this connection belongs to nobody
        lent.invalidate()
        raise
    return rows


def run(connection: PatientConnection, prepared: Prepared, values: Sequence[Any]) -> list[Any]:
    """Run a statement on this connection; the rows. For who sees to the connection and its errors himself.

    Raises psycopg.Error, without an sqlstate where the connection broke.
    """
    connection.sent = False
    parameters = [
        None if value is None else type.encode(value) for type, value in zip(prepared.takes, values, strict=True)
    ]
    try:
        result = _execute(connection, prepared, parameters)
    except psycopg.errors.InvalidSqlStatementName:  # psycopg forgets all statements of a connection when it rolls back
        connection.prepared.clear()
        result = _execute(connection, prepared, parameters)
    decoders = [type.decode for type in prepared.gives.values()]
    return [
        prepared.row(
            *[
                None if (raw := result.get_value(row, column)) is None else decode(raw)
                for column, decode in enumerate(decoders)
            ]
        )
        for row in range(result.ntuples)
    ]


def _execute(connection: PatientConnection, prepared: Prepared, parameters: list[Value]) -> Any:
    """Raises psycopg.Error."""
    pgconn = connection.pgconn
    if pgconn.status != ConnStatus.OK:
        raise psycopg.OperationalError("the connection is closed")
    types = [type.oid for type in prepared.takes]
    formats = [BINARY] * len(parameters)
    if not connection.keeps_statements:
        connection.sent = True
        pgconn.send_query_params(prepared.text.encode(), parameters, types, formats, result_format=BINARY)
        return _result(connection)
    if prepared.name not in connection.prepared:
        pgconn.send_prepare(prepared.name, prepared.text.encode(), types)
        _result(connection)
        connection.prepared.add(prepared.name)
    connection.sent = True
    pgconn.send_query_prepared(prepared.name, parameters, formats, result_format=BINARY)
    return _result(connection)


def _result(connection: PatientConnection) -> Any:
    """The only result of what was sent. Raises psycopg.Error."""
    results = connection.wait(generators.execute(connection.pgconn))
    result = results[-1]
    if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        fatal = result.error_field(DiagnosticField.SEVERITY_NONLOCALIZED) in (b"FATAL", b"PANIC")
        if fatal or result.error_field(DiagnosticField.SQLSTATE) is None:
            # It says how the connection ended, not what became of the statement.
            raise psycopg.OperationalError(result.get_error_message())
        raise psycopg.errors.error_from_result(result, encoding="utf-8")
    return result


def as_sqlalchemy(statement: str, error: psycopg.Error, useless: bool) -> DBAPIError:
    """The error as SQLAlchemy raises it: of the class that fits, and without parameters, which may be secret."""
    raised = DBAPIError.instance(
        statement, None, error, psycopg.Error, hide_parameters=True, connection_invalidated=useless
    )
    assert isinstance(raised, DBAPIError)
    return raised
