"""GET /v1/feed: all events of a workspace in one order, page by page; with `wait`, as soon as there are some."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flask import Blueprint

from app.core.feed import cursor as cursors
from app.core.feed.cursor import Cursor
from app.core.feed.wanted import MOST_KINDS, MOST_STREAMS, MOST_TYPES, Wanted, read_wanted
from app.core.problem import Problem, invalid
from app.core.times import read_time
from app.live.feed import ticks
from app.live.feed.pages import GONE, LOST, Feed, FeedEvent, Lost, Step, collect
from app.web.engine import Engine
from app.web.http import paging
from app.web.http.call import Answer, Call
from app.web.http.fields import Field
from app.web.http.routes import route
from app.web.live.credentials import Opener
from app.web.live.limits import check_limits
from app.web.metrics import streams as stream_metrics

api = Blueprint("feed", __name__)

PAGE_MILLISECONDS = 20  # how old the newest tick may be for whoever asks for a page
LOOK_SECONDS = 1.0  # a process that ends is noticed this late at most
MOST_WAIT_SECONDS = 30  # below the time after which proxies give up a silent request
_NAMES_LONGEST = 8000  # characters of a list of names: what servers take in a URL


def _names(name: str, about: str, each: str, most: int) -> Field:
    """A list of names; what each looks like is checked where it is read."""
    shape = {"pattern": f"^{each}(,{each}){{0,{most - 1}}}$"}
    return Field(name, "text", f"{about} (at most {most})", shortest=1, longest=_NAMES_LONGEST, shape=shape)


_KIND, _ID = "[a-z][a-z0-9_.-]{0,63}", "[A-Za-z0-9_~:@+=-][A-Za-z0-9_.~:@+=-]{0,199}"
_TYPE = r"([A-Za-z0-9_][A-Za-z0-9_.:-]{0,126}(\.\*)?|\*)"
AFTER = Field(
    "after",
    "text",
    "where to begin: earliest, latest, a time, or the cursor of an event or page (default earliest)",
    shortest=1,
    longest=cursors.LONGEST,
    shape={"pattern": "^[A-Za-z0-9_:.+-]+$"},
)
FILTERS = (
    _names("streams", "only these streams, as call:1,call:2", f"{_KIND}:{_ID}", MOST_STREAMS),
    _names("kinds", "only streams of these kinds, as call,session", _KIND, MOST_KINDS),
    _names("types", "only these types; call.* means all that begin with call.", _TYPE, MOST_TYPES),
)
WAIT = Field("wait", "integer", "seconds to wait for an event when there is none (default 0)", most=MOST_WAIT_SECONDS)


@route(
    api,
    "GET",
    "/v1/feed",
    scope="subscribe",
    query=(AFTER, *FILTERS, WAIT, paging.LIMIT),
    answers={200: "FeedPage"},
    refusals=("cursor_lost", "cursor_gone", "too_many"),
    transaction=False,
    summary="Read everything of the workspace from one cursor to the next, in order, without a gap",
)
def read_feed(call: Call) -> Answer:
    wanted = wanted_of(call.args)
    cursor = start_of(call.engine.feed, call.args.get("after", "earliest"))
    limit, until = paging.limit_of(call.args), time.monotonic() + call.args.get("wait", 0)
    engine = call.engine
    if "wait" not in call.args:
        engine.feed.tick(PAGE_MILLISECONDS)
        return Answer(_page(next_events(engine, call.workspace_id, cursor, wanted, limit)))
    with reading(engine, call.workspace_id, call.caller.key_id):
        while True:
            step = next_events(engine, call.workspace_id, cursor, wanted, limit)
            left = until - time.monotonic()
            if step.events or step.more or left <= 0 or engine.hub.stopping:
                return Answer(_page(step))
            cursor = step.cursor
            engine.feed_ticker.wait(cursor.after.id, min(left, LOOK_SECONDS))


@contextmanager
def reading(engine: Engine, workspace_id: str, key_id: str) -> Iterator[None]:
    """Somebody waits for events: it counts as a live connection, and ticks are made soon. Raises Problem too_many."""
    check_limits(engine, Opener(key_id, workspace_id))
    connections = engine.hub.connections
    connections.add(workspace_id, key_id)
    try:
        with engine.feed_ticker.reading():
            engine.feed_bell.listen()
            yield
    finally:
        connections.remove(workspace_id, key_id)


def wanted_of(given: Mapping[str, Any]) -> Wanted:
    """What the query asks for. Raises Problem invalid."""
    try:
        return read_wanted(given)
    except ValueError as error:
        name, text = error.args
        raise invalid(name, text) from None


def start_of(feed: Feed, after: str) -> Cursor:
    """Where a reader begins who asks so. Raises Problem invalid, cursor_lost, cursor_gone."""
    if after == "latest":
        return Cursor(feed.tick(0))
    if after == "earliest":
        return feed.start(ticks.first)
    try:
        at = read_time(after)
    except ValueError:
        return believed(feed, after)
    return feed.start(lambda connection: ticks.before(connection, at))


def believed(feed: Feed, text: str) -> Cursor:
    """The cursor that a text stands for. Raises Problem invalid, cursor_lost, cursor_gone."""
    try:
        cursor = cursors.decode(text)
    except ValueError:
        hint = "must be earliest, latest, a time, or a cursor of the feed, unchanged"
        raise invalid("after", hint) from None
    try:
        feed.check(cursor)
    except Lost as lost:
        if lost.reason != GONE:
            stream_metrics.CURSORS_AHEAD.inc()
        raise Problem(lost.reason, _MISSING[lost.reason], extra={"cursor": cursors.encode(lost.cursor)}) from None
    return cursor


_MISSING = {
    LOST: "The events behind this cursor were lost with a server; go on from the cursor that is given here.",
    GONE: "This cursor is older than what is kept; go on from the cursor that is given here, where the feed begins.",
}


def next_events(engine: Engine, workspace_id: str, cursor: Cursor, wanted: Wanted, limit: int) -> Step:
    """The next events that a reader wants. Raises DBAPIError."""

    def wants(event: FeedEvent) -> bool:
        return wanted.wants(event.type, event.kind, event.external_id)

    return collect(lambda at, span: engine.feed.step(workspace_id, at, span), cursor, wants, limit)


def _page(step: Step) -> bytes:
    data = b",".join(
        b'{"cursor":"%b","event":%b}' % (cursors.encode(event.cursor).encode(), event.body) for event in step.events
    )
    cursor = json.dumps(cursors.encode(step.cursor)).encode()
    return b'{"data":[%b],"cursor":%b,"more":%b}' % (data, cursor, b"true" if step.more else b"false")
