"""Connections to PostgreSQL: one pool for each process, short transactions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.orm import Session

POOL_SIZE = 10  # per process; PostgreSQL's default of 100 connections then serves several processes
MAX_OVERFLOW = 10


def sqlalchemy_url(database_url: str) -> str:
    """A libpq URL (postgresql:// or postgres://) as SQLAlchemy wants it, for psycopg 3."""
    return "postgresql+psycopg://" + database_url.partition("://")[2]


class Database:
    """Connections for one process. Make one after the fork: psycopg connections are not fork-safe."""

    def __init__(self, database_url: str, *, pool_size: int = POOL_SIZE, options: str = "") -> None:
        """options: further server settings of its connections, as "-c name=value …"."""
        self.url = database_url
        self._pool_size = pool_size
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
                    sqlalchemy_url(self.url),
                    pool_size=self._pool_size,
                    max_overflow=MAX_OVERFLOW,
                    pool_timeout=10,  # seconds: while the pool is used up, requests are answered 503 rather than hang
                    hide_parameters=True,  # errors are logged, and parameters may be secret
                    pool_pre_ping=True,  # a restarted server costs a reconnect, not an error
                    connect_args={
                        "connect_timeout": 5,
                        "application_name": "twofold",
                        "options": "-c timezone=UTC -c statement_timeout=30000 -c lock_timeout=10000"
                        f" -c idle_in_transaction_session_timeout=60000 {self._options}",
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
