"""Consumers: readers of the feed whose place is kept. What a lease lets its holder do, and what lies behind a place.

A lease is a text that one reader has. It is lost when somebody else has read, or has moved the place, since; that its
time is over does no harm as long as nobody has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.core.feed.cursor import Cursor, Tick
from app.core.feed.window import Epoch, Window, is_beyond, next_stop, window

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
NAME_HINT = "must be a letter or digit, then letters, digits, _ and - (at most 64 in all), such as billing"
LEASE = re.compile(r"[A-Za-z0-9]{1,64}")
LEASE_HINT = "must be the lease that a read has answered"
LEAST_LEASE_SECONDS, MOST_LEASE_SECONDS = 1, 3600
LEASE_SECONDS = 60


class LeaseLost(Exception):
    """Somebody else has read since, or has moved the place."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a consumer is. page: the end of what was read with the lease; None: nothing yet. committed: the lease that
    was committed last, None when the place was moved since. leased_until: None exactly when lease is."""

    cursor: Cursor
    lease: str | None = None
    leased_until: datetime | None = None
    page: Cursor | None = None
    committed: str | None = None


def held_for(place: Place, lease: str, now: datetime) -> float | None:
    """For how many seconds somebody else still has the lease; None when whoever brings this one may read."""
    if place.leased_until is None or place.lease == lease or place.leased_until <= now:
        return None
    return (place.leased_until - now).total_seconds()


def commit(place: Place, lease: str, cursor: Cursor | None) -> Cursor | None:
    """Where the place goes by a commit; None when it is there already, by the same commit.

    cursor: up to where the events have been handled; None: all of the page. Raises LeaseLost, ValueError for a cursor
    that is none of the page's.
    """
    if place.lease != lease:
        if place.committed == lease and cursor in (None, place.cursor):
            return None
        raise LeaseLost
    if place.page is None:
        raise LeaseLost
    if cursor is None:
        return place.page
    if not _is_between(place.cursor, cursor, place.page):
        raise ValueError("is no cursor of the page that was read with this lease")
    return cursor


def windows_behind(cursor: Cursor, newest: Tick, epochs: Sequence[Epoch]) -> list[Window]:
    """What lies between a place and the newest tick, as windows; empty for a place that is not of this history."""
    if is_beyond(cursor, epochs):
        return []
    found = []
    if cursor.upto is not None:
        found.append(window(cursor, cursor.upto, epochs))
        cursor = Cursor(cursor.upto)
    while cursor.after.id < newest.id:
        stop = next_stop(cursor.after, newest, epochs)
        found.append(window(cursor, stop, epochs))
        if stop == newest:
            break
        cursor = Cursor(stop)
    return found


def _is_between(begin: Cursor, cursor: Cursor, end: Cursor) -> bool:
    return _order(begin) <= _order(cursor) <= _order(end)


def _order(cursor: Cursor) -> tuple[int, int, int]:
    """The order of the cursors of one page. A new history may begin at the tick that ended the one before."""
    return cursor.after.epoch, cursor.after.id, cursor.place if cursor.upto is not None else 0
