"""For how long PostgreSQL is waited for: a server that falls silent must not keep anybody waiting for ever.

A connection can fall silent without being closed: a firewall forgets it, a server freezes. The server's own time-outs
do not help then, and TCP's only where the network is at fault. So every wait of a connection has an end here, after
which the connection is closed; what waited gets an OperationalError, as it does from a connection that was cut.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

PING_SECONDS = 3.0  # a healthy server answers in a millisecond; one that checkpoints or swaps, within a second or two
CONNECT_SECONDS = 5
LEAST_CONNECT_SECONDS = 2  # libpq allows no less
READ_ONLY = "25006"  # SQLSTATE: cannot execute … in a read-only transaction
LOOK_SECONDS = 0.1  # how often a wait looks at the clock
# Beside the limits above, for connections that are idle in the pool: the kernel finds out after about 20 s.
TCP = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3}
USER_TIMEOUT_MILLISECONDS = 9_000  # of data that the other side does not acknowledge
# The server likewise, so that a client that is gone does not hold its locks.
SERVER_TCP = (
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=3 -c tcp_keepalives_count=3"
    f" -c tcp_user_timeout={USER_TIMEOUT_MILLISECONDS}"
)

T = TypeVar("T")

# Monotonic seconds at which the present block's time is over; how long each wait in it may take.
_ends_at: ContextVar[float | None] = ContextVar("ends_at", default=None)
_each_seconds: ContextVar[float | None] = ContextVar("each_seconds", default=None)


class TimeIsUp(psycopg.OperationalError):
    """The server has not answered in time. Whether it has done what it was asked is not known."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """All waits for PostgreSQL in this block together take no longer than this; an outer block's end stays."""
    ends_at, outer = time.monotonic() + seconds, _ends_at.get()
    token = _ends_at.set(ends_at if outer is None else min(ends_at, outer))
    try:
        yield
    finally:
        _ends_at.reset(token)


@contextmanager
def allowing(seconds: float) -> Iterator[None]:
    """Each wait in this block may take so long, whatever its connection says: for statements known to be long."""
    token = _each_seconds.set(seconds)
    try:
        yield
    finally:
        _each_seconds.reset(token)


def remaining_seconds() -> float | None:
    """What is left of the present block's time, at least 0; None without a limit."""
    ends_at = _ends_at.get()
    return None if ends_at is None else max(0.0, ends_at - time.monotonic())


class PatientConnection(psycopg.Connection[Any]):
    """A connection none of whose waits is without an end. limit_seconds: of one wait, so of one statement."""

    limit_seconds: float

    def wait(self, gen: PQGen[T], interval: float = LOOK_SECONDS, timeout: float | None = None) -> T:
        """Run psycopg's exchange with the server. Closes the connection and raises TimeIsUp when it takes too long."""
        limits = (_each_seconds.get() or self.limit_seconds, remaining_seconds(), timeout)
        limit_seconds = min(limit for limit in limits if limit is not None)
        try:
            return super().wait(_until(gen, time.monotonic() + limit_seconds), interval)
        except TimeIsUp:
            self.close()  # an answer that comes later would be taken for the next statement's
            raise


def _until(gen: PQGen[T], ends_at: float) -> PQGen[T]:
    """psycopg's generator, which is told at least each LOOK_SECONDS that nothing has come, up to a time."""
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() >= ends_at:
                raise TimeIsUp("PostgreSQL does not answer")
            wanted = gen.send(ready)
    except StopIteration as done:
        result: T = done.value
        return result


class PatientDialect(PGDialect_psycopg):
    """SQLAlchemy's dialect for psycopg, with connections of this kind."""

    supports_statement_cache = True

    def connect(self, *cargs: Any, **cparams: Any) -> Any:
        """Connect, in what is left of the present block's time. cparams: libpq's, and limit_seconds."""
        limit_seconds = cparams.pop("limit_seconds")
        remaining = remaining_seconds()
        if remaining == 0:
            raise TimeIsUp("PostgreSQL has not answered in time")
        seconds = CONNECT_SECONDS if remaining is None else min(CONNECT_SECONDS, int(remaining))
        cparams["connect_timeout"] = max(LEAST_CONNECT_SECONDS, seconds)
        connection = PatientConnection.connect(*cargs, **cparams)
        connection.limit_seconds = limit_seconds
        return connection

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Whether a connection from the pool is alive; soon, so that there is time to make another."""
        with within(PING_SECONDS):
            return bool(super().do_ping(dbapi_connection))  # type: ignore[no-untyped-call]

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Whether the pool's connections are of no more use: also when they lead to a server that only reads. After a
        fail-over that is the former primary, or a standby; a new connection may find the present primary."""
        cut = super().is_disconnect(e, connection, cursor)  # type: ignore[no-untyped-call]
        return bool(cut) or getattr(e, "sqlstate", None) == READ_ONLY


DRIVER = "postgresql+twofold"
registry.register(DRIVER.replace("+", "."), __name__, PatientDialect.__name__)
