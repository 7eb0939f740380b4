"""/v1/feed/consumers: readers of the feed whose places are kept here. They read with a lease, and commit."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from flask import Blueprint
from sqlalchemy.exc import SQLAlchemyError

from app.core.event.filters.reading import FIELD, as_text
from app.core.feed import consumer as rules
from app.core.feed import cursor as cursors
from app.core.feed.cursor import Cursor
from app.core.problem import invalid
from app.core.wire.envelope import rfc3339
from app.live.feed import consumers, lag
from app.live.feed.consumers import Consumer
from app.live.feed.lag import Lag
from app.live.feed.pages import Step
from app.web.api.feed import (
    AFTER,
    WAIT,
    believed,
    members_of,
    next_events,
    read_on,
    reading,
    start_of,
    wanted_of,
)
from app.web.api.feed import FILTERS_IN_BODY as feed_filters
from app.web.http import paging, shapes
from app.web.http.call import Answer, Call
from app.web.http.fields import Field
from app.web.http.routes import route

api = Blueprint("consumers", __name__)

READ_SECONDS = 30.0  # in which a page is read, beside the time that its reader waits; nobody else reads meanwhile
# As of the feed itself; null: all.
FILTERS = tuple(
    replace(
        field,
        about=f"{field.about}; null: all",
        nullable=True,
        shape=shapes.FILTER if field.name == FIELD else field.shape,
    )
    for field in feed_filters
)
START = replace(
    AFTER,
    name="start",
    about="where a new consumer begins: earliest, latest, a time, or a cursor of the feed (default earliest)",
    example="latest",
)
TO = replace(
    AFTER,
    name="to",
    about="where to go on: earliest, latest, a time, or a cursor of the feed",
    required=True,
    example="2026-11-20T10:00:00Z",
)
LEASE_SECONDS = Field(
    "lease_seconds",
    "integer",
    f"how long nobody else may read, unless it is committed before (default {rules.LEASE_SECONDS})",
    least=rules.LEAST_LEASE_SECONDS,
    most=rules.MOST_LEASE_SECONDS,
    example=60,
)
LEASE = Field(
    "lease",
    "text",
    "the lease that the read answered",
    required=True,
    pattern=rules.LEASE,
    hint=rules.LEASE_HINT,
    longest=64,
    example="5d41402abc4b2a76b9719d911017c592",
)
CURSOR = Field(
    "cursor",
    "text",
    "of the last event that was handled; left out: all of the page was",
    shortest=1,
    longest=cursors.LONGEST,
    shape={"pattern": "^[A-Za-z0-9_-]+$"},
)


@route(
    api,
    "PUT",
    "/v1/feed/consumers/{consumer}",
    scope="subscribe",
    body=(*FILTERS, START),
    answers={201: "FeedConsumer", 200: "FeedConsumer"},
    refusals=("cursor_lost", "cursor_gone", "too_many"),
    transaction=False,
    summary="Make a consumer of the feed, or give one other filters; one that exists stays where it is",
)
def put_consumer(call: Call, consumer: str) -> Answer:
    wanted_of(call.body)
    filters = _stored(call.body)
    database = call.engine.feed.database
    with database.begin() as connection:
        is_there = consumers.exists(connection, call.workspace_id, consumer)
    start = None if is_there else start_of(call.engine.feed, call.body.get("start", "earliest"), "start")
    call.engine.feed.tick(lag.TICK_MILLISECONDS)
    with call.engine.feed.turn(call.workspace_id) as connection:
        is_new = consumers.put(connection, call.workspace_id, consumer, filters, start)
        found = consumers.find(connection, call.workspace_id, consumer)
        return Answer(_shown(lag.ruler(connection, call.workspace_id), found), 201 if is_new else 200)


@route(
    api,
    "GET",
    "/v1/feed/consumers",
    scope="subscribe",
    query=paging.PAGE,
    answers={200: "FeedConsumerList"},
    transaction=False,
    summary="List the consumers of the feed by name, with their lag",
)
def list_consumers(call: Call) -> Answer:
    limit = paging.limit_of(call.args)
    after = paging.after_cursor(call.args, lambda mark: bool(rules.NAME.fullmatch(mark)))
    call.engine.feed.tick(lag.TICK_MILLISECONDS)
    with call.engine.feed.turn(call.workspace_id) as connection:
        rows = consumers.listed(connection, call.workspace_id, limit=limit + 1, after=after)
        shown = partial(_shown, lag.ruler(connection, call.workspace_id))
        return Answer(paging.page(rows, limit, lambda row: row.name, shown))


@route(
    api,
    "GET",
    "/v1/feed/consumers/{consumer}",
    scope="subscribe",
    answers={200: "FeedConsumer"},
    transaction=False,
    summary="Read where a consumer is, who reads, and how far it is behind",
)
def get_consumer(call: Call, consumer: str) -> Answer:
    call.engine.feed.tick(lag.TICK_MILLISECONDS)
    with call.engine.feed.turn(call.workspace_id) as connection:
        found = consumers.find(connection, call.workspace_id, consumer)
        return Answer(_shown(lag.ruler(connection, call.workspace_id), found))


@route(
    api,
    "DELETE",
    "/v1/feed/consumers/{consumer}",
    scope="subscribe",
    answers={204: ""},
    summary="Forget a consumer",
)
def delete_consumer(call: Call, consumer: str) -> Answer:
    consumers.delete(call.session.connection(), call.workspace_id, consumer)
    return Answer(None, 204)


@route(
    api,
    "POST",
    "/v1/feed/consumers/{consumer}/read",
    scope="subscribe",
    body=(paging.LIMIT, WAIT, LEASE_SECONDS),
    answers={200: "FeedLease"},
    refusals=("lease_held", "lease_lost", "cursor_lost", "cursor_gone", "too_many"),
    transaction=False,
    summary="Read the next events of a consumer, with a lease: until it is committed or over, nobody else reads",
)
def read_consumer(call: Call, consumer: str) -> Answer:
    limit, wait = paging.limit_of(call.body), call.body.get("wait", 0)
    lease, database = _lease_of(call), call.engine.feed.database
    with database.begin() as connection:
        held = consumers.lease(connection, call.workspace_id, consumer, lease, wait + READ_SECONDS)
    try:
        step = _read(call, held, limit, wait)
        with database.begin() as connection:
            if not step.events:
                consumers.pass_over(connection, call.workspace_id, held, step.cursor)
                return Answer(_page(step, None))
            seconds = call.body.get("lease_seconds", rules.LEASE_SECONDS)
            until = consumers.hand_out(connection, call.workspace_id, held, step.cursor, seconds)
        return Answer(_page(step, (lease, rfc3339(until))))
    except BaseException:
        with suppress(SQLAlchemyError), database.begin() as connection:  # else it ends by itself
            consumers.release(connection, call.workspace_id, held)
        raise


@route(
    api,
    "POST",
    "/v1/feed/consumers/{consumer}/commit",
    scope="subscribe",
    body=(LEASE, CURSOR),
    answers={200: "FeedPlace"},
    refusals=("lease_lost",),
    summary="Say what was handled of a page, and end its lease; what was not is read again. Twice is once",
)
def commit_consumer(call: Call, consumer: str) -> Answer:
    connection = call.session.connection()
    cursor = None
    if "cursor" in call.body:
        try:
            cursor = cursors.decode(call.body["cursor"])
        except ValueError:
            raise invalid("cursor", "must be a cursor of the page, unchanged") from None
    try:
        found = consumers.commit(connection, call.workspace_id, consumer, call.body["lease"], cursor)
    except ValueError as error:
        raise invalid("cursor", str(error)) from None
    return Answer(_place(found))


@route(
    api,
    "POST",
    "/v1/feed/consumers/{consumer}/seek",
    scope="subscribe",
    body=(TO,),
    answers={200: "FeedPlace"},
    refusals=("cursor_lost", "cursor_gone"),
    transaction=False,
    summary="Move a consumer to another place; whoever reads it now has lost the lease",
)
def seek_consumer(call: Call, consumer: str) -> Answer:
    database = call.engine.feed.database
    with database.begin() as connection:
        consumers.find(connection, call.workspace_id, consumer)
    place = start_of(call.engine.feed, call.body["to"], "to")  # before the row is locked
    with database.begin() as connection:
        return Answer(_place(consumers.seek(connection, call.workspace_id, consumer, place)))


def _stored(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The filters that a body names, as they are kept: lists, and the content's as text."""
    lists = {name: sorted(set(asked[name])) for name in ("streams", "kinds", "types") if asked.get(name)}
    content = asked.get(FIELD)
    return lists if content is None else lists | {FIELD: as_text(content)}


def _lease_of(call: Call) -> str:
    """A new lease; for a read that is repeated with its key the same one, so that a lost answer can be asked for."""
    if call.idempotency_key is None:
        return os.urandom(16).hex()
    named = f"{call.caller.key_id}/{call.idempotency_key}"
    return hashlib.sha256(named.encode()).hexdigest()[:32]


def _read(call: Call, found: Consumer, limit: int, wait: float) -> Step:
    """The next events that a consumer wants. Raises Problem cursor_lost, cursor_gone, too_many; DBAPIError."""
    engine, wanted = call.engine, wanted_of(found.filters)
    cursor = believed(engine.feed, cursors.encode(found.place.cursor))
    step = next_events(engine, call.workspace_id, cursor, wanted, limit)
    if step.events or step.more or not wait:
        return step
    until = time.monotonic() + wait
    with reading(engine, call.workspace_id, call.caller.key_id):
        return read_on(engine, call.workspace_id, step, wanted, limit, until)


def _page(step: Step, lease: tuple[str, str] | None) -> bytes:
    named = b"null" if lease is None else b'"%b"' % lease[0].encode()
    until = b"null" if lease is None else b'"%b"' % lease[1].encode()
    return b'{"lease":%b,"leased_until":%b,%b}' % (named, until, members_of(step))


def _place(found: Consumer) -> dict[str, Any]:
    """Where a consumer is, which costs nothing to say."""
    committed_at = rfc3339(found.committed_at) if found.committed_at else None
    return {"name": found.name, "cursor": cursors.encode(found.place.cursor), "committed_at": committed_at}


def _shown(measure: Callable[[Cursor], Lag], found: Consumer) -> dict[str, Any]:
    """A consumer as the API shows it. Its lease is its reader's secret."""
    place = found.place
    behind = measure(place.cursor)
    held = place.leased_until is not None and place.leased_until > found.now
    seconds = 0.0 if behind.since is None else max(0.0, (found.now - behind.since).total_seconds())
    return _place(found) | {
        "streams": found.filters.get("streams"),
        "kinds": found.filters.get("kinds"),
        "types": found.filters.get("types"),
        FIELD: None if (content := found.filters.get(FIELD)) is None else json.loads(content),
        "leased_until": rfc3339(place.leased_until) if held and place.leased_until else None,
        "lag": {"events": behind.events, "at_least": behind.at_least, "seconds": round(seconds, 3)},
        "created_at": rfc3339(found.created_at),
        "read_at": rfc3339(found.read_at) if found.read_at else None,
    }
