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

from app.core.database_url import without_pooler
from app.database import calls, patience
from app.database.calls import Prepared, Unanswered
from app.database.direct import Direct
from app.database.patience import PatientConnection

POOL_SIZE = 10  # per process; PostgreSQL's default of 100 connections then serves several processes
MAX_OVERFLOW = 10
MOST_KEPT = 4  # connections that go from call to call past the pool
STATEMENT_SECONDS = 30.0
POOL_SECONDS = 10.0  # while the pool is used up for so long, requests are answered 503 rather than hang
# Of one read in all, however it goes: a place in the pool, a ping, a connection, an answer that does not come, and all
# of it once more. With a connection's least time (patience.LEAST_CONNECT_SECONDS) 12 s, as long as any call may take.
READ_SECONDS = 10.0
# A connection that is dead says so at once. Later there is no time for a place in the pool once more.
ONCE_MORE_SECONDS = 1.0
ANSWER_SECONDS = 2.0  # a server that has cancelled a statement says so within this time, or is silent

# Have indexes read entry by entry until the transaction ends, so that a bound on rows is one on work: a bitmap would be
# made of all that lies behind first, a hash or a merge of all rows of a table, and what is sorted is read to its end.
# Where there is no other way, a plan is taken for so dear that PostgreSQL up to 17 would compile it, for seconds.
ROW_BY_ROW = """
SELECT set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true),
  set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true),
  set_config('enable_sort', 'off', true), set_config('jit', 'off', true)
"""


def sqlalchemy_url(database_url: str, driver: str = "postgresql+psycopg") -> str:
    """A libpq URL (postgresql:// or postgres://), perhaps with a pooler, as SQLAlchemy wants it, for psycopg 3."""
    return f"{driver}://{without_pooler(database_url)[0].partition('://')[2]}"


class Database:
    """Connections for one process. Make one after the fork: psycopg connections are not fork-safe."""

    def __init__(
        self,
        database_url: str,
        *,
        pool_size: int = POOL_SIZE,
        max_overflow: int = MAX_OVERFLOW,
        options: str = "",
        read_only: bool = False,
        statement_seconds: float = STATEMENT_SECONDS,
        read_seconds: float = READ_SECONDS,
        trust_seconds: float = patience.TRUST_SECONDS,
        ready: patience.WaitReady = patience.by_poll,
    ) -> None:
        """max_overflow: connections besides the pool's, which are closed after their use.

        options: further server settings of its connections, as "-c name=value …"; behind a pooler they are the role's.

        read_only: whether its transactions can only read.

        statement_seconds: after which the server cancels a statement. A little later the connection is given up.
        read_seconds: how long `read` may take in all.
        trust_seconds: for how long after an answer a connection is used again without a ping.
        ready: how its connections wait for the server.
        """
        self.url = database_url
        self._statement_seconds, self._read_seconds = statement_seconds, read_seconds
        self._kept: list[PoolProxiedConnection] = []  # from calls, for the next ones; idle
        self._trust, self._ready = patience.Trust(trust_seconds), ready
        self._pool_size, self._max_overflow = pool_size, max_overflow
        self._options, self._read_only = options, read_only
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
                    pool_timeout=POOL_SECONDS,
                    hide_parameters=True,  # errors are logged, and parameters may be secret
                    pool_pre_ping=True,  # a restarted server costs a reconnect, not an error (patience.py says how)
                    pool_use_lifo=True,  # the connection that was heard from last
                    connect_args={
                        "limit_seconds": self._statement_seconds + ANSWER_SECONDS,
                        "trust": self._trust,
                        "ready": self._ready,
                        "application_name": "twofold",
                        "tcp_user_timeout": patience.USER_TIMEOUT_MILLISECONDS,
                        **patience.TCP,
                        **self._of_session(),
                    },
                    execution_options={"postgresql_readonly": True} if self._read_only else {},
                )
            return self._engine

    def _of_session(self) -> dict[str, Any]:
        """How connections begin that keep their session."""
        if without_pooler(self.url)[1]:
            return {"keeps_statements": False, "prepare_threshold": None}
        options = (
            f"-c timezone=UTC -c statement_timeout={int(self._statement_seconds * 1000)} -c lock_timeout=10000"
            f" -c idle_in_transaction_session_timeout=60000 {patience.SERVER_TCP} {self._options}"
        )
        return {"keeps_statements": True, "options": options}

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction on a Core connection; commits at the end, rolls back on an exception."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """A Core connection on which each statement is a transaction of its own, in one round trip: the server lets go
        of its locks whatever becomes of this process."""
        with self.engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction on an ORM session; commits at the end, rolls back on an exception."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def read(self, prepared: Prepared, *values: Any) -> list[Any]:
        """The rows of a prepared statement that only reads, in one round trip. One that is not answered because the
        connection turns out dead is sent once more. Raises DBAPIError, TimeoutError, Unanswered."""
        begun = time.monotonic()
        with patience.within(self._read_seconds):
            try:
                return self.write(prepared, *values)
            except Unanswered:
                if time.monotonic() - begun > ONCE_MORE_SECONDS:
                    raise
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
