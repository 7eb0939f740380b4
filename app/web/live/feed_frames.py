"""The frames of the live feed: as server-sent events, and as the texts of a WebSocket."""

from __future__ import annotations

import json
from typing import Protocol

from app.core.feed import cursor as cursors
from app.core.feed.cursor import Cursor
from app.core.wire import sse, websocket
from app.live.feed.pages import FeedEvent


class Frames(Protocol):
    """How a view says what it has to say."""

    def event(self, event: FeedEvent) -> bytes:
        """An event, and the cursor behind it."""
        ...

    def reset(self, reason: str, cursor: Cursor) -> bytes:
        """Events behind the viewer's cursor are missing, and it goes on from another. reason: as of Lost."""
        ...

    def place(self, cursor: Cursor) -> bytes:
        """Up to here there was nothing for the viewer."""
        ...


class EventFrames:
    """Server-sent events: `id` is the cursor."""

    def event(self, event: FeedEvent) -> bytes:
        """As of Frames."""
        return sse.frame(event.type, cursors.encode(event.cursor), event.body)

    def reset(self, reason: str, cursor: Cursor) -> bytes:
        """As of Frames."""
        text = cursors.encode(cursor)
        return sse.frame("reset", text, _json({"reason": reason, "cursor": text}))

    def place(self, cursor: Cursor) -> bytes:
        """An id without data: clients keep it and dispatch no event (WHATWG HTML, section 9.2.6)."""
        return f"id: {cursors.encode(cursor)}\n\n".encode()


class TextFrames:
    """A WebSocket's texts: each is an object with the cursor, and with the event if there is one."""

    def event(self, event: FeedEvent) -> bytes:
        """As of Frames."""
        cursor = cursors.encode(event.cursor).encode()
        return websocket.text_frame(b'{"cursor":"%b","event":%b}' % (cursor, event.body))

    def reset(self, reason: str, cursor: Cursor) -> bytes:
        """As of Frames."""
        return websocket.text_frame(_json({"cursor": cursors.encode(cursor), "reset": reason}))

    def place(self, cursor: Cursor) -> bytes:
        """As of Frames."""
        return websocket.text_frame(_json({"cursor": cursors.encode(cursor)}))


def _json(value: dict[str, str]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
