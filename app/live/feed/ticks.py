"""Ticks as the feed needs them: the newest, the first, the one of a time, and the next stop behind a place."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from app.core.feed.cursor import Cursor, Tick, may_be
from app.core.feed.snapshot import read_snapshot
from app.core.feed.window import Epoch, beginning_of

_TICK = "id, epoch, mark, no, snapshot::text AS snapshot"

# The newest tick, made now if something was stored since the last. Whoever makes one holds a lock that servers are
# looked at under: only in a transaction of its own (Database.alone), so that nobody waits for a process that is frozen.
NEWEST = f"SELECT {_TICK} FROM make_tick(%(least_milliseconds)s)"

# The newest tick that there is.
LAST = f"SELECT {_TICK} FROM ticks ORDER BY id DESC LIMIT 1"

# The first tick that is still kept.
FIRST = f"SELECT {_TICK} FROM ticks ORDER BY id LIMIT 1"

# The last tick before a time.
BEFORE = f"SELECT {_TICK} FROM ticks WHERE created_at <= %(at)s ORDER BY created_at DESC, id DESC LIMIT 1"

# The farthest tick before which at most so many events were numbered; else the next one, if there is any.
STOP = f"""
SELECT {_TICK}
  FROM (
        (SELECT * FROM ticks WHERE no <= %(most)s ORDER BY no DESC, id DESC LIMIT 1)
         UNION ALL
        (SELECT * FROM ticks WHERE id > %(after)s ORDER BY id LIMIT 1)
       ) AS found
 WHERE id > %(after)s
 ORDER BY id DESC
 LIMIT 1
"""

# Of some numbers, the ticks that have them, or the last ones before that are still kept, and the next ones behind.
NEAREST = f"""
SELECT DISTINCT {_TICK}
  FROM unnest(%(ids)s::bigint[]) AS asked (number),
       LATERAL ((SELECT * FROM ticks WHERE id <= number ORDER BY id DESC LIMIT 1)
                 UNION ALL
                (SELECT * FROM ticks WHERE id > number ORDER BY id LIMIT 1)) AS found
 ORDER BY id
"""
_LAST_ID = 2**63 - 1

# When some ticks were made, or the last ones before them that are still kept.
TIMES = """
SELECT number, found.created_at
  FROM unnest(%(ids)s::bigint[]) AS asked (number),
       LATERAL (SELECT created_at FROM ticks WHERE id <= number ORDER BY id DESC LIMIT 1) AS found
"""

EPOCHS = "SELECT id, last_tick, last_no, coalesce(first_xid::text::bigint, 0) AS first_xid FROM epochs ORDER BY id"


def newest(connection: Connection, least_milliseconds: int) -> Tick:
    """The newest tick. least_milliseconds: how old it may be although events were stored since."""
    return _tick(connection.exec_driver_sql(NEWEST, {"least_milliseconds": least_milliseconds}).one())


def last(connection: Connection) -> Tick:
    """The newest tick that there is."""
    return _tick_or_newest(connection, connection.exec_driver_sql(LAST).one_or_none())


def first(connection: Connection) -> Tick:
    """Where the feed begins."""
    return _tick_or_newest(connection, connection.exec_driver_sql(FIRST).one_or_none())


def before(connection: Connection, at: datetime) -> Tick:
    """The last tick before a time: every event of later is behind it."""
    row = connection.exec_driver_sql(BEFORE, {"at": at}).one_or_none()
    return first(connection) if row is None else _tick(row)


def stop_behind(connection: Connection, after: Tick, span: int) -> Tick | None:
    """A tick behind a place, so that at most about `span` events lie between; None: there is none yet."""
    row = connection.exec_driver_sql(STOP, {"after": after.id, "most": after.no + span}).one_or_none()
    return None if row is None else _tick(row)


def epochs(connection: Connection) -> Sequence[Epoch]:
    """All histories, the oldest first; usually one."""
    return [Epoch(*row) for row in connection.exec_driver_sql(EPOCHS)]


def times_of(connection: Connection, numbers: Sequence[int]) -> dict[int, datetime]:
    """By number, when these ticks were made, or the last ones before them; without those before all that are kept."""
    return {row.number: row.created_at for row in connection.exec_driver_sql(TIMES, {"ids": sorted(set(numbers))})}


def are_known(connection: Connection, cursor: Cursor, epochs: Sequence[Epoch]) -> bool:
    """Whether a cursor's ticks may be those of this history: there just so, or thinned out and between those that are
    there; or without a mark, which only the beginnings of epochs are."""
    given = [tick for tick in (cursor.after, cursor.upto) if tick is not None]
    beginnings = [beginning_of(epoch) for epoch in epochs if epoch.id]
    if any(not tick.mark and tick not in beginnings for tick in given):
        return False
    named = [tick for tick in given if tick.mark]
    asked = [tick.id for tick in named] + [_LAST_ID]
    kept = [_tick(row) for row in connection.exec_driver_sql(NEAREST, {"ids": asked})]
    return all(_may_be(tick, kept) for tick in named)


def _may_be(tick: Tick, kept: Sequence[Tick]) -> bool:
    """Whether a tick may be one of ours. kept: in order, with its neighbours and the newest one."""
    at = bisect_right([one.id for one in kept], tick.id)
    before, behind = kept[at - 1] if at else None, kept[at] if at < len(kept) else None
    is_of_future = behind is None and (before is None or before.id < tick.id)
    return not is_of_future and may_be(tick, before, behind)


def _tick_or_newest(connection: Connection, row: Row[Any] | None) -> Tick:
    """The row's tick; without one, in a database whose ticks were deleted, one that is made now."""
    return newest(connection, 0) if row is None else _tick(row)


def _tick(row: Row[Any]) -> Tick:
    return Tick(row.id, row.epoch, row.mark, row.no, read_snapshot(row.snapshot))
