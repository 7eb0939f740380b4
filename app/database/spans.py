"""Rows of a span of time, by their ids: an id begins with the time at which its row was made."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from app.core import ids

_LOWEST = bytes(ids.RANDOM_BYTES)
# The times that ids can name: not before the Unix epoch. The end leaves room for another time zone and a millisecond.
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def within(
    alias: str,
    prefix: str,
    values: dict[str, Any],
    *,
    since: datetime | None,
    until: datetime | None,
    before: str | None,
) -> list[str]:
    """Conditions on when a row was made: as a range of ids, which the indexes have, and as a time, which names the
    partitions. Puts their parameters into `values`. since, until: aware; those beyond FIRST and LAST mean these. until:
    excluded; before: an id, likewise."""
    conditions = []
    if since is not None:
        since = min(max(since, FIRST), LAST)
        values |= {"since": since, "since_id": ids.make(prefix, since, _LOWEST)}
        conditions.append(f"{alias}.id >= %(since_id)s AND {alias}.created_at >= %(since)s")
    if until is not None:
        until = min(max(until, FIRST), LAST)
        # An id has milliseconds: of the one that `until` is in, those before it are let through by their time.
        values |= {"until": until, "until_id": ids.make(prefix, until + timedelta(milliseconds=1), _LOWEST)}
        conditions.append(f"{alias}.id < %(until_id)s AND {alias}.created_at < %(until)s")
    if before is not None:
        values |= {"before": before, "before_at": ids.created_at_of(before)}
        conditions.append(f"{alias}.id < %(before)s AND {alias}.created_at <= %(before_at)s")
    return conditions
