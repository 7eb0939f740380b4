"""What `twofold doctor` looks at: each check answers findings, and says how to mend what is wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from app.settings import Settings, SettingsError

if TYPE_CHECKING:
    from sqlalchemy import Connection

State = Literal["ok", "warn", "fail", "skip"]

OLDEST_POSTGRES, OLDEST_REDIS = 15, (6, 2)
WARN_SECONDS, FAIL_SECONDS = 1.0, 60.0  # receivers refuse webhooks that are five minutes off; leave them their share
BUSY_SECONDS = 5.0  # the pulse has a standby deliver what has been due for so long
SILENT_SECONDS = 15.0  # a pool process that waits at the doorbell makes a round each few seconds
ANSWER_SECONDS = 5.0

# How new the server is, and what its clock says.
ABOUT_POSTGRES = "SELECT current_setting('server_version_num')::int / 10000, extract(epoch FROM clock_timestamp())"

# The migrations that the database is at; no row, or no table, before the first.
APPLIED = "SELECT version_num FROM alembic_version"


@dataclass(frozen=True)
class Finding:
    """What one check has found. mend: what to do about it."""

    name: str
    state: State
    detail: str
    mend: str = ""


def check_settings(environ: Mapping[str, str]) -> Finding:
    """Whether a process would start with this environment."""
    try:
        Settings.from_env(environ)
    except SettingsError as error:
        wrong = "; ".join(line.removeprefix("  - ") for line in str(error).split("\n")[1:])
        return Finding("settings", "fail", wrong, "docs/operations.md has every setting, with its default")
    return Finding("settings", "ok", "every setting makes sense")


def check_postgres(url: str) -> Iterator[Finding]:
    """PostgreSQL, its tables, its clock, and whether workers deliver."""
    from sqlalchemy.exc import SQLAlchemyError

    from app.core.problem import first_line
    from app.database.connection import Database

    database = Database(url, pool_size=1)
    try:
        with database.begin() as connection:
            asked_at = time.time()
            version, now = connection.exec_driver_sql(ABOUT_POSTGRES).one()
            answered_at = time.time()
        yield postgres_finding(version)
        yield clock_finding("PostgreSQL's clock", float(now), asked_at, answered_at)
        with database.begin() as connection:
            migrations = _migrations(connection)
        yield migrations
        if migrations.state == "ok":
            with database.begin() as connection:
                yield from _workers(connection)
    except SQLAlchemyError as error:
        mend = "start PostgreSQL, or mend DATABASE_URL; nothing is accepted without it"
        yield Finding("database", "fail", first_line(error), mend)
    finally:
        database.close()


def postgres_finding(version: int) -> Finding:
    """Whether the server is new enough. version: its first number."""
    if version < OLDEST_POSTGRES:
        return Finding("database", "fail", f"PostgreSQL {version}", f"upgrade it to {OLDEST_POSTGRES} or newer")
    return Finding("database", "ok", f"PostgreSQL {version} answers")


def clock_finding(name: str, theirs: float, asked_at: float, answered_at: float) -> Finding:
    """Whether another clock agrees with ours. All in seconds since 1970; ours were read before and after."""
    off = 0.0 if asked_at <= theirs <= answered_at else min(abs(theirs - asked_at), abs(theirs - answered_at))
    told = f"{off:.1f} s {'ahead of' if theirs > answered_at else 'behind'} this machine's"
    mend = "let both machines take the time from the network (NTP): signatures and tokens carry times"
    if off >= WARN_SECONDS:
        return Finding(name, "fail" if off >= FAIL_SECONDS else "warn", told, mend)
    return Finding(name, "ok", "agrees with this machine's")


def _migrations(connection: Connection) -> Finding:
    from sqlalchemy.exc import ProgrammingError

    from app.project import newest_migration

    try:
        applied = list(connection.exec_driver_sql(APPLIED).scalars())
    except ProgrammingError:  # the table is not there
        applied = []
    return migrations_finding(applied, newest_migration())


def migrations_finding(applied: list[str], head: str) -> Finding:
    """Whether the tables are this version's. applied, head: migrations by name."""
    if applied == [head]:
        return Finding("migrations", "ok", f"the tables are this version's ({head})")
    is_at = ", ".join(applied) or "nothing"
    mend = "twofold migrate; if the tables are of a newer version, install that one here"
    return Finding("migrations", "fail", f"the database is at {is_at}, this version needs {head}", mend)


def _workers(connection: Connection) -> Iterator[Finding]:
    from app.delivery.rounds import Watcher

    waiting = Watcher().look(connection)
    yield workers_finding(waiting.overdue_seconds, waiting.pool_silent_seconds, waiting.all_silent_seconds)


def workers_finding(overdue_seconds: float, pool_seconds: float, all_seconds: float) -> Finding:
    """Whether workers deliver, told by what they do: how long the oldest due delivery has waited, and how long ago a
    drain of the pools, or any, last looked for one."""
    if overdue_seconds > BUSY_SECONDS and all_seconds > SILENT_SECONDS:
        told = f"nobody delivers: something has been due for {overdue_seconds:.0f} s"
        return Finding("workers", "fail", told, "start twofold worker; its log says why it does not deliver")
    if overdue_seconds > BUSY_SECONDS and pool_seconds > SILENT_SECONDS:
        return Finding(
            "workers", "warn", "only a standby delivers", "look into the workers' logs, and whether Redis answers"
        )
    if overdue_seconds > BUSY_SECONDS:
        told = f"they deliver, but what is due waits for {overdue_seconds:.0f} s"
        return Finding(
            "workers", "warn", told, "start more workers, or look which endpoint is slow: twofold deliveries list"
        )
    if all_seconds > SILENT_SECONDS:
        told = "nothing is due, and nobody has looked for " + (
            "anything yet" if all_seconds == float("inf") else f"{all_seconds:.0f} s"
        )
        return Finding("workers", "warn", told, "start twofold worker, if none runs; the test delivery shows it")
    return Finding("workers", "ok", f"they looked for work {max(all_seconds, 0):.0f} s ago, and nothing waits")


def check_redis(url: str) -> Iterator[Finding]:
    """Redis, and its clock."""
    from app.redis_connection import FAILURES, connect

    client = connect(url, seconds=ANSWER_SECONDS)
    try:
        asked_at = time.time()
        seconds, microseconds = client.time()
        answered_at = time.time()
        yield redis_finding(str(client.info("server").get("redis_version", "")))
        yield clock_finding("Redis' clock", seconds + microseconds / 1e6, asked_at, answered_at)
    except (*FAILURES, ValueError) as error:
        mend = "start Redis, or mend REDIS_URL; without it streams and webhooks are late, and nothing is lost"
        yield Finding("Redis", "fail", str(error).partition("\n")[0], mend)
    finally:
        client.close()


def redis_finding(version: str) -> Finding:
    """Whether the server is new enough."""
    numbers = tuple(int(number) for number in version.split(".")[:2] if number.isdigit())
    if numbers < OLDEST_REDIS:
        return Finding("Redis", "fail", f"version {version or 'unknown'}", "upgrade it to 6.2 or newer, or Valkey")
    return Finding("Redis", "ok", f"{version} answers")
