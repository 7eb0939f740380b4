"""The browser's own EventSource and WebSocket in a page that we serve, and what they have been told."""

from __future__ import annotations

import json
import signal
from typing import Any

from tests.browser.chromium import Asked, Page
from tests.contracts.producer import Producer

# Longer than any client waits before it comes back: `retry:` says up to 5 s, and EventSource itself waits 3 s.
QUIET_SECONDS = 7.0

_EVENT_SOURCE = """
(() => {
  const source = new EventSource(%s);
  window.native = { source, seen: [], states: [] };
  source.onopen = () => native.states.push("open");
  source.onerror = () => native.states.push(["connecting", "open", "closed"][source.readyState]);
  for (const name of %s) {
    source.addEventListener(name, (event) => native.seen.push([event.type, event.lastEventId, event.data]));
  }
})()
"""
_WEB_SOCKET = """
(() => {
  const socket = new WebSocket(%s);
  window.native = { socket, seen: [], states: [] };
  socket.onopen = () => native.states.push("open");
  socket.onmessage = (event) => native.seen.push(event.data);
  socket.onclose = (event) => native.states.push(`closed ${event.code} ${event.wasClean}`);
})()
"""


class EventSource:
    """A native EventSource with listeners for these names."""

    def __init__(self, page: Page, path: str, *names: str) -> None:
        self._page = page
        self._path = path.partition("?")[0]
        page.run(_EVENT_SOURCE % (json.dumps(path), json.dumps(names)))

    @property
    def seen(self) -> list[list[str]]:
        """[name, last event id, data] of each event."""
        found: list[list[str]] = self._page.run("native.seen")
        return found

    @property
    def states(self) -> list[str]:
        """open, connecting (it comes back by itself) and closed (for good), as they were told."""
        found: list[str] = self._page.run("native.states")
        return found

    @property
    def asked(self) -> list[Asked]:
        """Its requests in the network log."""
        return self._page.asked(self._path)

    def wait_seen(self, count: int) -> list[list[str]]:
        """All events, once there are so many."""
        self._page.wait(lambda: len(self.seen) >= count, about=f"{count} events")
        return self.seen

    def wait_state(self, state: str) -> None:
        """Until the last thing told is this state."""
        self._page.wait(lambda: self.states[-1:] == [state], about=state)


class WebSocket:
    """A native WebSocket."""

    def __init__(self, page: Page, path: str) -> None:
        self._page = page
        page.run(_WEB_SOCKET % json.dumps(path))

    @property
    def states(self) -> list[str]:
        """open, and `closed <code> <clean?>`."""
        found: list[str] = self._page.run("native.states")
        return found

    def wait_state(self, state: str) -> None:
        """Until the last thing told is this state."""
        self._page.wait(lambda: self.states[-1:] == [state], about=state)

    def wait_seen(self, count: int) -> list[str]:
        """The texts, once there are so many."""
        self._page.wait(lambda: self._page.run("native.seen.length") >= count, about=f"{count} texts")
        found: list[str] = self._page.run("native.seen")
        return found

    def say(self, value: Any) -> None:
        """Send a value as JSON."""
        self._page.run(f"native.socket.send({json.dumps(json.dumps(value))})")


def cut(producer: Producer) -> None:
    """Replace the web process, as a new version's start does: it closes every stream, telling when to come back."""
    producer.server.web.send_signal(signal.SIGHUP)
