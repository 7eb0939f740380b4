"""Steps that several viewers of a workspace take at the same time are read once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from app.core.feed.cursor import Cursor
from app.live.feed.pages import Step

KEPT = 32  # steps, of a mebibyte at most; viewers who see the same tick take the same one within milliseconds
WAIT_SECONDS = 15.0  # for another one's read, which the database's own limit ends before

Read = Callable[[str, Cursor, int], Step]
_Key = tuple[str, Cursor, int, int]


class SharedSteps:
    """What lies behind a cursor up to some tick never changes in a history, so it may be kept. read: Feed.step. epoch:
    the history that is read now."""

    def __init__(self, read: Read, epoch: Callable[[], int]) -> None:
        self._read, self._epoch = read, epoch
        self._kept: OrderedDict[_Key, Step] = OrderedDict()
        self._under_way: dict[_Key, _Reading] = {}

    def step(self, workspace_id: str, cursor: Cursor, span: int) -> Step:
        """As Feed.step. Raises what it raises."""
        key = (workspace_id, cursor, span, self._epoch())
        if (kept := self._kept.get(key)) is not None:
            return kept
        other = self._under_way.get(key)
        if other is not None and other.done.wait(WAIT_SECONDS) and other.step is not None:
            return other.step
        return self._take(key)

    def _take(self, key: _Key) -> Step:
        reading = self._under_way[key] = _Reading()
        try:
            step = reading.step = self._read(*key[:3])
            if step.more:  # else there will be more at the next look
                self._kept[key] = step
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return step
        finally:
            if self._under_way.get(key) is reading:
                del self._under_way[key]
            reading.done.set()


@dataclass(slots=True)
class _Reading:
    """One that is under way. step: None until it is done, and when it failed."""

    done: threading.Event = field(default_factory=threading.Event)
    step: Step | None = None
