"""Bulk retries: what failed or was cancelled is attempted again, as far as filters let it in, piece by piece; or what
one endpoint has missed is delivered to it (bulk_missed.py).

The row of an order is the work. Whoever has locked it does the next piece in the same transaction: looks on from the
cursor, makes some deliveries pending again, moves the cursor. A process that is killed has done a piece or has not; the
next goes on. Nothing is attempted twice by one order: it takes only what had ended before it was made, under the lock
of the delivery's row, and whatever it has reopened ends later than that.

Live traffic goes first: an endpoint that has ENDPOINT_ROOM deliveries waiting is passed over, so that the first attempt
of a new event stands behind no more than these. An order whose round has passed over anything makes another one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from app.core import ids
from app.core.event.filters import like_patterns
from app.core.problem import Problem, invalid, not_found
from app.database.spans import within
from app.delivery import bulk_missed, deliveries, waiting

RUNNING, FINISHED, CANCELLED = "running", "finished", "cancelled"
ENDED_BADLY = ("failed", "cancelled")  # the states that lead back to pending
MISSED = "missed"  # beside them: events without a delivery to the endpoint
ABOUT = (*ENDED_BADLY, MISSED)
WINDOW = 1_000  # deliveries that a piece looks at
PIECE = 500  # and reopens at most: some 50 ms, in which their rows are locked
ENDPOINT_ROOM = 500  # deliveries waiting for an endpoint, from which on an order adds none
PAUSE_SECONDS = 1.0  # after a piece that found no room
MOST_COUNTED = 1_000_000  # a dry run's count stops there: some 2 s
MOST_RUNNING = 10  # orders of one workspace at once


@dataclass(frozen=True, slots=True)
class BulkFilters:
    """What an order is about; None for what it is not narrowed by. workspace None: all of them.

    event_type: a type, or a prefix such as `call.*`. status: failed, cancelled or missed, which needs an endpoint.
    since, until: of the delivery's creation, of the event's where it was missed; the latter excluded.
    """

    workspace: str | None = None
    endpoint: str | None = None
    event_type: str | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_about_missed(self) -> bool:
        """Whether it is about events that an endpoint has missed."""
        return self.status == MISSED

    def stored(self) -> str:
        """As the order's row keeps them, without the workspace, which has a column."""
        given = {name: value for name, value in asdict(self).items() if value is not None and name != "workspace"}
        return json.dumps({name: one.isoformat() if isinstance(one, datetime) else one for name, one in given.items()})

    @classmethod
    def read(cls, workspace: str | None, stored: Mapping[str, str]) -> BulkFilters:
        """The same from a row."""
        since, until = (datetime.fromisoformat(stored[name]) if name in stored else None for name in ("since", "until"))
        endpoint, event_type, status = (stored.get(name) for name in ("endpoint", "event_type", "status"))
        return cls(workspace, endpoint, event_type, status, since, until)


@dataclass(frozen=True, slots=True)
class Count:
    """What a dry run finds. ready: deliveries that would be attempted again, or made; skipped: those whose endpoint is
    disabled or deleted; endpoints: of how many; more: whether the count stopped before the end."""

    ready: int
    skipped: int
    endpoints: int
    more: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """What a step has done. retried: deliveries that are pending by it."""

    order_id: str
    retried: int


@dataclass(frozen=True, slots=True)
class Choice:
    """Which of some deliveries have their turn. last: the id up to which all have been considered. passed_over: whether
    one of those has to wait for room."""

    keys: Sequence[tuple[str, datetime]]
    last: str | None
    passed_over: bool


def choose(rows: Iterable[Any], waiting_for: Mapping[str, int], enabled: Iterable[str]) -> Choice:
    """Take rows, in order, while their endpoints have room; PIECE at most. Pure.

    rows: with id, created_at, endpoint_id and fits: whether the filters let it in. waiting_for: deliveries that wait,
    by endpoint. enabled: endpoints.
    """
    room = {id: max(ENDPOINT_ROOM - waiting_for.get(id, 0), 0) for id in enabled}
    keys: list[tuple[str, datetime]] = []
    last, passed_over = None, False
    for row in rows:
        if len(keys) == PIECE:
            break
        last = row.id
        if not row.fits or row.endpoint_id not in room:
            continue
        if room[row.endpoint_id]:
            room[row.endpoint_id] -= 1
            keys.append((row.id, row.created_at))
        else:
            passed_over = True
    return Choice(keys, last, passed_over)


def count(connection: Connection, filters: BulkFilters) -> Count:
    """What an order with these filters would find now: the dry run. Changes nothing.

    Raises Problem invalid or not_found where an endpoint is needed.
    """
    if filters.is_about_missed:
        return _count_missed(connection, filters)
    narrow, rest, values = _conditions(filters)
    statement = COUNT.format(narrow=narrow, rest=rest, ordered_at="now()")
    row = connection.exec_driver_sql(statement, {**values, "most": MOST_COUNTED + 1}).one()
    return Count(row.ready, row.found - row.ready, row.endpoints, row.found > MOST_COUNTED)


def order(connection: Connection, filters: BulkFilters, actor: str) -> str:
    """Make an order; its id. actor: who orders, for people. Raises Problem too_many, and as `count` does."""
    found = count(connection, filters).ready
    connection.exec_driver_sql(LOCK_ORDERS)
    running = connection.exec_driver_sql(COUNT_RUNNING, {"workspace": filters.workspace}).scalar_one()
    if running >= MOST_RUNNING:
        raise Problem("too_many", f"{running} bulk retries are running, the most there may be; cancel one, or wait.")
    now = connection.exec_driver_sql(NOW).scalar_one()
    id = ids.make(ids.BULK_RETRY, now, os.urandom(ids.RANDOM_BYTES))
    values = {"id": id, "workspace": filters.workspace, "filters": filters.stored(), "actor": actor, "found": found}
    connection.exec_driver_sql(ADD, {**values, "now": now})
    return id


def find(connection: Connection, order_id: str, workspace: str | None = None) -> Row[Any]:
    """An order. workspace: whose it has to be, None for any. Raises Problem not_found."""
    row = connection.exec_driver_sql(FIND, {"id": order_id, "workspace": workspace}).one_or_none()
    if row is None:
        raise not_found("bulk retry")
    return row


def list_orders(
    connection: Connection, workspace: str | None = None, *, limit: int, before: str | None = None
) -> Sequence[Row[Any]]:
    """Orders, newest first, at most `limit`, older than the id `before`; of one workspace or of all."""
    return connection.exec_driver_sql(LIST, {"workspace": workspace, "limit": limit, "before": before}).all()


def cancel(connection: Connection, order_id: str, workspace: str | None = None) -> None:
    """Stop an order: what it has reopened is delivered, the rest stays as it is. One that has ended stays so.

    Raises Problem not_found.
    """
    find(connection, order_id, workspace)
    connection.exec_driver_sql(CANCEL, {"id": order_id})


def work(connection: Connection, *, window_seconds: int) -> Piece | None:
    """Do the next piece of one order in this transaction; None when none may be done now.

    window_seconds: for which a reopened delivery is tried. Orders take turns; those that another holds are left to it.
    """
    row = connection.exec_driver_sql(TAKE).one_or_none()
    if row is None or not _stays(connection, row.workspace_id):
        return None
    filters = BulkFilters.read(row.workspace_id, row.filters)
    if filters.is_about_missed:
        return _work_on_missed(connection, row, filters, window_seconds)
    narrow, rest, values = _conditions(filters)
    values |= {"cursor": row.cursor or "", "window": WINDOW, "ordered_at": row.created_at}
    found = connection.exec_driver_sql(WINDOW_AFTER.format(narrow=narrow, rest=rest), values).all()
    endpoints = sorted({one.endpoint_id for one in found if one.fits})
    enabled = connection.exec_driver_sql(LOCK_ENABLED, {"ids": endpoints}).scalars().all()
    chosen = choose(found, waiting.waiting_for(connection, enabled), enabled)
    retried = _reopen(connection, chosen.keys, row.created_at, window_seconds)
    at_end = len(found) < WINDOW and (not found or chosen.last == found[-1].id)
    passed_over = row.passed_over or chosen.passed_over
    changed = {
        "id": row.id,
        "retried": retried,
        "cursor": None if at_end else chosen.last,
        "passed_over": passed_over and not at_end,
        "status": FINISHED if at_end and not passed_over else RUNNING,
        "pause": PAUSE_SECONDS if not retried and (chosen.passed_over or (at_end and passed_over)) else 0.0,
    }
    connection.exec_driver_sql(MOVE, changed)
    return Piece(row.id, retried)


def _count_missed(connection: Connection, filters: BulkFilters) -> Count:
    if filters.endpoint is None:
        raise invalid("endpoint_id", "is missing: it is one endpoint that has missed something")
    span = bulk_missed.Span(filters.since, filters.until, filters.event_type)
    found = bulk_missed.count(connection, filters.endpoint, filters.workspace, span)
    ready, skipped = (found.count, 0) if found.enabled else (0, found.count)
    return Count(ready, skipped, 1 if ready else 0, found.more)


def _work_on_missed(connection: Connection, row: Row[Any], filters: BulkFilters, window_seconds: int) -> Piece:
    """A piece of an order about missed events, those that came before it."""
    assert filters.endpoint is not None
    until = row.created_at if filters.until is None else min(filters.until, row.created_at)
    span = bulk_missed.Span(filters.since, until, filters.event_type)
    waits = waiting.waiting_for(connection, [filters.endpoint]).get(filters.endpoint, 0)
    step = bulk_missed.step(
        connection,
        filters.endpoint,
        filters.workspace,
        span,
        cursor=row.cursor,
        most=min(PIECE, max(ENDPOINT_ROOM - waits, 0)),
        window_seconds=window_seconds,
    )
    changed = {
        "id": row.id,
        "retried": step.made,
        "cursor": None if step.at_end else step.cursor,
        "passed_over": False,
        "status": FINISHED if step.at_end else RUNNING,
        "pause": PAUSE_SECONDS if step.blocked else 0.0,
    }
    connection.exec_driver_sql(MOVE, changed)
    return Piece(row.id, step.made)


def _stays(connection: Connection, workspace_id: str | None) -> bool:
    """Whether the order's workspace, if it has one, is there until the end of this transaction."""
    if workspace_id is None:
        return True
    return connection.exec_driver_sql(KEEP_WORKSPACE, {"id": workspace_id}).scalar() is not None


def _reopen(
    connection: Connection, keys: Sequence[tuple[str, datetime]], ordered_at: datetime, window_seconds: int
) -> int:
    """Make those that are still as they were found pending again; how many."""
    if not keys:
        return 0
    values = {"ids": [id for id, _ in keys], "times": [at for _, at in keys], "ordered_at": ordered_at}
    locked = [(row.id, row.created_at) for row in connection.exec_driver_sql(LOCK_ENDED, values)]
    deliveries.reopen(connection, locked, trigger="recover", window_seconds=window_seconds)
    return len(locked)


def _conditions(filters: BulkFilters) -> tuple[str, str, dict[str, Any]]:
    """Conditions on a delivery d: those that an index has, the others; and the parameters of both."""
    if filters.status is not None and filters.status not in ENDED_BADLY:
        raise ValueError(f"no order is about {filters.status} deliveries")
    # As literals, by which PostgreSQL finds the partial indexes.
    narrow, rest = ["d.status IN ('failed', 'cancelled')"], ["d.trigger <> 'test'"]
    values: dict[str, Any] = {"workspace": filters.workspace, "endpoint": filters.endpoint, "status": filters.status}
    if filters.workspace is not None:
        narrow.append("d.workspace_id = %(workspace)s")
    narrow += within("d", ids.DELIVERY, values, since=filters.since, until=filters.until, before=None)
    if filters.status is not None:
        rest.append("d.status = %(status)s")
    if filters.endpoint is not None:
        rest.append("d.endpoint_id = %(endpoint)s")
    if filters.event_type is not None:
        values["types"] = like_patterns([filters.event_type])
        rest.append("d.event_type LIKE ANY (%(types)s::text[])")
    return " AND ".join(narrow), " AND ".join(rest), values


# What an order takes of a delivery d: it had ended before the order was made.
_BEFORE = "coalesce(d.finished_at, d.created_at) <= {ordered_at}"

# Count what filters let in, up to a bound.
COUNT = f"""
SELECT count(*) AS found, count(*) FILTER (WHERE e.status = 'enabled') AS ready,
  count(DISTINCT d.endpoint_id) FILTER (WHERE e.status = 'enabled') AS endpoints
FROM (SELECT d.endpoint_id FROM deliveries d WHERE {{narrow}} AND {{rest}} AND {_BEFORE} LIMIT %(most)s) AS d
LEFT JOIN endpoints e ON e.id = d.endpoint_id
"""

# The database's time as rows and ids have it.
NOW = "SELECT date_trunc('milliseconds', now())"

# One order is made at a time, so that two cannot both be the last that may run.
LOCK_ORDERS = "SELECT pg_advisory_xact_lock(hashtext('bulk_retries'))"

# How many orders of a workspace (or over all of them) run.
COUNT_RUNNING = """
SELECT count(*) FROM bulk_retries WHERE status = 'running' AND workspace_id IS NOT DISTINCT FROM %(workspace)s::text
"""

# Add an order. It takes what ended before now, to the microsecond; `now` is its id's time.
ADD = """
INSERT INTO bulk_retries (id, workspace_id, filters, actor, found, resume_at, created_at)
VALUES (%(id)s, %(workspace)s, %(filters)s::jsonb, %(actor)s, %(found)s, now(), now())
"""

_COLUMNS = """
  b.id, b.workspace_id, w.name AS workspace_name, b.filters, b.actor, b.status, b.found, b.retried, b.created_at,
  b.finished_at
"""

# One order.
FIND = f"""
SELECT {_COLUMNS} FROM bulk_retries b LEFT JOIN workspaces w ON w.id = b.workspace_id
WHERE b.id = %(id)s AND (%(workspace)s::text IS NULL OR b.workspace_id = %(workspace)s)
"""

# A page of orders, newest first.
LIST = f"""
SELECT {_COLUMNS} FROM bulk_retries b LEFT JOIN workspaces w ON w.id = b.workspace_id
WHERE (%(workspace)s::text IS NULL OR b.workspace_id = %(workspace)s)
  AND (%(before)s::text IS NULL OR b.id < %(before)s)
ORDER BY b.id DESC LIMIT %(limit)s
"""

# Stop an order. It waits for the piece that is being done.
CANCEL = "UPDATE bulk_retries SET status = 'cancelled', finished_at = now() WHERE id = %(id)s AND status = 'running'"

# Whether there is anything to do.
ANY_RUNNING = "SELECT EXISTS (SELECT FROM bulk_retries WHERE status = 'running' AND resume_at <= now())"

# Take the order that has waited longest, unless somebody has it.
TAKE = """
SELECT id, workspace_id, filters, cursor, passed_over, created_at FROM bulk_retries
WHERE status = 'running' AND resume_at <= now() ORDER BY resume_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
"""

# Keep this workspace. Nobody waits for who deletes it: that waits for the order's row, which goes with the workspace.
KEEP_WORKSPACE = "SELECT id FROM workspaces WHERE id = %(id)s FOR KEY SHARE SKIP LOCKED"

# What follows the cursor: a window, of which the filters let some in.
WINDOW_AFTER = f"""
SELECT d.id, d.created_at, d.endpoint_id,
  ({{rest}} AND {_BEFORE.format(ordered_at="%(ordered_at)s")}) AS fits
FROM (
  SELECT * FROM deliveries d WHERE {{narrow}} AND d.id > %(cursor)s ORDER BY d.id LIMIT %(window)s
) AS d ORDER BY d.id
"""

# Keep these endpoints as they are: whoever pauses or deletes one waits, drains that note its health do not.
LOCK_ENABLED = """
SELECT id FROM endpoints WHERE id = ANY (%(ids)s::text[]) AND status = 'enabled' ORDER BY id FOR KEY SHARE
"""

# Lock those that are still to be reopened.
LOCK_ENDED = f"""
SELECT d.id, d.created_at FROM unnest(%(ids)s::text[], %(times)s::timestamptz[]) AS key (id, created_at)
JOIN deliveries d ON d.id = key.id AND d.created_at = key.created_at
WHERE d.status IN ('failed', 'cancelled') AND {_BEFORE.format(ordered_at="%(ordered_at)s")}
ORDER BY d.id FOR UPDATE OF d
"""

# Note how far an order has come.
MOVE = """
UPDATE bulk_retries SET retried = retried + %(retried)s, cursor = %(cursor)s, passed_over = %(passed_over)s,
  status = %(status)s, resume_at = clock_timestamp() + make_interval(secs => %(pause)s),
  finished_at = CASE WHEN %(status)s = 'finished' THEN now() END
WHERE id = %(id)s
"""
