"""GET /v1/feed/live: everything of a workspace as it happens, over one connection, with a cursor that never gaps.

Each event is read from PostgreSQL; the bus only says that there is something. A viewer that falls behind reads on from
where it was.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from flask import Blueprint, Response, request
from sqlalchemy.exc import SQLAlchemyError

from app.core.feed import cursor as cursors
from app.core.feed.cursor import Cursor
from app.core.problem import Problem, first_line
from app.core.wire import sse
from app.live.feed.pages import Lost, collect
from app.web.api.feed import AFTER, FILTERS, believed, reading, start_of, wanted_of
from app.web.http.call import Call
from app.web.http.routes import route
from app.web.live.opening import client_socket
from app.web.live.sse import Unanswered
from app.web.live.view import WAIT_SECONDS, View

log = logging.getLogger(__name__)

api = Blueprint("feed_view", __name__)

FRAMES = 250  # in one piece
_LAST_EVENT_ID = (
    "Last-Event-ID",
    f"[A-Za-z0-9_-]{{1,{cursors.LONGEST}}}",
    "the id of the last event that was seen: the feed goes on behind it. It wins over `after`",
)


@route(
    api,
    "GET",
    "/v1/feed/live",
    scope="subscribe",
    query=(AFTER, *FILTERS),
    headers=(_LAST_EVENT_ID,),
    transaction=False,
    answers={200: "feed"},
    refusals=("too_many",),
    summary="Follow everything of the workspace over one connection (SSE); `id` is the cursor to go on from",
)
def follow_feed(call: Call) -> Response:
    sock = client_socket()
    wanted = wanted_of(call.args)
    cursor, opening = _begin(call)
    if request.method == "HEAD":
        return Response(headers=list(sse.HEADERS))
    if call.engine.hub.stopping:
        return Unanswered()

    def wants(event: Any) -> bool:
        return wanted.wants(event.type, event.kind, event.external_id)

    view = FeedView(call, sock, cursor, wants, opening)
    view.open()
    return view.response()


def _begin(call: Call) -> tuple[Cursor, list[bytes]]:
    """Where to begin, and what to say first. Raises Problem."""
    last = request.headers.get("Last-Event-ID")
    if not last:
        return start_of(call.engine.feed, call.args.get("after", "latest")), []
    try:
        return believed(call.engine.feed, last), []
    except Problem as problem:
        if problem.code != "cursor_lost" or problem.extra is None:
            raise
        cursor = cursors.decode(problem.extra["cursor"])
        return cursor, [_reset(cursor)]


def _reset(cursor: Cursor) -> bytes:
    """Tells a viewer that what it saw was lost with a server, and where it goes on."""
    text = cursors.encode(cursor)
    data = json.dumps({"reason": "cursor_lost", "cursor": text}, separators=(",", ":")).encode()
    return sse.frame("reset", text, data)


class FeedView(View):
    """One viewer. wants: whether it wants an event. opening: frames to begin with."""

    def __init__(self, call: Call, sock: Any, cursor: Cursor, wants: Any, opening: Sequence[bytes]) -> None:
        super().__init__(call.engine.hub, sock)
        self._engine, self._caller, self._workspace_id = call.engine, call.caller, call.workspace_id
        self._cursor, self._wants, self._opening = cursor, wants, list(opening)
        self._waits = False
        self._failing = False
        self._stack = ExitStack()

    def open(self) -> None:
        """Count the viewer. Raises Problem too_many."""
        self._stack.enter_context(reading(self._engine, self._workspace_id, self._caller.key_id))

    def close(self) -> None:
        """Stop counting the viewer. Twice is once."""
        self._stack.close()

    def may_see(self) -> bool:
        """Whether key and workspace still exist."""
        return self._engine.callers.may_still_act(self._caller, self._workspace_id)

    def next_frames(self) -> Sequence[bytes]:
        """A frame for each event that is wanted, as many as there are now."""
        if self._opening:
            frames, self._opening = self._opening, []
            return frames
        if self._waits:
            ticker = self._engine.feed_ticker
            ticker.wait(self._cursor.after.id, WAIT_SECONDS)
            if ticker.newest == self._cursor.after.id:
                return ()
        try:
            if self._failing:  # PostgreSQL was away: it may be another one now
                self._engine.feed.check(self._cursor)
            step = collect(self._read, self._cursor, self._wants, FRAMES)
        except Lost as lost:
            self._failing, self._cursor = False, lost.cursor
            return [_reset(lost.cursor)]
        except SQLAlchemyError as error:
            if not self._failing:
                log.warning("a view of the feed waits for PostgreSQL: %s", first_line(error))
            self._failing = True
            threading.Event().wait(WAIT_SECONDS)
            return ()
        self._failing, self._waits, self._cursor = False, not step.more, step.cursor
        return [sse.frame(event.type, cursors.encode(event.cursor), event.body) for event in step.events]

    def _read(self, cursor: Cursor, span: int) -> Any:
        return self._engine.feed_steps.step(self._workspace_id, cursor, span)
