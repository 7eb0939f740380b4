"""Weekly partitions: their names, which of them holds a row, and making those of the coming weeks."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection

from app.database.tables import PARTITIONED

WEEKS_AHEAD = 4  # a month without any release or worker before an insert has to make its own partition

# Let one transaction at a time look for partitions and make them.
LOCK_PARTITIONS = "SELECT pg_advisory_xact_lock(hashtext('twofold partitions'))"

# Whether a table or partition exists.
TABLE_EXISTS = "SELECT to_regclass(%(name)s) IS NOT NULL"

# The partitions of a table.
LIST_PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = %(table)s::regclass ORDER BY c.relname
"""

# The time by which rows are created, and so which partitions are needed and which are past their time.
DATABASE_TIME = "SELECT clock_timestamp()"

# Make a partition beside its table, as a table of its own.
CREATE_PARTITION = "CREATE TABLE {name} (LIKE {table} INCLUDING ALL) {storage}"

# Make it a partition of its table. (CREATE TABLE … PARTITION OF would need the whole table for itself: while a backup
# reads it, everybody who wants to read or write would queue up behind the wait. ATTACH waits for neither readers nor
# writers.)
ATTACH_PARTITION = """
ALTER TABLE {table} ATTACH PARTITION {name}
FOR VALUES FROM ('{start:%Y-%m-%d}T00:00:00Z') TO ('{end:%Y-%m-%d}T00:00:00Z')
"""

# Deliveries are updated several times each: room on the page for HOT updates, and vacuum that does not wait for a
# fifth of a large table to be dead.
STORAGE = {"deliveries": "WITH (fillfactor=70, autovacuum_vacuum_scale_factor=0.02)"}

_NAME = re.compile(rf"(?:{'|'.join(PARTITIONED)})_p(\d{{8}})")


def week_of(moment: datetime) -> datetime:
    """Monday 00:00 UTC of the week that holds `moment`: where its partition begins."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def partition_name(table: str, week: datetime) -> str:
    """The partition of `table` that begins at `week`, such as events_p20261116."""
    return f"{table}_p{week:%Y%m%d}"


def week_of_partition(name: str) -> datetime | None:
    """Where the partition of this name begins; None for any other table."""
    match = _NAME.fullmatch(name)
    return None if match is None else datetime.strptime(match[1], "%Y%m%d").replace(tzinfo=UTC)


def partitions_in(connection: Connection, table: str) -> list[str]:
    """The partitions of a table, oldest first."""
    names = connection.exec_driver_sql(LIST_PARTITIONS, {"table": table}).scalars()
    return [name for name in names if week_of_partition(name) is not None]


def database_time(connection: Connection) -> datetime:
    """The database's time, which decides: machines may disagree."""
    now: datetime = connection.exec_driver_sql(DATABASE_TIME).scalar_one()
    return now


def make_partitions(connection: Connection, now: datetime | None = None, weeks_ahead: int = WEEKS_AHEAD) -> list[str]:
    """Make the partitions from last week to `weeks_ahead` weeks after `now`; returns the names of new ones.

    now: the database's time unless given. Last week's is there for clocks that differ around a Monday. Safe to run at
    the same time in many processes: an advisory lock lets one at a time look and create, until its transaction ends.
    """
    connection.exec_driver_sql(LOCK_PARTITIONS)
    now = now or database_time(connection)
    made: list[str] = []
    for table in PARTITIONED:
        for offset in range(-1, weeks_ahead + 1):
            start = week_of(now) + timedelta(weeks=offset)
            name = partition_name(table, start)
            if not connection.exec_driver_sql(TABLE_EXISTS, {"name": name}).scalar_one():
                _make_partition(connection, table, name, start)
                made.append(name)
    return made


def _make_partition(connection: Connection, table: str, name: str, start: datetime) -> None:
    end = start + timedelta(weeks=1)
    connection.exec_driver_sql(CREATE_PARTITION.format(name=name, table=table, storage=STORAGE.get(table, "")))
    connection.exec_driver_sql(ATTACH_PARTITION.format(name=name, table=table, start=start, end=end))
