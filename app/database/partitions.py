"""Weekly partitions: their names, which of them holds a row, and making those of the coming weeks."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Connection, text

from app.database.tables import PARTITIONED

WEEKS_AHEAD = 4  # a month without any release or worker before an insert has to make its own partition


def week_of(moment: datetime) -> datetime:
    """Monday 00:00 UTC of the week that holds `moment`: where its partition begins."""
    day = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def partition_name(table: str, week: datetime) -> str:
    """The partition of `table` that begins at `week`, such as events_p20261116."""
    return f"{table}_p{week:%Y%m%d}"


def partitions_of(table: str, keys: Iterable[tuple[str, datetime]]) -> dict[str, list[str]]:
    """Rows, given as (id, created_at), by the partition that holds them: partition name -> ids in order.

    A statement on the partition itself is planned and run in a fraction of the time of one on its parent, which opens
    all of them.
    """
    found: dict[str, list[str]] = {}
    days: dict[date, list[str]] = {}  # there are few, and working out a week costs more than looking up a day
    for id, created_at in sorted(keys):
        day = created_at.astimezone(UTC).date()
        if day not in days:
            days[day] = found.setdefault(partition_name(table, week_of(created_at)), [])
        days[day].append(id)
    return found


def make_partitions(connection: Connection, now: datetime, weeks_ahead: int = WEEKS_AHEAD) -> list[str]:
    """Make the partitions from last week to `weeks_ahead` weeks after `now`; returns the names of new ones.

    Last week's is there for clocks that differ around a Monday. Safe to run at the same time in many processes:
    an advisory transaction lock lets one at a time look and create.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('twofold partitions'))"))
    made: list[str] = []
    for table in PARTITIONED:
        for offset in range(-1, weeks_ahead + 1):
            start = week_of(now) + timedelta(weeks=offset)
            name = partition_name(table, start)
            if connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar() is not None:
                continue
            for statement in _partition_ddl(table, name, start):
                connection.execute(text(statement))
            made.append(name)
    return made


def _partition_ddl(table: str, name: str, start: datetime) -> tuple[str, str]:
    """The statements that make a partition: beside its table first, then attached.

    CREATE TABLE … PARTITION OF would need the whole table for itself: while a backup reads it, everybody who wants to
    read or write queued up behind the wait. ATTACH waits for neither readers nor writers.
    """
    end = start + timedelta(weeks=1)
    # Deliveries are updated several times each: room on the page for HOT updates, and vacuum that does not wait
    # for a fifth of a large table to be dead.
    storage = "WITH (fillfactor=70, autovacuum_vacuum_scale_factor=0.02)" if table == "deliveries" else ""
    return (
        f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL) {storage}",
        f"ALTER TABLE {table} ATTACH PARTITION {name}"
        f" FOR VALUES FROM ('{start:%Y-%m-%d}T00:00:00Z') TO ('{end:%Y-%m-%d}T00:00:00Z')",
    )
