"""Retention: drops weekly partitions that are past their time, and deletes such rows of the small tables in batches.

It may run in several workers at once, and may be interrupted anywhere: the next run finishes the work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from app.core.problem import first_line
from app.database.connection import Database
from app.database.partitions import database_time, make_partitions, partitions_in, week_of_partition
from app.database.tables import PARTITIONED
from app.settings import Settings

log = logging.getLogger(__name__)

EVENT_KEYS_DAYS = 7  # a producer that repeats later than this makes a new event
IDEMPOTENT_REQUESTS_DAYS = 1  # the time in which a client may repeat a POST and get the first answer
STREAM_TOKENS_DAYS = FEED_TOKENS_DAYS = 1  # after their end
SESSIONS_DAYS = 1  # after their end
PORTAL_LINKS_DAYS = 2  # after their end: longer than the longest session that a link opens, which goes with it
BULK_RETRIES_DAYS = 90  # after they were ordered: none runs for so long
ENDPOINT_SECRETS_DAYS = 0  # after their end: a secret that neither signs nor is shown is not kept

SIGN_IN_BUCKETS_DAYS = 1  # after the last wrong password; by then they are empty
LANES_DAYS = 30  # of streams that are silent; of the next delivery of one no prev_seq is known then
AUDIT_DAYS = 400  # a year and the time to look back on it

ROWS_AT_ONCE = 5000  # per transaction: some tens of milliseconds
# Dropping a partition locks its whole table. Whoever queues up behind that lock waits no longer than this.
LOCK_SECONDS = 1

MOST_CLOCKS_DIFFER = timedelta(hours=1)  # what summer time and a time zone mistaken for another come to
CLOCKS_DIFFER = (
    "housekeeping deletes nothing: this machine's clock says %s, the database's %s; set the one that is wrong"
)

# Delete a batch of the rows of a small table that are past their time. One that somebody has locked stays until the
# next run.
PRUNE = """
DELETE FROM {table} WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM {table} WHERE {column} < now() - make_interval(days => {days}) LIMIT {limit} FOR UPDATE SKIP LOCKED
))
"""

# Of the ticks of an age, keep the last of each second, minute, … and of each thousand events or so, which bounds what a
# page of the feed has to sort. Cursors hold without them. The newest ticks are never touched, nor is the first: it is
# where the feed begins, and cursors that are older are told that events are missing behind them.
THIN_TICKS = """
DELETE FROM ticks
 USING (SELECT id, row_number() OVER (PARTITION BY date_trunc(%(unit)s, created_at), no / %(events)s
                                      ORDER BY id DESC) AS place
          FROM ticks
         WHERE created_at >= now() - %(older)s AND created_at < now() - %(younger)s) AS found
 WHERE ticks.id = found.id AND found.place > 1 AND ticks.id > (SELECT min(id) FROM ticks)
"""

# Forget the ticks of what is not kept, but for the last of them: everything behind that one is there.
DROP_TICKS = "DELETE FROM ticks WHERE id < (SELECT max(id) FROM ticks WHERE created_at < %(before)s)"

# Wait no longer than this for the locks that this transaction needs.
LIMIT_WAIT = f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'"

# Forget what is pending of deliveries that are about to be dropped.
DROP_DUE = "DELETE FROM due WHERE created_at >= %(start)s AND created_at < %(end)s"

# Drop a partition with its rows. Another worker may have dropped it.
DROP_PARTITION = "DROP TABLE IF EXISTS {name}"

# How ticks are thinned out: older than, younger than, and how many stay. While a feed is read 50 are made a second.
_THINNED = (
    (timedelta(hours=1), timedelta(days=1), "second", 1000),
    (timedelta(days=1), timedelta(days=3660), "minute", 5000),
)

# Table -> the column that its rows' time counts from, and how many days they are kept.
_PRUNED = {
    "event_keys": ("created_at", EVENT_KEYS_DAYS),
    "idempotent_requests": ("created_at", IDEMPOTENT_REQUESTS_DAYS),
    "stream_tokens": ("expires_at", STREAM_TOKENS_DAYS),
    "feed_tokens": ("expires_at", FEED_TOKENS_DAYS),
    "sessions": ("expires_at", SESSIONS_DAYS),
    "portal_links": ("expires_at", PORTAL_LINKS_DAYS),
    "bulk_retries": ("created_at", BULK_RETRIES_DAYS),
    "sign_in_buckets": ("counted_at", SIGN_IN_BUCKETS_DAYS),
    "audit_entries": ("created_at", AUDIT_DAYS),
    "lanes": ("moved_at", LANES_DAYS),
    "lane_marks": ("marked_at", LANES_DAYS),
    "lane_skips": ("skipped_at", LANES_DAYS),
    "endpoint_secrets": ("expires_at", ENDPOINT_SECRETS_DAYS),  # those in use have no end
}


def keep_house(settings: Settings, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
    """Make partitions ahead, drop those past retention, prune the small tables.

    The database's time decides what is past. clock: the machine's; when the two differ by more than MOST_CLOCKS_DIFFER,
    one of them is wrong and nobody here knows which, so nothing is deleted.
    """
    database = Database(settings.database_url, pool_size=1)
    try:
        with database.begin() as connection:
            now = database_time(connection)
            make_partitions(connection, now)
        if abs(clock() - now) > MOST_CLOCKS_DIFFER:
            log.error(CLOCKS_DIFFER, clock().isoformat(), now.isoformat())
            return
        dropped = drop_partitions(database, now - kept_for(settings))
        pruned = {table: prune(database, table) for table in _PRUNED}
        pruned["ticks"] = thin_ticks(database, now - kept_for(settings))
        log.info("housekeeping: dropped %s, pruned %s", dropped or "nothing", pruned)
    finally:
        database.close()


def kept_for(settings: Settings) -> timedelta:
    """How long events, deliveries and attempts are kept: RETENTION_DAYS, and never less than a delivery is tried."""
    window = timedelta(seconds=settings.delivery_window_seconds)
    return max(timedelta(days=settings.retention_days), window + timedelta(days=1))


def drop_partitions(database: Database, before: datetime) -> list[str]:
    """Drop the weekly partitions that end before a time; the names of those dropped.

    Attempts go before deliveries and deliveries before events, so that nothing is left that refers to what is gone.
    One whose table is busy stays until the next time.
    """
    dropped = []
    for table in reversed(PARTITIONED):
        with database.begin() as connection:
            names = _partitions(connection, table)
        for name, start in names:
            if start + timedelta(weeks=1) <= before and _drop(database, table, name, start):
                dropped.append(name)
    return dropped


def thin_ticks(database: Database, before: datetime) -> int:
    """Delete ticks that no reader needs: those before a time, and most of those that are not new; how many."""
    total = 0
    with database.begin() as connection:
        for younger, older, unit, events in _THINNED:
            asked = {"younger": younger, "older": older, "unit": unit, "events": events}
            total += connection.exec_driver_sql(THIN_TICKS, asked).rowcount
        total += connection.exec_driver_sql(DROP_TICKS, {"before": before}).rowcount
    return total


def prune(database: Database, table: str) -> int:
    """Delete the rows of a small table that are past their time; how many."""
    column, days = _PRUNED[table]
    statement = PRUNE.format(table=table, column=column, days=days, limit=ROWS_AT_ONCE)
    total = 0
    while True:
        with database.begin() as connection:
            count = connection.exec_driver_sql(statement).rowcount
        total += count
        if count < ROWS_AT_ONCE:
            return total


def _partitions(connection: Connection, table: str) -> list[tuple[str, datetime]]:
    """The partitions of a table, each with the time at which it begins."""
    return [(name, week) for name in partitions_in(connection, table) if (week := week_of_partition(name)) is not None]


def _drop(database: Database, table: str, name: str, start: datetime) -> bool:
    try:
        with database.begin() as connection:
            connection.exec_driver_sql(LIMIT_WAIT)
            if table == "deliveries":
                connection.exec_driver_sql(DROP_DUE, {"start": start, "end": start + timedelta(weeks=1)})
            connection.exec_driver_sql(DROP_PARTITION.format(name=name))
    except OperationalError as error:
        log.warning("partition %s stays until the next time: %s", name, first_line(error))
        return False
    return True
