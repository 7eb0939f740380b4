"""Connections to PostgreSQL: one pool for each process, short transactions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.orm import Session

from app.database import patience

POOL_SIZE = 10  # per process; PostgreSQL's default of 100 connections then serves several processes
MAX_OVERFLOW = 10
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
    ) -> None:
        """max_overflow: connections besides the pool's, which are closed after their use.

        options: further server settings of its connections, as "-c name=value …".

        statement_seconds: after which the server cancels a statement. A little later the connection is given up.
        """
        self.url = database_url
        self._statement_seconds = statement_seconds
        self._pool_size, self._max_overflow = pool_size, max_overflow
        self._options = options
        self._engine: Engine | None = None
        # Without the lock, 64 greenlets at once made 50 pools and used up the server's connections.
        self._lock = threading.Lock()

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
                    pool_pre_ping=True,  # a restarted server costs a reconnect, not an error
                    connect_args={
                        "limit_seconds": self._statement_seconds + ANSWER_SECONDS,
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

    def close(self) -> None:
        """Give all connections back to the server."""
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None
