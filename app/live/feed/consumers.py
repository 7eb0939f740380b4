"""The rows of consumers: who reads, with which lease, and up to where everything has been handled.

A row is locked only for the moment of a decision (app/core/feed/consumer.py), never while somebody reads. Times are the
database's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from app.core.feed import consumer
from app.core.feed.consumer import LeaseLost, Place
from app.core.feed.cursor import Cursor, decode, encode
from app.core.problem import Problem, not_found

MOST_CONSUMERS = 100  # of a workspace

_COLUMNS = "name, filters, cursor, lease, leased_until, page, committed, created_at, read_at, committed_at"

FIND = f"""
SELECT {_COLUMNS}, clock_timestamp() AS now
  FROM feed_consumers
 WHERE workspace_id = %(workspace)s AND name = %(name)s
"""

# The same, for a decision that is written at once.
LOCK = f"{FIND} FOR UPDATE"

# Consumers by name.
LIST = f"""
SELECT {_COLUMNS}, clock_timestamp() AS now
  FROM feed_consumers
 WHERE workspace_id = %(workspace)s AND name > %(after)s
 ORDER BY name
 LIMIT %(limit)s
"""

# Whoever makes a consumer waits for who makes another one, so that they count each other's.
LOCK_WORKSPACE = "SELECT id FROM workspaces WHERE id = %(workspace)s FOR NO KEY UPDATE"

COUNT = "SELECT count(*) FROM feed_consumers WHERE workspace_id = %(workspace)s"

MAKE = """
INSERT INTO feed_consumers (workspace_id, name, filters, cursor, after_tick, created_at)
VALUES (%(workspace)s, %(name)s, %(filters)s::jsonb, %(cursor)s, %(after_tick)s, clock_timestamp())
"""

FILTER = """
UPDATE feed_consumers SET filters = %(filters)s::jsonb WHERE workspace_id = %(workspace)s AND name = %(name)s
"""

LEASE = """
UPDATE feed_consumers
   SET lease = %(lease)s, leased_until = clock_timestamp() + make_interval(secs => %(seconds)s), page = NULL,
       read_at = greatest(clock_timestamp(), read_at + interval '1 microsecond')
 WHERE workspace_id = %(workspace)s AND name = %(name)s
RETURNING read_at
"""

# What was read, for whoever still has the lease; from now on it holds so long. A read that was repeated with its key
# has the same lease, so each read goes by its time as well: the first one's answer may still be under way.
HAND_OUT = """
UPDATE feed_consumers
   SET leased_until = clock_timestamp() + make_interval(secs => %(seconds)s), page = %(page)s
 WHERE workspace_id = %(workspace)s AND name = %(name)s AND lease = %(lease)s AND read_at = %(read_at)s
RETURNING leased_until
"""

# Give a lease back.
RELEASE = """
UPDATE feed_consumers SET lease = NULL, leased_until = NULL, page = NULL
 WHERE workspace_id = %(workspace)s AND name = %(name)s AND lease = %(lease)s AND read_at = %(read_at)s
"""

# Move a place; nobody reads on from the former one.
MOVE = """
UPDATE feed_consumers
   SET cursor = %(cursor)s, after_tick = %(after_tick)s, committed = %(committed)s,
       committed_at = CASE WHEN %(committed)s::text IS NULL THEN committed_at ELSE clock_timestamp() END,
       lease = NULL, leased_until = NULL, page = NULL
 WHERE workspace_id = %(workspace)s AND name = %(name)s
"""

# Pass over events that the reader does not want: there was nothing to commit.
PASS_OVER = """
UPDATE feed_consumers
   SET cursor = %(cursor)s, after_tick = %(after_tick)s,
       lease = NULL, leased_until = NULL, page = NULL
 WHERE workspace_id = %(workspace)s AND name = %(name)s AND lease = %(lease)s AND read_at = %(read_at)s
"""

DELETE = "DELETE FROM feed_consumers WHERE workspace_id = %(workspace)s AND name = %(name)s"


@dataclass(frozen=True, slots=True)
class Consumer:
    """One of a workspace. filters: streams, kinds and types, as lists; a content filter, as text. now: the database's
    time when it was read."""

    name: str
    filters: Mapping[str, Any]
    place: Place
    now: datetime
    created_at: datetime
    read_at: datetime | None
    committed_at: datetime | None


def find(connection: Connection, workspace_id: str, name: str, *, lock: bool = False) -> Consumer:
    """The consumer of this name, locked for a change if asked. Raises Problem not_found."""
    row = _find(connection, workspace_id, name, lock=lock)
    if row is None:
        raise not_found("consumer")
    return _consumer(row)


def exists(connection: Connection, workspace_id: str, name: str) -> bool:
    """Whether there is one of this name."""
    return _find(connection, workspace_id, name) is not None


def listed(connection: Connection, workspace_id: str, *, limit: int, after: str | None) -> list[Consumer]:
    """Consumers by name, at most `limit`, behind the name `after`."""
    asked = {"workspace": workspace_id, "after": after or "", "limit": limit}
    return [_consumer(row) for row in connection.exec_driver_sql(LIST, asked)]


def put(connection: Connection, workspace_id: str, name: str, filters: Mapping[str, Any], start: Cursor | None) -> bool:
    """Make a consumer, or give the one of this name these filters; whether it is new. start: where a new one begins.

    Raises Problem: too_many, and not_found when it was deleted while somebody looked where to begin.
    """
    asked = _named(workspace_id, name) | {"filters": json.dumps(dict(filters))}
    connection.exec_driver_sql(LOCK_WORKSPACE, {"workspace": workspace_id})
    if connection.exec_driver_sql(FILTER, asked).rowcount:
        return False
    if start is None:
        raise not_found("consumer")
    count = connection.exec_driver_sql(COUNT, {"workspace": workspace_id}).scalar_one()
    if count >= MOST_CONSUMERS:
        raise Problem("too_many", f"This workspace has {count} consumers, the most there may be; delete one.")
    connection.exec_driver_sql(MAKE, asked | _cursor(start))
    return True


def delete(connection: Connection, workspace_id: str, name: str) -> None:
    """Forget a consumer. Raises Problem not_found."""
    if not connection.exec_driver_sql(DELETE, _named(workspace_id, name)).rowcount:
        raise not_found("consumer")


def lease(connection: Connection, workspace_id: str, name: str, lease: str, seconds: float) -> Consumer:
    """Give a reader the lease for so long; the consumer as it is read then.

    Raises Problem: not_found, lease_held while another one has it, and lease_lost when it has been committed.
    """
    found = find(connection, workspace_id, name, lock=True)
    if found.place.committed == lease:
        raise Problem("lease_lost", "What was read with this Idempotency-Key is committed; read on with another one.")
    left = consumer.held_for(found.place, lease, found.now)
    if left is not None:
        detail = "Another reader has the lease; it ends with its commit, or in retry_after_seconds."
        seconds_left = int(left) + 1
        raise Problem(
            "lease_held", detail, extra={"retry_after_seconds": seconds_left}, retry_after_seconds=seconds_left
        )
    asked = _named(workspace_id, name) | {"lease": lease, "seconds": seconds}
    read_at = connection.exec_driver_sql(LEASE, asked).scalar_one()
    return replace(found, place=replace(found.place, lease=lease, page=None), read_at=read_at)


def hand_out(connection: Connection, workspace_id: str, held: Consumer, page: Cursor, seconds: float) -> datetime:
    """Note up to where was read with a lease; until when it holds. held: by `lease`. Raises Problem lease_lost."""
    asked = _held(workspace_id, held) | {"page": encode(page), "seconds": seconds}
    until: datetime | None = connection.exec_driver_sql(HAND_OUT, asked).scalar_one_or_none()
    if until is None:
        raise lost()
    return until


def release(connection: Connection, workspace_id: str, held: Consumer) -> None:
    """Give a lease back that nothing was read with, or that is lost."""
    connection.exec_driver_sql(RELEASE, _held(workspace_id, held))


def pass_over(connection: Connection, workspace_id: str, held: Consumer, cursor: Cursor) -> None:
    """Move a place past what its reader does not want, and give the lease back, unless that is lost."""
    connection.exec_driver_sql(PASS_OVER, _held(workspace_id, held) | _cursor(cursor))


def commit(connection: Connection, workspace_id: str, name: str, lease: str, cursor: Cursor | None) -> Consumer:
    """Move a place to behind what was handled, and end the lease. Twice is once.

    Raises Problem not_found, lease_lost; ValueError for a cursor that is none of the page's.
    """
    found = find(connection, workspace_id, name, lock=True)
    try:
        to = consumer.commit(found.place, lease, cursor)
    except LeaseLost:
        raise lost() from None
    if to is None:
        return found
    _move(connection, workspace_id, name, to, lease)
    return find(connection, workspace_id, name)


def seek(connection: Connection, workspace_id: str, name: str, cursor: Cursor) -> Consumer:
    """Move a place to anywhere; whoever reads now has lost the lease. Raises Problem not_found."""
    find(connection, workspace_id, name, lock=True)
    _move(connection, workspace_id, name, cursor, None)
    return find(connection, workspace_id, name)


def lost() -> Problem:
    """The answer to whoever has not the lease any more."""
    detail = "The lease is lost: another reader has read since, or the consumer was moved. Read again; do not commit."
    return Problem("lease_lost", detail)


def _move(connection: Connection, workspace_id: str, name: str, to: Cursor, lease: str | None) -> None:
    connection.exec_driver_sql(MOVE, _named(workspace_id, name) | {"committed": lease} | _cursor(to))


def _find(connection: Connection, workspace_id: str, name: str, *, lock: bool = False) -> Row[Any] | None:
    return connection.exec_driver_sql(LOCK if lock else FIND, _named(workspace_id, name)).one_or_none()


def _named(workspace_id: str, name: str) -> dict[str, Any]:
    return {"workspace": workspace_id, "name": name}


def _held(workspace_id: str, held: Consumer) -> dict[str, Any]:
    return _named(workspace_id, held.name) | {"lease": held.place.lease, "read_at": held.read_at}


def _cursor(cursor: Cursor) -> dict[str, Any]:
    return {"cursor": encode(cursor), "after_tick": cursor.after.id}


def _consumer(row: Row[Any]) -> Consumer:
    page = None if row.page is None else decode(row.page)
    place = Place(decode(row.cursor), row.lease, row.leased_until, page, row.committed)
    return Consumer(row.name, row.filters, place, row.now, row.created_at, row.read_at, row.committed_at)
