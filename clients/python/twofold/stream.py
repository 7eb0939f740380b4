"""Follow a live stream, over cuts and restarts, without missing an event.

    with Stream(f"{base_url}/v1/streams/call/call_1/live", headers={"Authorization": f"Bearer {key}"}) as stream:
        for event in stream:
            print(event.id, event.type, event.data)

After a cut it connects again with `Last-Event-ID`, later each time while the server does not answer. Heartbeats tell a
quiet stream from a dead connection: one on which nothing at all has come for `silence_seconds` is given up and opened
anew. The iteration ends when the server answers 204 (the stream is over and everything has been read) or when `close()`
is called, from any thread.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

import requests
import urllib3

from .parse import EventParser, StreamEvent

FIRST_WAIT_SECONDS = 1.0  # before the first reconnect, unless the server's `retry:` says otherwise
LONGEST_WAIT_SECONDS = 30.0  # a server that is back is found again within half a minute
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 75.0  # two heartbeats of the slowest contract (30 s) and some: a silent connection is dead
READ_BYTES = 65_536
SPREAD = 0.25  # waits grow by up to a quarter at random, so that a thousand clients do not come back at once
GONE_FOR_NOW = frozenset({408, 425, 429})
TOKENS_REFUSED = 3  # new tokens in a row: one may have expired on its way, a third says that the stream is closed to us

# What a lost connection looks like, from the deepest layer up.
_CUT = (requests.RequestException, urllib3.exceptions.HTTPError, OSError)


class StreamRefused(Exception):
    """The server said no in a way that asking again will not change. status: HTTP status; body: its answer."""

    def __init__(self, status: int, body: str) -> None:
        super().__init__(f"the stream was refused with status {status}: {body}")
        self.status = status
        self.body = body


class Stream:
    """An iterator over one live stream's events.

    url: of the stream; headers: credentials; token: instead of them, a function that returns a stream token, called
    before each connection, so that an expired one is replaced; last_event_id: where to go on from (empty: where the
    stream's contract begins); session: a `requests.Session` to use. reconnects: how often it had to connect again.
    last_event_id is kept up to date: store it, and pass it to the next Stream.
    An event of the type `reset` says that the stream has not come as far as last_event_id (a backup was restored, say);
    its data holds the stream's `last_seq`, and the next event follows that one.
    Iteration raises StreamRefused for an answer that will not change, such as 401 or 404.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        token: Callable[[], str] | None = None,
        last_event_id: str = "",
        session: requests.Session | None = None,
        first_wait_seconds: float = FIRST_WAIT_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.url = url
        self.last_event_id = last_event_id
        self.reconnects = 0
        self._headers = dict(headers or {})
        self._token = token
        self._tokens_refused = 0
        self._session = session
        self._wait_seconds = first_wait_seconds
        self._silence_seconds = silence_seconds
        self._failures = 0
        self._closed = threading.Event()
        self._response: requests.Response | None = None

    def __iter__(self) -> Iterator[StreamEvent]:
        own = requests.Session() if self._session is None else None
        try:
            yield from self._follow(self._session or own)
        finally:
            if own is not None:
                own.close()

    def close(self) -> None:
        """End the iteration, also while another thread waits in it. May be called twice."""
        self._closed.set()
        response = self._response
        if response is not None:
            with contextlib.suppress(ValueError, RuntimeError, OSError):  # already at its end: nothing to wake
                response.raw.shutdown()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _follow(self, session: requests.Session | None) -> Iterator[StreamEvent]:
        assert session is not None
        while not self._closed.is_set():
            asked_seconds = 0.0
            try:
                with self._connect(session) as response:
                    if response.status_code == 204:
                        return
                    if response.status_code == 200:
                        yield from self._read(response)
                    else:
                        asked_seconds = self._refused(response)
            except _CUT as error:
                if isinstance(error, ValueError):  # an address that cannot be asked: trying again will not help
                    raise
            self._failures += 1
            pause = pause_seconds(self._wait_seconds, self._failures, asked_seconds, random.random())
            if not self._closed.wait(pause):
                self.reconnects += 1

    def _connect(self, session: requests.Session) -> requests.Response:
        headers = {**self._headers, "Accept": "text/event-stream", "Accept-Encoding": "identity"}
        headers["Cache-Control"] = "no-store"
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token()}"
        if self.last_event_id:
            headers["Last-Event-ID"] = self.last_event_id
        timeouts = (CONNECT_SECONDS, self._silence_seconds)
        return session.get(self.url, headers=headers, stream=True, timeout=timeouts)

    def _read(self, response: requests.Response) -> Iterator[StreamEvent]:
        self._tokens_refused = 0
        parser = EventParser(self.last_event_id)
        raw: Any = response.raw
        self._response = response
        try:
            while not self._closed.is_set():
                piece = raw.read1(READ_BYTES, decode_content=False)
                if not piece:
                    return
                for event in parser.feed(piece):
                    self._failures = 0
                    self.last_event_id = event.id
                    yield event
                    if self._closed.is_set():
                        return
                self.last_event_id = parser.last_event_id
                if parser.retry_ms is not None:
                    self._wait_seconds = parser.retry_ms / 1000
        finally:
            self._response = None

    def _refused(self, response: requests.Response) -> float:
        """The seconds the server asks to wait, 0 when it names none; raises when waiting will not help."""
        status = response.status_code
        if status == 401 and self._token is not None and self._tokens_refused < TOKENS_REFUSED - 1:
            self._tokens_refused += 1
            return 0.0
        if status < 500 and status not in GONE_FOR_NOW:
            raise StreamRefused(status, response.text)
        after = response.headers.get("Retry-After", "")
        return float(after) if after.isascii() and after.isdigit() else 0.0


def pause_seconds(
    first_seconds: float,
    failures: int,
    asked_seconds: float,
    chance: float,
    longest_seconds: float = LONGEST_WAIT_SECONDS,
) -> float:
    """Seconds until the next try: doubled with each failure in a row, and never before the server wants it.

    failures: in a row so far, at least 1; asked_seconds: the server's Retry-After, 0 when it has none;
    chance: in [0, 1).
    """
    doublings = min(failures - 1, 16)
    pause = min(first_seconds * 2.0**doublings, longest_seconds)
    return max(pause * (1 + SPREAD * chance), asked_seconds)
