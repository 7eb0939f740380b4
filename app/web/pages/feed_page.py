"""What the pages of a workspace's feed show, in the console and in the portal: a page of events, and where it goes on.

The filters of the address are forgiving, as those of other pages are: one that makes no sense is named, and left out.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Connection

from app.core.feed import cursor as cursors
from app.core.feed.cursor import Cursor
from app.core.feed.wanted import Wanted, read_wanted
from app.core.problem import Problem
from app.core.times import read_time
from app.core.wire.envelope import data_of, rfc3339
from app.live.feed import newest, ticks
from app.live.feed.pages import FeedEvent, Step
from app.web.api.feed import PAGE_MILLISECONDS, next_events, start_of
from app.web.engine import Engine
from app.web.pages.console import queries

PAGE_EVENTS = 50
_LOOK_EVENTS = 250  # read at once on the way to the newest
_MOST_LOOKS = 4  # then the live view goes on; more than a thousand have come in the meantime
_MARGIN = timedelta(seconds=2)  # between the clock that an event's time is of and the one of the ticks
EARLIEST = "earliest"
FILTERS = {"stream": "streams", "kind": "kinds", "type": "types"}  # as people name them, and as the API does
_READ = Callable[[], AbstractContextManager[Connection]]


@dataclass(slots=True)
class AskedFeed:
    """What the address asks for. given: what is not empty, by name. start: `earliest` or a time; "" for the newest.
    after: a cursor to go on from, "" for none. wrong: a sentence for each filter that makes no sense."""

    given: dict[str, str] = field(default_factory=dict)
    wanted: Wanted = field(default_factory=Wanted)
    start: str = ""
    after: str = ""
    wrong: list[str] = field(default_factory=list)

    @property
    def filters(self) -> str:
        """The query of the live view: what is wanted, and not where to begin."""
        return urlencode({name: self.given[name] for name in FILTERS if name in self.given})

    def on(self, cursor: str) -> str:
        """The query of the page behind a cursor."""
        return urlencode({**self.given, "after": cursor})


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """One event. data: its payload, as it was spelled."""

    id: str
    type: str
    kind: str
    stream: str
    seq: int
    timestamp: datetime
    data: str


@dataclass(frozen=True, slots=True)
class FeedPage:
    """Events in the feed's order. cursor: behind them. more: whether there may be more now. moved: what to say when the
    place that was asked for is no longer there."""

    events: list[ShownEvent]
    cursor: str
    more: bool
    moved: str = ""


def asked_of(args: Mapping[str, str]) -> AskedFeed:
    """The filters of an address, and its cursor. args: whole, since a cursor and a list of streams may be long."""
    asked = AskedFeed(filters_in(args))
    good: dict[str, Any] = {}
    for name, theirs in FILTERS.items():
        if (text := asked.given.get(name)) is None:
            continue
        value = {theirs: _streams(text) if name == "stream" else text}
        try:
            read_wanted(value)
            good |= value
        except ValueError as error:
            asked.wrong.append(f"The filter {name} was left out: {error.args[1]}.")
            del asked.given[name]
    asked.wanted = read_wanted(good)
    asked.start = _start(asked)
    asked.after = args.get("after", "").strip()
    return asked


def filters_in(args: Mapping[str, str]) -> dict[str, str]:
    """What an address says of filters, and from when on; without what is empty."""
    named = {name: args.get(name, "").replace("\0", "").strip() for name in (*FILTERS, "from")}
    return {name: text for name, text in named.items() if text}


def read_page(engine: Engine, read: _READ, workspace_id: str, asked: AskedFeed) -> FeedPage:
    """The page that is asked for: behind a cursor, from a time on, or the newest events. read: a transaction that reads
    the database. Raises Problem, DBAPIError."""
    engine.feed.tick(PAGE_MILLISECONDS)
    moved = ""
    try:
        if asked.after or asked.start:
            cursor = start_of(engine.feed, asked.after or asked.start)
            return _page(next_events(engine, workspace_id, cursor, asked.wanted, PAGE_EVENTS))
        with read() as connection:
            since = newest.since(connection, workspace_id, asked.wanted, PAGE_EVENTS)
        return _page(_newest(engine, workspace_id, asked.wanted, since))
    except Problem as problem:
        if "cursor" not in problem.extra:
            raise
        moved = "What was behind that place is no longer there. The feed goes on here."
        cursor = cursors.decode(problem.extra["cursor"])
        return _page(next_events(engine, workspace_id, cursor, asked.wanted, PAGE_EVENTS), moved)


def _newest(engine: Engine, workspace_id: str, wanted: Wanted, since: datetime | None) -> Step:
    """The newest events that are wanted, of those since a time; None: there are none."""
    if since is None:
        return Step((), Cursor(engine.feed.tick(0)), more=False)
    cursor = engine.feed.start(lambda connection: ticks.before(connection, since - _MARGIN))
    found: deque[FeedEvent] = deque(maxlen=PAGE_EVENTS)
    for _ in range(_MOST_LOOKS):
        step = next_events(engine, workspace_id, cursor, wanted, _LOOK_EVENTS)
        found.extend(step.events)
        cursor = step.cursor
        if not step.more:
            break
    return Step(tuple(found), cursor, more=False)


def _page(step: Step, moved: str = "") -> FeedPage:
    return FeedPage([_shown(event) for event in step.events], cursors.encode(step.cursor), step.more, moved)


def _shown(event: FeedEvent) -> ShownEvent:
    envelope = json.loads(event.body)
    data = data_of(event.body).decode("utf-8", "replace")
    at = read_time(envelope["timestamp"])
    return ShownEvent(envelope["id"], event.type, event.kind, event.external_id, envelope["seq"], at, data)


def _streams(text: str) -> str:
    """Streams as people write them, kind/id, as the feed names them."""
    return ",".join(one.strip().replace("/", ":", 1) for one in text.split(","))


def _start(asked: AskedFeed) -> str:
    text = asked.given.get("from", "")
    if text in ("", EARLIEST):
        return text
    found = queries.moment(text)
    if found is None:
        asked.wrong.append(f"“{text}” is not a time; it was left out. Write 2026-11-20T10:00, 24h, or earliest.")
        del asked.given["from"]
        return ""
    return rfc3339(found)
