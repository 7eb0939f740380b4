"""Connections to PostgreSQL: one pool for each process, short transactions."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import psycopg
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session
from sqlalchemy.pool import PoolProxiedConnection, QueuePool

from app.database import calls, patience
from app.database.calls import Prepared, Unanswered
from app.database.direct import Direct
from app.database.patience import PatientConnection

POOL_SIZE = 10  # per process; PostgreSQL's default of 100 connections then serves several processes
MAX_OVERFLOW = 10
MOST_KEPT = 4  # connections that go from call to call past the pool
STATEMENT_SECONDS = 30.0
ANSWER_SECONDS = 2.0  # a server that has cancelled a statement says so within this time, or is silent


def sqlalchemy_url(database_url: str, driver: str = "postgresql+psycopg") -> str:
    """A libpq URL (postgresql:// or postgres://) as SQLAlchemy wants it, for psycopg 3."""
    return f"{driver}://{database_url.partition('://')[2]}"


class Database:
    """Connections for one process. Make one after the fork: psycopg connections are not fork-safe."""

    def __init__(
        self,
        database_url: str,
        *,
        pool_size: int = POOL_SIZE,
        max_overflow: int = MAX_OVERFLOW,
        options: str = "",
        statement_seconds: float = STATEMENT_SECONDS,
        trust_seconds: float = patience.TRUST_SECONDS,
    ) -> None:
        """max_overflow: connections besides the pool's, which are closed after their use.

        options: further server settings of its connections, as "-c name=value …".

        statement_seconds: after which the server cancels a statement. A little later the connection is given up.
        trust_seconds: for how long after an answer a connection is used again without a ping.
        """
        self.url = database_url
        self._statement_seconds = statement_seconds
        self._kept: list[PoolProxiedConnection] = []  # from calls, for the next ones; idle
        self._trust = patience.Trust(trust_seconds)
        self._pool_size, self._max_overflow = pool_size, max_overflow
        self._options = options
        self._engine: Engine | None = None
        self._directs: list[Direct] = []
        # Without the lock, 64 greenlets at once made 50 pools and used up the server's connections.
        self._lock = threading.Lock()

    @property
    def most_connections(self) -> int:
        """Connections that may be in use at once, those of direct() apart."""
        return self._pool_size + self._max_overflow

    @property
    def in_use(self) -> int:
        """Of them, those that somebody uses now."""
        if self._engine is None:
            return 0
        return max(0, cast(QueuePool, self._engine.pool).checkedout() - len(self._kept))

    @property
    def engine(self) -> Engine:
        """The process's one SQLAlchemy engine, made at first use."""
        with self._lock:
            if self._engine is None:
                self._engine = create_engine(
                    sqlalchemy_url(self.url, patience.DRIVER),
                    pool_size=self._pool_size,
                    max_overflow=self._max_overflow,
                    pool_timeout=10,  # seconds: while the pool is used up, requests are answered 503 rather than hang
                    hide_parameters=True,  # errors are logged, and parameters may be secret
                    pool_pre_ping=True,  # a restarted server costs a reconnect, not an error (patience.py says how)
                    pool_use_lifo=True,  # the connection that was heard from last
                    connect_args={
                        "limit_seconds": self._statement_seconds + ANSWER_SECONDS,
                        "trust": self._trust,
                        "application_name": "twofold",
                        "tcp_user_timeout": patience.USER_TIMEOUT_MILLISECONDS,
                        **patience.TCP,
                        "options": f"-c timezone=UTC -c statement_timeout={int(self._statement_seconds * 1000)}"
                        " -c lock_timeout=10000 -c idle_in_transaction_session_timeout=60000"
                        f" {patience.SERVER_TCP} {self._options}",
                    },
                )
            return self._engine

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction on a Core connection; commits at the end, rolls back on an exception."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction on an ORM session; commits at the end, rolls back on an exception."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def read(self, prepared: Prepared, *values: Any) -> list[Any]:
        """The rows of a prepared statement that only reads, in one round trip. One that is not answered because the
        connection turns out dead is sent once more. Raises DBAPIError, TimeoutError, Unanswered."""
        try:
            return self.write(prepared, *values)
        except Unanswered:
            return self.write(prepared, *values)

    def write(self, prepared: Prepared, *values: Any) -> list[Any]:
        """The rows of a prepared statement, which is a transaction of its own, in one round trip.

        Raises DBAPIError and TimeoutError: nothing has been done. Raises Unanswered: that is not known.
        """
        lent = self._lent(prepared)
        try:
            return calls.call(lent, prepared, values)
        except (DBAPIError, Unanswered):
            if not lent.is_valid:
                self._trust.since = time.monotonic()  # the others lead where this one has led
            raise
        finally:
            if lent.is_valid and len(self._kept) < MOST_KEPT:
                self._kept.append(lent)
            elif lent.is_valid:
                lent.close()

    def _lent(self, prepared: Prepared) -> PoolProxiedConnection:
        """A connection for a call: one that was kept from the last, which costs a tenth of what the pool takes.

        Raises DBAPIError and TimeoutError.
        """
        while self._kept:
            lent = self._kept.pop()
            if cast(PatientConnection, lent.dbapi_connection).needs_no_ping:
                return lent
            lent.close()  # the pool looks after it
        try:
            return self.engine.raw_connection()
        except psycopg.Error as error:
            raise calls.as_sqlalchemy(prepared.text, error, False) from error

    def keep(self, direct: Direct) -> None:
        """Close this with the other connections."""
        self._directs.append(direct)

    def direct(self) -> Direct:
        """A connection of its own for single statements, closed with the others."""
        return Direct(self)

    def close(self) -> None:
        """Give all connections back to the server."""
        for direct in self._directs:
            direct.close()
        while self._kept:
            self._kept.pop().close()
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None
