"""Publish events: collected, posted in batches, and posted again until the server has answered for each.

    with Publisher("https://events.example.com", key) as publisher:
        publisher.publish("call", "call_42", "call.barge_in", {"at_ms": 1200})

`publish` only puts the event into a queue and returns a Future. One thread posts what is waiting, one request at a
time, so the events of a stream keep their order. Each event carries an idempotency key from the start: however often it
has to be posted, it is stored once.
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import Any, cast

import requests

from . import batches
from .objects import EventOut
from .stream import pause_seconds

log = logging.getLogger("twofold")

MOST_WAITING = 10_000  # events: some megabytes, and what a server takes in a few seconds
FIRST_WAIT_SECONDS = 0.25  # before a request is made again the first time
TIMEOUTS = (5.0, 30.0)  # to connect; for the answer: the server itself gives a batch up after some ten seconds
EXIT_SECONDS = 5.0  # at the end of a program that did not close its publisher


class EventRefused(Exception):
    """The server will not store this event. status, code, detail: of its problem; idempotency_key: of the event."""

    def __init__(self, problem: Mapping[str, Any], status: int, idempotency_key: str) -> None:
        self.status = status
        self.code = str(problem.get("code", ""))
        self.detail = str(problem.get("detail", ""))
        self.idempotency_key = idempotency_key
        super().__init__(f"{status} {self.code}: {self.detail}")


class NotSent(Exception):
    """The publisher was closed before the server had answered for this event. It may be stored nevertheless: publish
    it again with the same idempotency key."""


class QueueFull(Exception):
    """As many events wait as may wait: the server is away, or slower than the events come."""


@dataclass(frozen=True, slots=True)
class Unsent:
    """An event for which the server has not answered. event: its JSON, with its idempotency key."""

    event: bytes
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    event: bytes
    key: str
    future: Future[EventOut]


class Publisher:
    """Publishes from any thread.

    base_url: of the server; key: an API key with the scope `publish`; workspace: for a platform key, whose events these
    are; most_waiting: events that may wait; exit_seconds: how long the end of the program waits for what is waiting;
    on_unsent: told, at the close, of what was not sent (without it, a warning of the logger `twofold` says how much);
    session: a `requests.Session` to use. Make it after a fork, not before: its thread stays with the parent.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        workspace: str | None = None,
        most_waiting: int = MOST_WAITING,
        exit_seconds: float = EXIT_SECONDS,
        on_unsent: Callable[[Sequence[Unsent]], None] | None = None,
        session: requests.Session | None = None,
    ) -> None:
        self._url = f"{base_url.rstrip('/')}/v1/events"
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        if workspace is not None:
            self._headers["X-Workspace"] = workspace
        self._most_waiting, self._exit_seconds, self._on_unsent = most_waiting, exit_seconds, on_unsent
        self._session = session or requests.Session()
        self._owns_session = session is None
        self._waiting: deque[_Waiting] = deque()
        self._changed = threading.Condition()
        self._is_closing = self._has_given_up = False
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        self._most_events = batches.MOST_EVENTS
        self._failures = 0

    @property
    def waiting(self) -> int:
        """How many events the server has not answered for yet."""
        return len(self._waiting)

    def publish(
        self,
        kind: str,
        id: str,
        type: str,
        data: Mapping[str, Any] | bytes,
        *,
        occurred_at: datetime | str | None = None,
        idempotency_key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        channels: Sequence[str] | None = None,
        timeout_seconds: float | None = None,
    ) -> Future[EventOut]:
        """Queue one event of the stream `kind`/`id`. The Future has the server's answer, or raises EventRefused or
        NotSent.

        data: a JSON object, or its bytes, which are posted as they are spelled; idempotency_key: one that you keep, so
        that the event can be published again after a crash (one is made otherwise); metadata: texts, numbers and truth
        values that travel in the envelope; channels: labels that endpoints can ask for. While the queue is full this
        waits, at most timeout_seconds (None: for ever), then raises QueueFull. Raises ValueError and TypeError for data
        that are not JSON, RuntimeError when the publisher is closed or was made before a fork.
        """
        key = uuid.uuid4().hex if idempotency_key is None else idempotency_key
        event = batches.spell(kind, id, type, data, key, occurred_at, metadata=metadata, channels=channels)
        future: Future[EventOut] = Future()
        future.set_running_or_notify_cancel()  # what is queued cannot be called back
        if self._pid != os.getpid():
            raise RuntimeError("this Publisher was made before a fork: make one in each process")
        with self._changed:
            has_room = self._changed.wait_for(
                lambda: self._is_closing or len(self._waiting) < self._most_waiting, timeout_seconds
            )
            if self._is_closing:
                raise RuntimeError("this Publisher is closed")
            if not has_room:
                raise QueueFull(f"{self._most_waiting} events are waiting for the server")
            self._waiting.append(_Waiting(event, key, future))
            self._start()
            self._changed.notify_all()
        return future

    def flush(self, timeout_seconds: float | None = None) -> bool:
        """Wait until the server has answered for everything that was published. False when it has not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, timeout_seconds)

    def close(self, timeout_seconds: float | None = None) -> list[Unsent]:
        """Take no more events, wait at most so long (None: exit_seconds) for what is waiting, and stop.

        Returns what the server has not answered for, and tells on_unsent of it. May be called twice.
        """
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        atexit.unregister(self.close)
        self.flush(self._exit_seconds if timeout_seconds is None else timeout_seconds)
        with self._changed:
            self._has_given_up = True
            left = list(self._waiting)
            self._waiting.clear()
            self._changed.notify_all()
        if self._owns_session:
            self._session.close()
        if left:
            self._tell([Unsent(one.event, one.key) for one in left])
        for one in left:
            one.future.set_exception(NotSent(f"not sent: {one.key}"))
        return [Unsent(one.event, one.key) for one in left]

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _tell(self, unsent: list[Unsent]) -> None:
        if self._on_unsent is not None:
            self._on_unsent(unsent)
        else:
            log.warning("%d events were not sent: %s did not answer for them in time", len(unsent), self._url)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="twofold-publisher", daemon=True)
            self._thread.start()
            atexit.register(self.close)

    def _run(self) -> None:
        while batch := self._next():
            asked_seconds = self._post(batch)
            if self._failures:
                pause = pause_seconds(FIRST_WAIT_SECONDS, self._failures, asked_seconds, random.random())
                with self._changed:
                    self._changed.wait_for(lambda: self._has_given_up, pause)

    def _next(self) -> list[_Waiting]:
        """The events of the next request, which stay in the queue until they are answered; none: it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closing)
            count = batches.fitting((len(one.event) for one in self._waiting), self._most_events)
            return list(islice(self._waiting, count))

    def _post(self, batch: list[_Waiting]) -> float:
        """One request and what becomes of its events. Returns the seconds that the server asks to wait."""
        body = batches.body(one.event for one in batch)
        try:
            answer = self._session.post(self._url, body, headers=self._headers, timeout=TIMEOUTS, allow_redirects=False)
            if answer.status_code == 202:
                return self._settle(batch, batches.read(answer.content, len(batch)))
        except (requests.RequestException, OSError, ValueError) as error:
            log.info("posting %d events failed and is tried again: %s", len(batch), error)
            self._failures += 1
            return 0.0
        if batches.is_for_now(answer.status_code):
            self._failures += 1
        elif len(batch) > 1 and not batches.is_about_the_caller(answer.status_code):
            self._most_events = len(batch) // 2  # one of them spoils the request: find it
            self._failures = 0
        else:
            problem = batches.problem(answer.content)
            refused = batches.Posted({**problem, "status": answer.status_code}, stored=False, for_now=False)
            self._settle(batch, [refused] * len(batch))
        return batches.retry_after_seconds(answer.headers.get("Retry-After"))

    def _settle(self, batch: list[_Waiting], answers: list[batches.Posted]) -> float:
        """What is answered leaves the queue; the rest stays where it is, so that the order holds."""
        open_ = [one for one, said in zip(batch, answers, strict=True) if said.for_now]
        with self._changed:
            if self._has_given_up:
                return 0.0
            for _ in batch:
                self._waiting.popleft()
            self._waiting.extendleft(reversed(open_))
            self._changed.notify_all()
        # Something was answered: what is left is tried soon again, not later each time.
        self._failures = (1 if len(open_) < len(batch) else self._failures + 1) if open_ else 0
        self._most_events = max(self._most_events, min(batches.MOST_EVENTS, 2 * len(batch)))
        for one, said in zip(batch, answers, strict=True):
            if said.stored:
                one.future.set_result(cast(EventOut, said.answer))
            elif not said.for_now:
                one.future.set_exception(EventRefused(said.answer, int(said.answer.get("status", 0)), one.key))
        return 0.0
