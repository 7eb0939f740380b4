"""GET /v1/deliveries/live: the delivery log as it happens, for the few who operate a workspace.

A best-effort view: attempts are announced over Redis, and what Redis loses is not shown here. GET /v1/deliveries is the
record. Each viewer has a greenlet and a blocking read of its own, so their number is limited.
"""

from __future__ import annotations

import json
import logging
import re
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from flask import Blueprint, Response, request
from prometheus_client import Gauge
from sqlalchemy.exc import SQLAlchemyError

from app.core.event.filters import matches
from app.core.problem import Problem, first_line
from app.core.wire import sse
from app.delivery import reads
from app.delivery.live_log import Entry
from app.live.beat import Beat
from app.redis_connection import FAILURES
from app.web.api.deliveries import ENDPOINT, STATUS, TYPE, named_endpoint
from app.web.engine import Engine
from app.web.http.call import Call
from app.web.http.routes import route
from app.web.live.lines import EventSourceLine
from app.web.live.opening import client_socket
from app.web.live.sse import Unanswered
from app.web.live.view import WAIT_SECONDS, View

log = logging.getLogger(__name__)

api = Blueprint("log_view", __name__)

VIEWERS = Gauge("twofold_log_viewers", "Live views of the delivery log now.", multiprocess_mode="livesum")

WATCH_SECONDS = 3.0  # how often the drains are told that somebody watches; they remember it five times as long
_CURSOR = re.compile(r"[0-9]{1,18}-[0-9]{1,18}")
_LAST_EVENT_ID = ("Last-Event-ID", _CURSOR.pattern, "the id of the last entry that was seen: the log goes on behind it")


@route(
    api,
    "GET",
    "/v1/deliveries/live",
    scope="operate",
    query=(STATUS, ENDPOINT, TYPE),
    headers=(_LAST_EVENT_ID,),
    transaction=False,
    answers={200: "log"},
    refusals=("bad_request", "too_many"),
    summary="Watch the delivery log: each attempt as it is recorded. A best-effort view; the list is the record",
)
def watch_log(call: Call) -> Response:
    sock = client_socket()
    cursor = request.headers.get("Last-Event-ID")
    if cursor and not _CURSOR.fullmatch(cursor):
        raise Problem("bad_request", "Last-Event-ID is not the id of an entry; leave it out to start anew.")
    if request.method == "HEAD":
        return Response(headers=list(sse.HEADERS))
    if call.engine.hub.stopping:
        return Unanswered()
    return show_view(call.engine, KeysView(call), sock, cursor)


def show_view(engine: Engine, viewing: Viewing, sock: Any, cursor: str | None) -> Response:
    """The response that shows a viewer what comes. Raises Problem too_many, unavailable."""
    view = LogView(engine, viewing, sock)
    view.open(cursor)
    return view.response()


class Viewing(Protocol):
    """What a viewer may see and wants to see.

    channel: the workspace whose attempts they are, or live_log.ALL. owners: whose views are limited, by id: in words.
    """

    channel: str
    owners: Mapping[str, str]

    def may_see(self) -> bool:
        """Whether the viewer may still watch. May raise SQLAlchemyError or Abandoned, which change nothing."""
        ...

    def values(self, entries: Sequence[Entry]) -> dict[str, Any]:
        """By attempt id, what to show of each of these entries that the viewer wants to see. Raises SQLAlchemyError."""
        ...


class KeysView:
    """What whoever has a key wants to see, of the one workspace that it acts for."""

    def __init__(self, call: Call) -> None:
        self._engine, self._caller, self._wanted = call.engine, call.caller, call.args
        with self._engine.database.session() as session:
            self._endpoint = named_endpoint(session, call.workspace_id, call.args)
        self.channel = call.workspace_id
        self.owners: Mapping[str, str] = {call.caller.key_id: "The key", call.workspace_id: "The workspace"}

    def may_see(self) -> bool:
        """Whether key and workspace still exist."""
        return self._engine.callers.may_still_act(self._caller, self.channel)

    def values(self, entries: Sequence[Entry]) -> dict[str, Any]:
        """Deliveries with their attempts, as the API shows them."""
        pairs = [(entry.delivery_id, entry.attempt_id) for entry in entries]
        with self._engine.database.begin() as connection:
            attempts = reads.find_attempts(connection, self.channel, pairs)
        return {id: seen for id, seen in attempts.items() if self._wants(seen)}

    def _wants(self, seen: dict[str, Any]) -> bool:
        wanted = self._wanted
        return (
            wanted.get("status", seen["status"]) == seen["status"]
            and self._endpoint in (None, seen["endpoint_id"])
            and ("event_type" not in wanted or matches([wanted["event_type"]], None, type=seen["event_type"], kind=""))
        )


class LogView(View):
    """One viewer."""

    def __init__(self, engine: Engine, viewing: Viewing, sock: Any) -> None:
        super().__init__(engine.hub, EventSourceLine(sock))
        self._engine, self._viewing = engine, viewing
        self._position = "0-0"
        self._is_open = False
        self._failing = False
        self._watch = Beat(WATCH_SECONDS, engine.hub.clock() + WATCH_SECONDS)

    def open(self, cursor: str | None) -> None:
        """Count the viewer; from here on nothing is missed. cursor: the entry after which to begin.

        Raises Problem too_many, unavailable.
        """
        reader, most = self._engine.log, self._engine.settings.max_log_viewers
        for id, whose in self._viewing.owners.items():
            if reader.viewers[id] >= most:
                text = f"{whose} has {most} live views of the log, the most there may be; close some first."
                raise Problem("too_many", text)
        self._is_open = True
        reader.viewers.update(list(self._viewing.owners))
        VIEWERS.inc()
        try:
            reader.watch(self._viewing.channel)
            self._position = cursor or reader.newest(self._viewing.channel)
        except FAILURES:
            self.close()
            text = "The log cannot be watched, Redis does not answer; GET /v1/deliveries shows it meanwhile."
            raise Problem("unavailable", text, retry_after_seconds=1) from None

    def close(self) -> None:
        """Stop counting the viewer. Twice is once."""
        if self._is_open:
            self._is_open = False
            viewers = self._engine.log.viewers
            viewers.subtract(list(self._viewing.owners))
            for id in self._viewing.owners:
                if not viewers[id]:
                    del viewers[id]
            VIEWERS.dec()

    def may_see(self) -> bool:
        """As `viewing` says."""
        return self._viewing.may_see()

    def next_frames(self) -> Sequence[bytes]:
        """A frame for each entry that the viewer wants to see."""
        entries = self._read(say_so=self._watch.is_due(self._engine.hub.clock()))
        if not entries:
            return ()
        try:
            values = self._viewing.values(entries)
        except SQLAlchemyError as error:
            self._pause("PostgreSQL", error)  # the same entries are read again
            return ()
        self._failing = False
        self._position = entries[-1].id
        shown = [(entry.id, values[entry.attempt_id]) for entry in entries if entry.attempt_id in values]
        return [sse.frame("attempt", id, _json(value)) for id, value in shown]

    def _read(self, *, say_so: bool) -> list[Entry]:
        """New entries, waiting a moment for them. say_so: tell the drains again that somebody watches."""
        reader = self._engine.log
        try:
            if say_so:
                reader.watch(self._viewing.channel)
            return reader.after(self._viewing.channel, self._position, WAIT_SECONDS)
        except FAILURES as error:
            self._pause("Redis", error)
            return []

    def _pause(self, engine: str, error: Exception) -> None:
        if not self._failing:
            log.warning("a view of the delivery log waits for %s: %s", engine, first_line(error))
        self._failing = True
        threading.Event().wait(WAIT_SECONDS)


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
