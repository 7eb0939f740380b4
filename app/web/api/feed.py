"""GET and QUERY /v1/feed: all events of a workspace in one order, page by page; with `wait`, as soon as there are some.

QUERY (RFC 10008) is GET with a body: what is asked for may be longer than an address, and is no part of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flask import Blueprint, Response

from app.core.event import names
from app.core.event.filters.reading import FIELD, MOST_BYTES, MOST_LEVELS, MOST_TESTS
from app.core.feed import cursor as cursors
from app.core.feed.cursor import Cursor
from app.core.feed.wanted import MOST_KINDS, MOST_STREAMS, MOST_TYPES, Wanted, read_wanted
from app.core.problem import Problem, invalid
from app.core.times import read_time
from app.live.connections import Full
from app.live.feed import ticks
from app.live.feed.pages import GONE, LOST, Feed, FeedEvent, Lost, Step, collect
from app.web.engine import Engine
from app.web.http import paging, shapes
from app.web.http.call import Answer, Call
from app.web.http.fields import Field
from app.web.http.origins import allow_other_origins
from app.web.http.reading import JSON
from app.web.http.routes import route
from app.web.live.limits import limits, too_many
from app.web.metrics import streams as stream_metrics

api = Blueprint("feed", __name__)

PAGE_MILLISECONDS = 20  # how old the newest tick may be for whoever asks for a page
LOOK_SECONDS = 1.0  # a process that ends is noticed this late at most
MOST_WAIT_SECONDS = 30  # below the time after which proxies give up a silent request
_ASKED = (
    "only events whose data is so: a path (JSON Pointer) with eq, in, gt, gte, lt, lte or exists; and, or, not;"
    f" {MOST_TESTS} tests, {MOST_LEVELS} levels and {MOST_BYTES} bytes at most"
)
_ASKED_FOR = {"path": "/amount", "gte": 100}
_OBJECT = {"anyOf": [one for one in shapes.FILTER["anyOf"] if one != {"type": "null"}]}


def _names(name: str, about: str, each: str, most: int, example: str) -> Field:
    """A list of names; what each looks like is checked where it is read."""
    item = shapes.matching(each, maxLength=_LONGEST_NAME)
    return Field(name, "texts", about, least=1, most=most, shape={"items": item}, example=[example])


# A stream in a list: without the pattern's words for "." and "..", which no list can hold in its middle.
STREAM_NAME = rf"(?:{names.KIND.pattern}):[A-Za-z0-9_~:@+=-][A-Za-z0-9_.~:@+=-]{{0,199}}"
_LONGEST_NAME = 300  # of a stream with its kind
AFTER = Field(
    "after",
    "text",
    "where to begin: earliest, latest, a time, or the cursor of an event or page (default earliest)",
    shortest=1,
    longest=cursors.LONGEST,
    shape={"pattern": "^[A-Za-z0-9_:.+-]+$"},
)
FILTERS = (
    _names("streams", "only these streams, each as kind:id", STREAM_NAME, MOST_STREAMS, "call:call_42"),
    _names("kinds", "only streams of these kinds", names.KIND.pattern, MOST_KINDS, "call"),
    _names(
        "types",
        "only these types; call.* means all that begin with call.",
        rf"\*|{names.TYPE.pattern}(?:\.\*)?",
        MOST_TYPES,
        "call.*",
    ),
    Field(
        FIELD,
        "text",
        f"{_ASKED}; as JSON",
        shortest=1,
        longest=MOST_BYTES,
        shape={"contentMediaType": JSON, "pattern": r"^\{[^\u0000]*\}$"},
        example=json.dumps(_ASKED_FOR),
    ),
)
WAIT = Field("wait", "integer", "seconds to wait for an event when there is none (default 0)", most=MOST_WAIT_SECONDS)


# The same in a body, where a filter is an object.
FILTERS_IN_BODY = (*FILTERS[:-1], Field(FIELD, "object", _ASKED, shape=_OBJECT, example=_ASKED_FOR))
QUERY = (AFTER, *FILTERS_IN_BODY, WAIT, paging.LIMIT)


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
    return _answer(call, call.args)


@route(
    api,
    "QUERY",
    "/v1/feed",
    scope="subscribe",
    body=QUERY,
    answers={200: "FeedPage"},
    refusals=("cursor_lost", "cursor_gone", "too_many"),
    transaction=False,
    summary="The same with a body (RFC 10008): safe to repeat, and it may name more than an address holds",
)
def query_feed(call: Call) -> Answer:
    return _answer(call, call.body)


@api.after_request
def _tell_what_is_taken(response: Response) -> Response:
    """Which bodies QUERY takes here (RFC 10008), and that pages of any origin may ask with a key of their own."""
    response.headers["Accept-Query"] = JSON
    return allow_other_origins(response, "GET, HEAD, QUERY")


def _answer(call: Call, asked: Mapping[str, Any]) -> Answer:
    wanted = wanted_of(asked)
    cursor = start_of(call.engine.feed, asked.get("after", "earliest"))
    limit, until = paging.limit_of(asked), time.monotonic() + asked.get("wait", 0)
    engine = call.engine
    if "wait" not in asked:
        engine.feed.tick(PAGE_MILLISECONDS)
        return Answer(_page(next_events(engine, call.workspace_id, cursor, wanted, limit)))
    with reading(engine, call.workspace_id, call.caller.key_id):
        step = next_events(engine, call.workspace_id, cursor, wanted, limit)
        return Answer(_page(read_on(engine, call.workspace_id, step, wanted, limit, until)))


@contextmanager
def reading(engine: Engine, workspace_id: str, key_id: str) -> Iterator[None]:
    """Somebody waits for events: it counts as a live connection, and ticks are made soon. Raises Problem too_many."""
    try:
        engine.hub.enter(workspace_id, key_id, limits(engine.settings))
    except Full as full:
        raise too_many(full) from None
    try:
        with engine.feed_ticker.reading():
            engine.feed_bell.listen()
            yield
    finally:
        engine.hub.leave(workspace_id, key_id)


def read_on(engine: Engine, workspace_id: str, step: Step, wanted: Wanted, limit: int, until: float) -> Step:
    """The first step with something in it, from one that may have nothing on; the last one when the time is over or
    the process ends. until: monotonic seconds. Within `reading`. Raises as next_events."""
    while not (step.events or step.more or engine.hub.stopping) and (left := until - time.monotonic()) > 0:
        engine.feed_ticker.wait(step.cursor.after.id, min(left, LOOK_SECONDS))
        step = next_events(engine, workspace_id, step.cursor, wanted, limit)
    return step


def wanted_of(given: Mapping[str, Any]) -> Wanted:
    """What a query or a body asks for. Raises Problem invalid."""
    try:
        return read_wanted(given)
    except ValueError as error:
        name, text = error.args
        raise invalid(name, text) from None


def start_of(feed: Feed, after: str, name: str = "after") -> Cursor:
    """Where a reader begins who asks so. name: of the field that says it. Raises Problem invalid, cursor_lost,
    cursor_gone."""
    if after == "latest":
        return Cursor(feed.tick(0))
    if after == "earliest":
        return feed.start(ticks.first)
    try:
        at = read_time(after)
    except ValueError:
        return believed(feed, after, name)
    return feed.start(lambda connection: ticks.before(connection, at))


def believed(feed: Feed, text: str, name: str = "after") -> Cursor:
    """The cursor that a text stands for. name: of the field. Raises Problem invalid, cursor_lost, cursor_gone."""
    try:
        cursor = cursors.decode(text)
    except ValueError:
        hint = "must be earliest, latest, a time, or a cursor of the feed, unchanged"
        raise invalid(name, hint) from None
    try:
        feed.check(cursor)
    except Lost as lost:
        raise _missing(lost) from None
    return cursor


def _missing(lost: Lost) -> Problem:
    if lost.reason != GONE:
        stream_metrics.CURSORS_AHEAD.inc()
    return Problem(lost.reason, _MISSING[lost.reason], extra={"cursor": cursors.encode(lost.cursor)})


_MISSING = {
    LOST: "The events behind this cursor were lost with a server; go on from the cursor that is given here.",
    GONE: "This cursor is older than what is kept; go on from the cursor that is given here, where the feed begins.",
}


def next_events(engine: Engine, workspace_id: str, cursor: Cursor, wanted: Wanted, limit: int) -> Step:
    """The next events that a reader wants. Raises DBAPIError, and Problem: cursor_lost, cursor_gone."""

    def wants(event: FeedEvent) -> bool:
        return wanted.wants(event.type, event.kind, event.external_id, event.body)

    try:
        return collect(lambda at, span: engine.feed.step(workspace_id, at, span), cursor, wants, limit)
    except Lost as lost:  # another server has taken over since the request began
        raise _missing(lost) from None


def members_of(step: Step) -> bytes:
    """What a page of the feed has for members: its events, where it ends, and whether there may be more."""
    data = b",".join(
        b'{"cursor":"%b","event":%b}' % (cursors.encode(event.cursor).encode(), event.body) for event in step.events
    )
    cursor, more = cursors.encode(step.cursor).encode(), b"true" if step.more else b"false"
    return b'"data":[%b],"cursor":"%b","more":%b' % (data, cursor, more)


def _page(step: Step) -> bytes:
    return b"{%b}" % members_of(step)
