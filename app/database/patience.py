"""For how long PostgreSQL is waited for: a server that falls silent must not keep anybody waiting for ever.

A connection can fall silent without being closed: a firewall forgets it, a server freezes. The server's own time-outs
do not help then, and TCP's only where the network is at fault. So every wait of a connection has an end here, after
which the connection is closed; what waited gets an OperationalError, as it does from a connection that was cut.
"""

from __future__ import annotations

import fcntl
import select
import struct
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import ConnStatus
from psycopg.waiting import Ready, Wait
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

PING_SECONDS = 3.0  # a healthy server answers in a millisecond; one that checkpoints or swaps, within a second or two
CONNECT_SECONDS = 5
LEAST_CONNECT_SECONDS = 2  # libpq allows no less
READ_ONLY = "25006"  # SQLSTATE: cannot execute … in a read-only transaction
# A connection that was heard from so lately is used without a ping. Firewalls forget after minutes, and a server that
# ends its connections says so, which is_quiet sees.
TRUST_SECONDS = 5.0
# Beside the limits above, for connections that are idle in the pool: the kernel finds out after about 20 s.
TCP = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3}
USER_TIMEOUT_MILLISECONDS = 9_000  # of data that the other side does not acknowledge
# The server likewise, so that a client that is gone does not hold its locks.
SERVER_TCP = (
    "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=3 -c tcp_keepalives_count=3"
    f" -c tcp_user_timeout={USER_TIMEOUT_MILLISECONDS}"
)

T = TypeVar("T")

# How a connection waits: (its socket, what for, how many seconds at most) -> what is ready, None when the time is over.
# An error or a hang-up counts as ready: whoever reads or writes finds it.
WaitReady = Callable[[int, Wait, float], Ready | None]
_EVENTS = {Wait.R: select.POLLIN, Wait.W: select.POLLOUT, Wait.RW: select.POLLIN | select.POLLOUT}


def by_poll(fileno: int, wanted: Wait, seconds: float) -> Ready | None:
    """Wait as any thread may, and any greenlet: what is made here is of what `select` has now, after gevent's patching
    of it, too."""
    poll = select.poll()
    poll.register(fileno, _EVENTS[wanted])
    happened = poll.poll(seconds * 1000)
    if not happened:
        return None
    events = happened[0][1]
    ready = (Ready.R if events & select.POLLIN else 0) | (Ready.W if events & select.POLLOUT else 0)
    return Ready(ready or wanted)


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


@dataclass(slots=True)
class Trust:
    """How the connections of one pool are trusted. seconds: for how long after an answer they need no ping. since: in
    monotonic seconds; those made before are of no more use."""

    seconds: float = TRUST_SECONDS
    since: float = 0.0


class PatientConnection(psycopg.Connection[Any]):
    """A connection none of whose waits is without an end. limit_seconds: of one wait, so of one statement.

    ready: how it waits. heard_at: when the server last answered, in monotonic seconds. keeps_statements: whether what
    is prepared is there at the next statement, too. prepared, sent: kept by calls.py, the names of the statements that
    the server has prepared here, and whether the present call has gone out.
    """

    limit_seconds: float = CONNECT_SECONDS
    ready: WaitReady
    heard_at: float = 0.0
    sent: bool = False
    keeps_statements: bool = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepared: set[bytes] = set()
        self.trust = Trust()
        self.ready = by_poll
        self.made_at = time.monotonic()

    @property
    def needs_no_ping(self) -> bool:
        """Whether the server was heard from lately, and has said nothing unasked since."""
        return (
            not self.closed
            and self.made_at >= self.trust.since
            and time.monotonic() - self.heard_at < self.trust.seconds
            and self._is_quiet()
        )

    def wait(self, gen: PQGen[T], interval: float = 0.0, timeout: float | None = None) -> T:
        """Run psycopg's exchange with the server. Closes the connection and raises TimeIsUp when it takes too long."""
        limits = (_each_seconds.get() or self.limit_seconds, remaining_seconds(), timeout)
        limit_seconds = min(limit for limit in limits if limit is not None)
        try:
            result = _until(gen, self.ready, self.pgconn.socket, time.monotonic() + limit_seconds)
        except TimeIsUp:
            self.close()  # an answer that comes later would be taken for the next statement's
            raise
        self.heard_at = time.monotonic()
        return result

    def _is_quiet(self) -> bool:
        """Whether nothing has come since the last answer. What comes unasked is mostly a farewell: the server ends."""
        waiting = fcntl.ioctl(self.pgconn.socket, termios.FIONREAD, _NUMBER.pack(0))
        if _NUMBER.unpack(waiting)[0]:
            return False
        try:
            self.pgconn.consume_input()
        except psycopg.OperationalError:  # the other side has closed
            return False
        return self.pgconn.status == ConnStatus.OK


_NUMBER = struct.Struct("i")


def _until(gen: PQGen[T], ready: WaitReady, fileno: int, ends_at: float) -> T:
    """Run psycopg's generator. Raises TimeIsUp when nothing has come at a time."""
    try:
        wanted = next(gen)
        while True:
            happened = ready(fileno, wanted, max(0.0, ends_at - time.monotonic()))
            if happened is None:
                raise TimeIsUp("PostgreSQL does not answer")
            wanted = gen.send(happened)
    except StopIteration as done:
        result: T = done.value
        return result


def is_useless(error: psycopg.Error, connection: psycopg.Connection[Any]) -> bool:
    """Whether a connection is of no more use: cut, or leading to a server that only reads. After a fail-over that is
    the former primary, or a standby; a new connection may find the present primary."""
    return connection.closed or connection.broken or error.sqlstate == READ_ONLY


class PatientDialect(PGDialect_psycopg):
    """SQLAlchemy's dialect for psycopg, with connections of this kind."""

    supports_statement_cache = True

    def connect(self, *cargs: Any, **cparams: Any) -> Any:
        """Connect, in what is left of the present block's time. cparams: libpq's, limit_seconds, trust, ready,
        keeps_statements."""
        limit_seconds, trust, ready = cparams.pop("limit_seconds"), cparams.pop("trust"), cparams.pop("ready")
        keeps_statements = cparams.pop("keeps_statements")
        remaining = remaining_seconds()
        if remaining == 0:
            raise TimeIsUp("PostgreSQL has not answered in time")
        seconds = CONNECT_SECONDS if remaining is None else min(CONNECT_SECONDS, int(remaining))
        cparams["connect_timeout"] = max(LEAST_CONNECT_SECONDS, seconds)
        connection = PatientConnection.connect(*cargs, **cparams)
        connection.limit_seconds, connection.trust, connection.ready = limit_seconds, trust, ready
        connection.keeps_statements = keeps_statements
        return connection

    def do_ping(self, dbapi_connection: Any) -> bool:
        """Whether a connection from the pool is alive. It is asked when it has been silent, or something has come
        unasked; and soon, so that there is time to make another."""
        if dbapi_connection.made_at < dbapi_connection.trust.since:
            return False
        if dbapi_connection.needs_no_ping:
            return True
        with within(PING_SECONDS):
            return bool(super().do_ping(dbapi_connection))  # type: ignore[no-untyped-call]

    def is_disconnect(self, e: Any, connection: Any, cursor: Any) -> bool:
        """Whether the pool's connections are of no more use."""
        cut = super().is_disconnect(e, connection, cursor)  # type: ignore[no-untyped-call]
        return bool(cut) or getattr(e, "sqlstate", None) == READ_ONLY


DRIVER = "postgresql+twofold"
registry.register(DRIVER.replace("+", "."), __name__, PatientDialect.__name__)
