"""A connection for single statements, each a transaction of its own: one round trip, without BEGIN, COMMIT and pings.

For whoever asks the same few things all day long, by functions of the database. Statements are prepared and answers
come in binary form. No state of the session is needed, so a pooler may stand between.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import psycopg

from app.database.calls import as_sqlalchemy
from app.database.patience import is_useless

if TYPE_CHECKING:
    from app.database.connection import Database


class Direct:
    """One connection, made at its first use, kept open, and made again after it was lost. Belongs to one thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.keep(self)
        self._connection: Any = None
        self._pooled: Any = None  # the pool's wrapper of it

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, which may have been lost since its last use."""
        return self._connection is not None

    def call(self, statement: bytes, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a statement (`%s` for each value) and commit; its rows.

        Raises sqlalchemy's DBAPIError as everybody else's connection does. When the connection breaks, nobody knows
        whether the statement has taken effect.
        """
        try:
            if self._connection is None:
                self._connection = self._connect()
            cursor = self._connection.cursor(binary=True)
            rows: list[tuple[Any, ...]] = cursor.execute(statement, values, prepare=True).fetchall()
            return rows
        except psycopg.Error as error:
            # After a fail-over the connection may lead to a server that only reads.
            if self._connection is not None and is_useless(error, self._connection):
                self.close()
            raise as_sqlalchemy(statement.decode(), error, False) from error

    def close(self) -> None:
        """Give the connection back to the server; the next call makes another."""
        pooled, self._pooled, self._connection = self._pooled, None, None
        if pooled is not None:
            pooled.close()

    def _connect(self) -> Any:
        self._pooled = self._database.engine.raw_connection()
        connection: Any = self._pooled.driver_connection
        self._pooled.detach()  # the pool may make another; this one is closed with its wrapper
        connection.autocommit = True
        return connection
