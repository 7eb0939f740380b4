"""Consumers of a workspace's feed as pages show them: where each is, who reads, how far it is behind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from app.core.event.filters.reading import FIELD
from app.core.feed import consumer as rules
from app.core.feed.cursor import Cursor
from app.database.partitions import database_time
from app.live.feed import consumers, lag, ticks
from app.live.feed.consumers import Consumer
from app.live.feed.lag import Lag
from app.web.engine import Engine
from app.web.pages.console import queries

_WORDS = {FIELD: "content"}  # of filters that have other names for programs


@dataclass(frozen=True, slots=True)
class ConsumerRow:
    """One consumer. reads: its filters in words. at: the time of its place, None when that is older than what is kept.
    leased_until: None while nobody reads."""

    name: str
    reads: str
    at: datetime | None
    behind: Lag
    behind_seconds: float
    leased_until: datetime | None
    committed_at: datetime | None
    read_at: datetime | None


@dataclass(frozen=True, slots=True)
class ConsumerPage:
    """Consumers by name. cursor: the name that the next page begins behind, None at the end. now: the database's."""

    rows: Sequence[ConsumerRow]
    cursor: str | None
    now: datetime


def read_page(engine: Engine, workspace_id: str, after: str | None) -> ConsumerPage:
    """A page of a workspace's consumers. after: as the address has it. Raises DBAPIError."""
    engine.feed.tick(lag.TICK_MILLISECONDS)
    behind = after if after and rules.NAME.fullmatch(after) else None
    with engine.feed.turn(workspace_id) as connection:
        found = consumers.listed(connection, workspace_id, limit=queries.PAGE_ROWS + 1, after=behind)
        shown = found[: queries.PAGE_ROWS]
        measure = lag.ruler(connection, workspace_id)
        lags = [measure(one.place.cursor) for one in shown]
        times = ticks.times_of(connection, [_last(one.place.cursor) for one in shown])
        now = database_time(connection)
    rows = [_row(one, behind, times.get(_last(one.place.cursor))) for one, behind in zip(shown, lags, strict=True)]
    return ConsumerPage(rows, shown[-1].name if len(found) > len(shown) else None, now)


def _listed(values: Sequence[str] | str) -> str:
    """Names, or a content filter, which is a text."""
    return values if isinstance(values, str) else ", ".join(values)


def _last(cursor: Cursor) -> int:
    """The number of the tick up to which a cursor's reader has seen something."""
    return (cursor.upto or cursor.after).id


def _row(found: Consumer, behind: Lag, at: datetime | None) -> ConsumerRow:
    place = found.place
    held = place.leased_until is not None and place.leased_until > found.now
    seconds = 0.0 if behind.since is None else max(0.0, (found.now - behind.since).total_seconds())
    return ConsumerRow(
        found.name,
        "; ".join(f"{_WORDS.get(name, name)}: {_listed(values)}" for name, values in found.filters.items() if values)
        or "everything",
        at,
        behind,
        seconds,
        place.leased_until if held else None,
        found.committed_at,
        found.read_at,
    )
