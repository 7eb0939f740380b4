"""A connection of one's own for calls (calls.py): for whoever asks the same few things all day long, in one thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import psycopg

from app.database.calls import Prepared, as_sqlalchemy, run
from app.database.patience import PatientConnection, is_useless

if TYPE_CHECKING:
    from app.database.connection import Database


class Direct:
    """One connection, made at its first use, kept open, and made again after it was lost. Belongs to one thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        database.keep(self)
        self._connection: PatientConnection | None = None
        self._pooled: Any = None  # the pool's wrapper of it

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, which may have been lost since its last use."""
        return self._connection is not None

    def call(self, prepared: Prepared, values: Sequence[Any]) -> list[Any]:
        """Run a statement, which is a transaction of its own; its rows.

        Raises sqlalchemy's DBAPIError as everybody else's connection does. When the connection breaks, nobody knows
        whether the statement has taken effect.
        """
        try:
            if self._connection is None:
                self._connection = self._connect()
            return run(self._connection, prepared, values)
        except psycopg.Error as error:
            # After a fail-over the connection may lead to a server that only reads.
            if self._connection is not None and is_useless(error, self._connection):
                self.close()
            raise as_sqlalchemy(prepared.text, error, False) from error

    def close(self) -> None:
        """Give the connection back to the server; the next call makes another."""
        pooled, self._pooled, self._connection = self._pooled, None, None
        if pooled is not None:
            pooled.close()

    def _connect(self) -> PatientConnection:
        self._pooled = self._database.engine.raw_connection()
        connection: PatientConnection = self._pooled.driver_connection
        self._pooled.detach()  # the pool may make another; this one is closed with its wrapper
        return connection
