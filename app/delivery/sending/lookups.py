"""Requests that wait until their host names have been looked up, each within its own time."""

from __future__ import annotations

import heapq
import time
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

from app.core.webhook.addresses import name_of
from app.core.webhook.retry import Outcome
from app.delivery.sending.request import Request, Result, unsent
from app.delivery.sending.resolver import Resolution, Resolver
from app.delivery.sending.transfer import ResolvedHost

Resolved = tuple[Request, ResolvedHost | None]
"""A request and the host to send it to; None when its URL holds an address."""

_URLS_KEPT = 512  # a rush goes to few URLs
_name_of = lru_cache(_URLS_KEPT)(name_of)


@dataclass(slots=True, eq=False)
class _Waiting:
    """request: None when it waits no more."""

    request: Request | None
    name: str
    port: int
    since: float


class LookUps:
    """Between a request and its sending. What has come of it: `resolved` or `failed`, each emptied by its reader."""

    def __init__(self, resolver: Resolver, seconds: float) -> None:
        """seconds: how long one request may wait, if it has no less time in all."""
        self._resolver, self._seconds = resolver, seconds
        self._waiting: dict[str, list[_Waiting]] = {}  # by name
        self._ends: list[tuple[float, int, _Waiting]] = []  # a heap: the first to end is the first
        self._count = 0
        self.resolved: deque[Resolved] = deque()
        self.failed: list[Result] = []

    def __len__(self) -> int:
        """How many requests wait for an answer."""
        return sum(map(len, self._waiting.values()))

    @property
    def ends_at(self) -> float | None:
        """When the first of them has waited for too long, by the monotonic clock; None when none waits."""
        return self._ends[0][0] if self._ends else None

    def add(self, request: Request) -> None:
        """Look the host of a request up. Raises ValueError for a URL that cannot be sent to."""
        host = _name_of(request.url)
        if host is None:
            self.resolved.append((request, None))
            return
        waiting = _Waiting(request, *host, time.monotonic())
        resolution = self._resolver.ask(waiting.name, request.owner)
        if resolution is not None:
            self._end(waiting, resolution)
        else:
            self._waiting.setdefault(waiting.name, []).append(waiting)
            own = request.total_seconds
            seconds = self._seconds if own is None else min(own, self._seconds)
            self._count += 1  # tells two apart that end at the same time
            heapq.heappush(self._ends, (waiting.since + seconds, self._count, waiting))

    def advance(self) -> None:
        """Take the answers that have come, and end the requests that have waited for too long."""
        for name, resolution in self._resolver.new_answers().items():
            for waiting in self._waiting.pop(name, ()):
                self._end(waiting, resolution)
        now = time.monotonic()
        while self._ends:
            until, _, first = self._ends[0]
            if first.request is not None:
                if now < until:
                    return
                self._give_up(first, first.request, now - first.since)
            heapq.heappop(self._ends)

    def close(self) -> None:
        """Give all of them up. Look-ups under way end by themselves."""
        self._resolver.close()
        self._waiting.clear()
        self._ends.clear()
        self.resolved.clear()

    def _end(self, waiting: _Waiting, resolution: Resolution) -> None:
        request, waiting.request = waiting.request, None
        assert request is not None
        seconds = time.monotonic() - waiting.since
        if resolution.error is not None:
            self.failed.append(unsent(request, Outcome.DNS_ERROR, resolution.error, seconds))
        else:
            host = ResolvedHost(waiting.name, waiting.port, resolution.addresses, seconds)
            self.resolved.append((request, host))

    def _give_up(self, waiting: _Waiting, request: Request, seconds: float) -> None:
        self._waiting[waiting.name].remove(waiting)
        if not self._waiting[waiting.name]:
            del self._waiting[waiting.name]
            self._resolver.forget(waiting.name)
        words = f"Resolving timed out after {round(seconds * 1000)} milliseconds"
        self.failed.append(unsent(request, Outcome.TIMEOUT, words, seconds))
