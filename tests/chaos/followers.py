"""Viewers that come back at once after every cut, and go on after the last event that they have seen whole."""

from __future__ import annotations

import json
import threading
from abc import abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime

from app.client.books.bookkeeper import Viewer
from app.client.books.records import StreamName, members, stream_of
from app.demo.readers import LOST, READERS, Item, Refused

RECONNECT_SECONDS = 0.2
RESET = "reset"


class Follower(threading.Thread):
    """One of them. pages: what it has seen, by stream; opened: its first connection stands; fault: why it has ended, or
    what it must not be told."""

    def __init__(
        self, name: str, base_url: str, key: str, reader: str, pages: Mapping[StreamName, Viewer], over: threading.Event
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.base_url, self.pages, self.opened, self.cuts = base_url, pages, threading.Event(), 0
        self.fault = ""
        self._key, self._reader, self._over = key, READERS[reader](), over

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self._follow()
            except Refused as refused:
                if refused.status < 500 and refused.status != 429:
                    self.fault = str(refused)
            except LOST:
                pass
            except Exception as error:
                self.fault = repr(error)  # whatever it is, the verdict has to say so
                return
            self.cuts += 1
            self._over.wait(RECONNECT_SECONDS)

    @abstractmethod
    def place(self) -> tuple[str, dict[str, str]]:
        """The path to go on from, and what is said of that in headers."""

    @abstractmethod
    def take(self, item: Item) -> None:
        """Write down what is shown."""

    def saw(self, stream: StreamName, body: bytes) -> int:
        """Write an envelope down; its seq."""
        parts = dict(members(body))
        seq = int(parts["seq"])
        id, type = json.loads(parts["id"]), json.loads(parts["type"])
        self.pages[stream].saw(seq=seq, event_id=id, type=type, data=parts["data"])
        return seq

    def _follow(self) -> None:
        path, headers = self.place()
        asked = {"Authorization": f"Bearer {self._key}", **headers}
        with self._reader.reading(f"{self.base_url}{path}", asked) as items:
            self.opened.set()
            for item in items:
                if self._over.is_set():
                    return
                self.take(item)


class StreamFollower(Follower):
    """Of one stream. reader: one of READERS."""

    def __init__(self, base_url: str, key: str, stream: StreamName, reader: str, page: Viewer, over: threading.Event):
        super().__init__(page.log.name, base_url, key, reader, {stream: page}, over)
        self._stream, self._is_websocket, self._last_seq = stream, reader == "websocket", 0

    def place(self) -> tuple[str, dict[str, str]]:
        path = f"/v1/streams/{self._stream[0]}/{self._stream[1]}"
        if self._is_websocket:
            return f"{path}/ws?after_seq={self._last_seq}", {}
        return f"{path}/live", {"Last-Event-ID": str(self._last_seq)}

    def take(self, item: Item) -> None:
        if item.data:
            self._last_seq = max(self._last_seq, self.saw(self._stream, item.data.encode()))


class FeedFollower(Follower):
    """Of all streams of a kind in a workspace, over one connection, from when it was made."""

    def __init__(
        self, base_url: str, key: str, kind: str, pages: Mapping[StreamName, Viewer], over: threading.Event
    ) -> None:
        super().__init__("feed", base_url, key, "httpx-sse", pages, over)
        self._kind, self._cursor = kind, ""
        self._since = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def place(self) -> tuple[str, dict[str, str]]:
        path = f"/v1/feed/live?after={self._since}&kinds={self._kind}"
        return path, {"Last-Event-ID": self._cursor} if self._cursor else {}

    def take(self, item: Item) -> None:
        if item.name == RESET:
            self.fault = f"was told {item.data}"
        elif item.data:
            body = item.data.encode()
            self.saw(stream_of(body), body)
        self._cursor = item.id or self._cursor
