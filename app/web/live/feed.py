"""GET /v1/feed/live and /v1/feed/ws: everything of a workspace as it happens, over one connection, with a cursor that
never gaps.

Each event is read from PostgreSQL; the bus only says that there is something. A viewer that falls behind reads on from
where it was.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from flask import Blueprint, Response, request
from sqlalchemy.exc import SQLAlchemyError

from app.accounts.callers import Caller
from app.core import tokens
from app.core.feed import cursor as cursors
from app.core.feed.cursor import Cursor
from app.core.feed.wanted import Wanted
from app.core.problem import Problem, first_line
from app.core.wire import sse
from app.live.feed.pages import Feed, FeedEvent, Lost, Step, collect
from app.live.feed.tokens import find_token, usable_token
from app.web.api.feed import AFTER, FILTERS, believed, reading, start_of, wanted_of
from app.web.engine import Engine, engine
from app.web.http.call import Admission, ApiRoute, Call
from app.web.http.fields import Field
from app.web.http.origins import allow_other_origins
from app.web.http.reading import sent_secrets
from app.web.http.routes import by_key, route
from app.web.live.feed_frames import EventFrames, Frames, TextFrames
from app.web.live.lines import EventSourceLine, Line, SocketLine
from app.web.live.opening import client_socket
from app.web.live.sse import Unanswered
from app.web.live.view import WAIT_SECONDS, View, while_there
from app.web.live.websocket import accept_handshake

log = logging.getLogger(__name__)

api = Blueprint("feed_view", __name__)
api.after_request(allow_other_origins)

FRAMES = 250  # read at once, of a mebibyte at most
_LAST_EVENT_ID = (
    "Last-Event-ID",
    f"[A-Za-z0-9_-]{{1,{cursors.LONGEST}}}",
    "the id of the last event that was seen: the feed goes on behind it. It wins over `after`",
)
TOKEN = Field(
    "token",
    "text",
    "a token of the feed, for clients that cannot send headers, such as a browser's EventSource",
    shortest=1,
    longest=tokens.MAX_LENGTH,
    shape={"pattern": "^[A-Za-z0-9_.-]+$"},
)


def by_key_or_token(declared: ApiRoute) -> Admission:
    """Admit whoever has a key with the scope, or a token of the feed. Raises Problem."""
    secrets = sent_secrets(request)
    sent = secrets.bearer
    if not sent and not secrets.api_key:
        sent = request.args.get("token", "")
        if sent and not tokens.looks_like(sent):
            raise Problem("unauthorized", "Only a token is taken in the address; send a key as Authorization: Bearer.")
    if not tokens.looks_like(sent):
        return by_key(declared)
    found = find_token(engine().database, engine().settings, sent)
    if found is None:
        raise Problem("unauthorized", "This token does not open the feed, or it has expired; mint a fresh one.")
    caller = Caller(found.key_id, found.workspace_id, frozenset({declared.scope}))
    return Admission(caller, found.workspace_id, token=found)


@route(
    api,
    "GET",
    "/v1/feed/live",
    scope="subscribe",
    query=(AFTER, *FILTERS, TOKEN),
    headers=(_LAST_EVENT_ID,),
    transaction=False,
    answers={200: "feed"},
    refusals=("too_many",),
    admit=by_key_or_token,
    summary="Follow everything of the workspace over one connection (SSE); `id` is the cursor to go on from",
)
def follow_feed(call: Call) -> Response:
    sock = client_socket()
    wanted, last = _allowed(call), request.headers.get("Last-Event-ID")
    frames = EventFrames()
    cursor, opening = _begin(call.engine.feed, frames, call.args.get("after", "latest"), last)
    if request.method == "HEAD":
        return Response(headers=list(sse.HEADERS))
    return _show(call.engine, _watch_of(call), EventSourceLine(sock), frames, wanted, cursor, opening)


@route(
    api,
    "GET",
    "/v1/feed/ws",
    scope="subscribe",
    query=(AFTER, *FILTERS, TOKEN),
    transaction=False,
    answers={101: "switched"},
    refusals=("too_many", "upgrade_required"),
    admit=by_key_or_token,
    websocket=True,
    summary="The same over a WebSocket: each text has a `cursor` to go on from (as `after`), and an `event`",
)
def follow_feed_by_websocket(call: Call) -> Response:
    accept = accept_handshake()
    sock = client_socket()
    wanted, frames = _allowed(call), TextFrames()
    cursor, opening = _begin(call.engine.feed, frames, call.args.get("after", "latest"), None)
    return _show(call.engine, _watch_of(call), SocketLine(sock, accept), frames, wanted, cursor, opening)


@dataclass(frozen=True, slots=True)
class Watch:
    """Who watches. owner_id: whose views are limited, besides those of the workspace. may_see: whether they may still
    watch; it may raise SQLAlchemyError or Abandoned, which change nothing. life_seconds: what is left of the
    credential's time, None for a key."""

    workspace_id: str
    owner_id: str
    may_see: Callable[[], bool]
    life_seconds: float | None


def _watch_of(call: Call) -> Watch:
    """By a key, or by a token of the feed; as long as that and the workspace exist."""
    engine, caller, token, workspace_id = call.engine, call.caller, call.token, call.workspace_id
    if token is None:
        return Watch(workspace_id, caller.key_id, lambda: engine.callers.may_still_act(caller, workspace_id), None)
    may_see = while_there(engine.database, usable_token, token.id)
    return Watch(workspace_id, caller.key_id, may_see, token.life_seconds)


def show_feed(engine: Engine, watch: Watch, sock: Any, wanted: Wanted, after: str, last: str | None) -> Response:
    """The response that shows a page's reader the feed, as server-sent events. after: as of the API; last: the cursor
    behind what was seen, which wins. Raises Problem."""
    frames = EventFrames()
    cursor, opening = _begin(engine.feed, frames, after, last)
    return _show(engine, watch, EventSourceLine(sock), frames, wanted, cursor, opening)


def _show(
    engine: Engine,
    watch: Watch,
    line: Line,
    frames: Frames,
    wanted: Wanted,
    cursor: Cursor,
    opening: Sequence[bytes],
) -> Response:
    if engine.hub.stopping:
        return Unanswered()
    view = FeedView(engine, watch, line, frames, wanted, cursor, opening)
    view.open()
    return view.response()


def _allowed(call: Call) -> Wanted:
    """What the viewer wants to see, of what its credential opens. Raises Problem invalid, unauthorized."""
    wanted = wanted_of(call.args)
    if call.token is None:
        return wanted
    try:
        return wanted.within(call.token.allowed)
    except ValueError as error:
        raise Problem("unauthorized", f"This token does not open {error}; mint one that does.") from None


def _begin(feed: Feed, frames: Frames, after: str, last: str | None) -> tuple[Cursor, list[bytes]]:
    """Where to begin, and what to say first. last: the cursor behind what was seen. Raises Problem."""
    try:
        cursor = believed(feed, last) if last else start_of(feed, after)
        # Who begins now is told where that is, so that a cut before the first event does not move it.
        return cursor, [frames.place(cursor)] if not last and after == "latest" else []
    except Problem as problem:
        if "cursor" not in problem.extra:
            raise
        cursor = cursors.decode(problem.extra["cursor"])
        return cursor, [frames.reset(problem.code, cursor)]


class FeedView(View):
    """One viewer. wanted: what it is shown. opening: frames to begin with."""

    def __init__(
        self,
        engine: Engine,
        watch: Watch,
        line: Line,
        frames: Frames,
        wanted: Wanted,
        cursor: Cursor,
        opening: Sequence[bytes],
    ) -> None:
        super().__init__(engine.hub, line, watch.life_seconds)
        self._engine, self._watch, self._workspace_id = engine, watch, watch.workspace_id
        self._frames, self._wanted, self._opening = frames, wanted, list(opening)
        self._cursor = self._told = cursor
        self._waits = False
        self._failing = False
        self._lag = 0, True  # nothing has been read yet
        self._stack = ExitStack()

    @property
    def workspace_id(self) -> str:
        """Whose feed it is."""
        return self._workspace_id

    @property
    def lag(self) -> tuple[int, bool]:
        """How many events it has not been sent yet, and whether there may be more, as far as it has read."""
        return self._lag

    def open(self) -> None:
        """Count the viewer, and have it listed. Raises Problem too_many."""
        self._stack.enter_context(reading(self._engine, self._workspace_id, self._watch.owner_id))
        self._stack.enter_context(self._engine.census.listing(self))

    def close(self) -> None:
        """Stop counting the viewer. Twice is once."""
        self._stack.close()

    def may_see(self) -> bool:
        """As of whoever watches."""
        return self._watch.may_see()

    def next_frames(self) -> Sequence[bytes]:
        """A frame for each event that is wanted, as many as there are now."""
        if self._opening:
            frames, self._opening = self._opening, []
            return frames
        if self._waits:
            self._lag = 0, self._failing
            ticker = self._engine.feed_ticker
            ticker.wait(self._cursor.after.id, WAIT_SECONDS)
            after = self._cursor.after
            # A smaller one, or the same in another history: PostgreSQL is another, and has to be looked at.
            if ticker.newest == after.id and self._engine.feed.epoch == after.epoch:
                return ()
        try:
            if self._failing:  # PostgreSQL was away: it may be another one now
                self._engine.feed.check(self._cursor)
            step = collect(self._read, self._cursor, self._wants, FRAMES)
        except Lost as lost:
            self._failing, self._cursor = False, lost.cursor
            return [self._frames.reset(lost.reason, lost.cursor)]
        except SQLAlchemyError as error:
            if not self._failing:
                log.warning("a view of the feed waits for PostgreSQL: %s", first_line(error))
            self._failing = True
            threading.Event().wait(WAIT_SECONDS)
            return ()
        self._failing, self._waits, self._cursor = False, not step.more, step.cursor
        self._lag = len(step.events), step.more
        if step.events:
            self._told = step.events[-1].cursor
        return [self._frames.event(event) for event in step.events]

    def quiet_frames(self) -> Sequence[bytes]:
        """How far a viewer has come who was shown nothing of what came: so far nothing need be read again for it."""
        if self._told == self._cursor:
            return ()
        self._told = self._cursor
        return [self._frames.place(self._cursor)]

    def _wants(self, event: FeedEvent) -> bool:
        return self._wanted.wants(event.type, event.kind, event.external_id, event.body)

    def _read(self, cursor: Cursor, span: int) -> Step:
        return self._engine.feed_steps.step(self._workspace_id, cursor, span)
