"""Steps that several viewers of a workspace take at the same time are read once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

from app.core.feed.cursor import Cursor
from app.live.feed.pages import Step

KEPT = 32  # steps, of a mebibyte at most; viewers who see the same tick take the same one within milliseconds
WAIT_SECONDS = 15.0  # for another one's read, which the database's own limit ends before

Read = Callable[[str, Cursor, int], Step]
_Key = tuple[str, Cursor, int]


class SharedSteps:
    """What lies behind a cursor up to some tick never changes, so it may be kept. read: Feed.step."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._kept: OrderedDict[_Key, Step] = OrderedDict()
        self._under_way: dict[_Key, threading.Event] = {}

    def step(self, workspace_id: str, cursor: Cursor, span: int) -> Step:
        """As Feed.step. Raises what it raises."""
        key = (workspace_id, cursor, span)
        while key not in self._kept:
            other = self._under_way.get(key)
            if other is None:
                return self._take(key)
            if not other.wait(WAIT_SECONDS):
                break
            if key not in self._kept:  # it failed, or there was nothing yet
                return self._take(key)
        found = self._kept.get(key)
        return self._take(key) if found is None else found

    def _take(self, key: _Key) -> Step:
        done = self._under_way[key] = threading.Event()
        try:
            step = self._read(*key)
            if step.more:  # else there will be more at the next look
                self._kept[key] = step
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return step
        finally:
            if self._under_way.get(key) is done:
                del self._under_way[key]
            done.set()
