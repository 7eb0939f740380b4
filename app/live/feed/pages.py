"""Pages of the feed: the events of a workspace from one cursor to the next."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import TimeoutError

from app.core.feed.cursor import Cursor, Tick
from app.core.feed.window import Epoch, Window, beginning_of, is_beyond, next_stop, window
from app.database.connection import Database
from app.live.feed import ticks
from app.live.feed.turns import Turns

READ_EVENTS = 500  # in one statement
READ_BYTES = 1024 * 1024  # of their bodies; the first event always fits
SPAN, WIDEST_SPAN = 5_000, 5_000_000  # events of all workspaces between two stops: what one statement may have to sort
MOST_SCANNED = 20_000  # events that a filter leaves out before the caller is given a cursor to go on from
TICK_SECONDS = 10.0  # in which somebody's turn to have a tick made comes, as of a pool that is used up
MOST_SECONDS = 1.0  # of one collection: whoever reads is looked after in between

# The events of a workspace in a window (app/core/feed/window.py), in order. `found` counts those that were looked at:
# fewer events come back when they are large.
PAGE = f"""
SELECT no, type, kind, external_id, body, found
  FROM (SELECT next.*, count(*) OVER () AS found,
               sum(octet_length(next.body)) OVER (ORDER BY next.no) - octet_length(next.body) AS bytes_before
          FROM (SELECT e.no, e.type, e.stream_id, e.body
                  FROM (SELECT no, type, stream_id, body, xid
                          FROM events
                         WHERE workspace_id = %(workspace)s
                           AND xid >= (%(began)s::text)::xid8
                           AND xid < (%(ends)s::text)::xid8
                         UNION ALL
                        SELECT no, type, stream_id, body, xid
                          FROM events
                         WHERE workspace_id = %(workspace)s
                           AND xid = ANY((%(in_flight)s::text[])::xid8[])) AS e
                 WHERE e.no > %(above)s
                   AND e.no <= %(most)s
                   AND (%(upto)s::text IS NULL OR pg_visible_in_snapshot(e.xid, %(upto)s::text::pg_snapshot))
                 ORDER BY e.no
                 LIMIT {READ_EVENTS}) AS next) AS measured
  JOIN streams ON streams.id = stream_id
 WHERE bytes_before < {READ_BYTES}
 ORDER BY no
"""
# Whether a workspace has an event in a window, as far as the index tells.
HAS_ANY = """
SELECT EXISTS (SELECT FROM events
                WHERE workspace_id = %(workspace)s
                  AND xid >= (%(began)s::text)::xid8
                  AND xid < (%(ends)s::text)::xid8
                  AND no > %(above)s
                  AND no <= %(most)s)
    OR EXISTS (SELECT FROM events
                WHERE workspace_id = %(workspace)s
                  AND xid = ANY((%(in_flight)s::text[])::xid8[])
                  AND no > %(above)s
                  AND no <= %(most)s)
"""
_NO_END = 2**64 - 1


LOST, GONE = "cursor_lost", "cursor_gone"


class Lost(Exception):
    """A cursor behind which events are missing. reason: LOST for one of a future that was lost, GONE for one that is
    older than what is kept. cursor: from where nothing is missed that is still there."""

    def __init__(self, cursor: Cursor, reason: str = LOST) -> None:
        super().__init__(f"events behind the cursor are missing: {reason}")
        self.cursor = cursor
        self.reason = reason


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """An event as the feed shows it. body: the envelope. cursor: behind it."""

    type: str
    kind: str
    external_id: str
    body: bytes
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class Step:
    """What one statement found. events: all of the workspace, in order. cursor: behind them. more: whether there may be
    more; False where a reader has to wait for the next tick."""

    events: Sequence[FeedEvent]
    cursor: Cursor
    more: bool


class Feed:
    """The feed of a process's database. ticking: connections that ticks are made on, for which no reader has to be
    waited for; None: the same. epoch: the history in which it was read last."""

    def __init__(self, database: Database, ticking: Database | None = None) -> None:
        self.database = database
        self._ticking = ticking or database
        self._turns = Turns()
        self._tick_lock = threading.Lock()
        self._ticked_at, self._ticked_for = -math.inf, 0  # when the last look for a tick began, and how old it might be
        self._tick: Tick
        self.epoch = 0

    def tick(self, least_milliseconds: int) -> Tick:
        """The newest tick, made now if something was stored and the last one is that old. Of all who ask while another
        one is answered the first asks for the others. Raises DBAPIError, and TimeoutError when that takes too long."""
        asked_at = time.monotonic()
        if not self._tick_lock.acquire(timeout=TICK_SECONDS):
            raise TimeoutError("ticks are not made in time")
        try:
            if self._ticked_at < asked_at or self._ticked_for > least_milliseconds:
                began_at = time.monotonic()
                with self._ticking.alone() as connection:
                    self._tick = ticks.newest(connection, least_milliseconds)
                self.epoch = self._tick.epoch
                self._ticked_at, self._ticked_for = began_at, least_milliseconds
            return self._tick
        finally:
            self._tick_lock.release()

    @contextmanager
    def turn(self, workspace_id: str) -> Iterator[Connection]:
        """A transaction for what takes more than a moment. Raises as `step`."""
        with self._turns.of(workspace_id), self.database.begin() as connection:
            yield connection

    def start(self, choose: Callable[[Connection], Tick]) -> Cursor:
        """Behind a tick: ticks.first, or that of a time. Raises DBAPIError."""
        with self.database.begin() as connection:
            return Cursor(choose(connection))

    def check(self, cursor: Cursor) -> None:
        """Raises Lost for a cursor of a future that was lost, or of a past that is not kept, and DBAPIError."""
        self.tick(0)  # on another server it begins an epoch
        with self.database.begin() as connection:
            _require_known(connection, cursor)
            first = ticks.first(connection)
            if cursor.after.id < first.id:
                raise Lost(Cursor(first), GONE)

    def step(self, workspace_id: str, cursor: Cursor, span: int = SPAN) -> Step:
        """The next events behind a cursor. span: how many of all workspaces may lie between.

        Raises Lost, when another server has taken over since the cursor was given out, DBAPIError, and TimeoutError
        when too many read this workspace at once.
        """
        with self.turn(workspace_id) as connection:
            found = _stop(connection, cursor, span)
            if found is None:
                _require_known(connection, cursor)
                return Step((), cursor, more=False)
            epochs = ticks.epochs(connection)  # behind the tick, with which a new one is committed
            self.epoch = epochs[-1].id
            if is_beyond(cursor, epochs):
                raise _lost(connection, cursor, epochs)
            upto = found if found == cursor.upto else next_stop(cursor.after, found, epochs)
            if span > SPAN and cursor.upto is None and _has_any(connection, workspace_id, window(cursor, upto, epochs)):
                # A wide window only passes over what is others': a page of it would be sorted from all of it.
                near = ticks.stop_behind(connection, cursor.after, SPAN) or found
                upto = next_stop(cursor.after, near, epochs)
            rows = _rows(connection, workspace_id, window(cursor, upto, epochs))
        events = [
            FeedEvent(row.type, row.kind, row.external_id, bytes(row.body), cursor.at(upto, row.no)) for row in rows
        ]
        is_whole = not rows or rows[-1].found == len(rows) < READ_EVENTS
        return Step(events, Cursor(upto) if is_whole else events[-1].cursor, more=True)


def collect(
    read: Callable[[Cursor, int], Step], cursor: Cursor, wants: Callable[[FeedEvent], bool], limit: int
) -> Step:
    """The next events that are wanted, at most `limit`; fewer, or none, when so many others lie between that the caller
    should be told how far that was. read: steps of a workspace. Raises what it raises."""
    found: list[FeedEvent] = []
    scanned, size, span = 0, 0, SPAN
    ends_at = time.monotonic() + MOST_SECONDS
    while True:
        step = read(cursor, span)
        for event in step.events:
            if wants(event):
                found.append(event)
                size += len(event.body)
                if len(found) == limit or size >= READ_BYTES:
                    return Step(found, event.cursor, more=True)
        cursor = step.cursor
        scanned += len(step.events)
        if not step.more or scanned >= MOST_SCANNED or time.monotonic() >= ends_at:
            return Step(found, cursor, step.more)
        span = SPAN if step.events else min(span * 4, WIDEST_SPAN)
        time.sleep(0)  # others have their turn: steps that are shared come without any waiting


def _stop(connection: Connection, cursor: Cursor, span: int) -> Tick | None:
    """The tick up to which to read; None: there is none yet. A cursor names its own, unless somebody has put two far
    ticks together: then it is the one that a page from the first of them would have, and some events come again."""
    if cursor.upto is None:
        return ticks.stop_behind(connection, cursor.after, span)
    if cursor.upto.no - cursor.after.no <= SPAN:
        return cursor.upto
    near = ticks.stop_behind(connection, cursor.after, SPAN)
    return cursor.upto if near is None or near.id >= cursor.upto.id else near


def _require_known(connection: Connection, cursor: Cursor) -> None:
    """Raises Lost."""
    epochs = ticks.epochs(connection)
    if is_beyond(cursor, epochs) or not ticks.are_known(connection, cursor, epochs):
        raise _lost(connection, cursor, epochs)


def _lost(connection: Connection, cursor: Cursor, epochs: Sequence[Epoch]) -> Lost:
    """Where whoever has such a cursor goes on: where its history was followed by another, else at the newest tick."""
    last = cursor.upto or cursor.after
    follower = next((epoch for epoch in epochs if epoch.id == last.epoch + 1), None)
    if follower is None:
        return Lost(Cursor(ticks.last(connection)))
    begin, after = beginning_of(follower), Cursor(cursor.after)
    is_between = cursor.upto is not None and cursor.after.epoch == last.epoch
    if is_between and not is_beyond(after, epochs) and ticks.are_known(connection, after, epochs):
        # Of what the lost tick saw some is still there, up to the end of its history, that was not read.
        return Lost(cursor.at(begin, cursor.place))
    return Lost(Cursor(begin))


def _rows(connection: Connection, workspace_id: str, asked: Window) -> Sequence[Any]:
    return connection.exec_driver_sql(PAGE, parameters(workspace_id, asked)).all()


def _has_any(connection: Connection, workspace_id: str, asked: Window) -> bool:
    return bool(connection.exec_driver_sql(HAS_ANY, parameters(workspace_id, asked)).scalar_one())


def parameters(workspace_id: str, asked: Window) -> dict[str, Any]:
    """What a statement over a window is given."""
    return {
        "workspace": workspace_id,
        "began": str(asked.began),
        "ends": str(_NO_END if asked.upto is None else asked.upto.xmax),
        "in_flight": [str(xid) for xid in asked.in_flight],
        "upto": None if asked.upto is None else str(asked.upto),
        "above": asked.above,
        "most": asked.most,
    }
