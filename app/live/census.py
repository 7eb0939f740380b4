"""Who is connected, over all web processes, for an operator who looks; and how one of them is disconnected.

Each process that has connections asks Redis every ROUND_SECONDS whether somebody looks, and which connections it is to
end: one exchange, in a greenlet of its own. Only while somebody looks does it tell of its connections. No event waits
for any of it, and without Redis an operator sees the process alone that answers them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from app.live.hub import Hub
from app.live.live_stream import LiveStream
from app.live.subscriber import NUMBERS, Subscriber
from app.redis_connection import FAILURES, connect

ROUND_SECONDS = 2.0  # others are told of, and disconnected, this late at most
REDIS_SECONDS = 2.0  # for one exchange
WATCHED = "census:watched"
WATCHED_SECONDS = 10  # after the last look; a page that renews itself looks more often
TOLD_SECONDS = 8  # what a process has told is forgotten then: it has ended, or nobody looks
MOST_TOLD = 500  # connections of one process; the page shows fewer, and each costs some 200 bytes
PROCESSES, PROCESSES_SECONDS = "census:processes", 3600
REASON = "disconnected"
FEED = "feed"  # the contract of whoever reads the feed, which is none of the contracts


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection. id: the process's name and a number in it. stream: "" for a reader of the feed. lag: events that
    it has not been sent yet; at_least: there may be more. dropped: frames that it was not sent at all. expires_in:
    seconds that its credential lasts, None for a key."""

    id: str
    workspace_id: str
    stream: str
    contract: str
    transport: str
    age: float
    lag: int
    dropped: int
    expires_in: float | None
    at_least: bool = False


class Reader(Protocol):
    """One who reads the feed. lag, at_least: as of a connection; expires_at: monotonic seconds, None for a key."""

    @property
    def workspace_id(self) -> str: ...
    @property
    def transport(self) -> str: ...
    @property
    def lag(self) -> tuple[int, bool]: ...
    @property
    def expires_at(self) -> float | None: ...
    def end(self, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Census:
    """What is known: connections, of how many in all, in how many processes. whole: whether Redis was heard."""

    connections: Sequence[Connection]
    count: int
    processes: int
    whole: bool = True


def described(process: str, live: LiveStream, subscriber: Subscriber, now: float) -> Connection:
    """A connection as it is at a moment. now: monotonic seconds."""
    waiting = len(subscriber.outbox)
    lag = waiting if subscriber.joined else waiting + max(live.last_seq - subscriber.cursor, 0)
    terms = subscriber.terms
    return Connection(
        f"{process}.{subscriber.number}",
        terms.workspace_id,
        terms.stream,
        terms.contract,
        "WebSocket" if subscriber.view.wrap == "ws" else "SSE",
        now - subscriber.opened_at,
        lag,
        subscriber.dropped,
        None if terms.expires_at is None else terms.expires_at - now,
    )


def described_reader(id: str, reader: Reader, opened_at: float, now: float) -> Connection:
    """A reader of the feed as it is at a moment. opened_at, now: monotonic seconds."""
    lag, at_least = reader.lag
    left = None if reader.expires_at is None else reader.expires_at - now
    return Connection(id, reader.workspace_id, "", FEED, reader.transport, now - opened_at, lag, 0, left, at_least)


def most_telling(connections: Iterable[Connection], most: int) -> list[Connection]:
    """Those that an operator looks for first: the furthest behind, then the oldest."""
    return sorted(connections, key=lambda one: (-one.lag, -one.dropped, -one.age, one.id))[:most]


class Enumerator:
    """The census of one process. Made before any fork; named and connected at its first use."""

    def __init__(self, redis_url: str, hub: Callable[[], Hub]) -> None:
        self._redis = connect(redis_url, seconds=REDIS_SECONDS)
        self._hub = hub
        self._pid, self._process = 0, ""
        self._readers: dict[int, tuple[Reader, float]] = {}  # by number: who, and since when

    @property
    def process(self) -> str:
        """This process's name, which no other has."""
        if self._pid != os.getpid():
            self._pid, self._process = os.getpid(), os.urandom(6).hex()
        return self._process

    def own(self) -> Census:
        """The connections of this process."""
        hub = self._hub()
        now = hub.clock()
        found = [described(self.process, live, subscriber, now) for live, subscriber in hub.watching()]
        for number, (reader, opened_at) in [*self._readers.items()]:
            found.append(described_reader(f"{self.process}.{number}", reader, opened_at, now))
        return Census(most_telling(found, MOST_TOLD), len(found), 1)

    @contextmanager
    def listing(self, reader: Reader) -> Iterator[None]:
        """A reader of the feed is connected: it is told of, and may be disconnected, as whoever watches a stream."""
        number = next(NUMBERS)
        self._readers[number] = reader, self._hub().clock()
        try:
            yield
        finally:
            del self._readers[number]

    def round(self) -> None:
        """Disconnect what an operator has asked to, and tell of the others if one looks. Raises FAILURES."""
        asking = self._redis.pipeline(transaction=False)
        asking.exists(WATCHED)
        asking.lpop(_cut_key(self.process), MOST_TOLD)
        watched, numbers = asking.execute()
        for number in numbers or ():
            self._cut(number.decode(errors="replace"))
        if watched:
            self._tell()

    def look(self) -> Census:
        """All connections that are known now. Others tell theirs within ROUND_SECONDS of the first look."""
        own = self.own()
        try:
            self._redis.set(WATCHED, b"1", ex=WATCHED_SECONDS)
            names: Any = self._redis.smembers(PROCESSES)
            others = sorted(name.decode() for name in names if name.decode() != self.process)
            told: Any = self._redis.mget([_told_key(name) for name in others]) if others else []
        except FAILURES:
            return replace(own, whole=False)
        heard = [_read(text) for text in told if text is not None]
        connections = [*own.connections, *(one for each in heard for one in each.connections)]
        return Census(connections, own.count + sum(each.count for each in heard), 1 + len(heard))

    def disconnect(self, connection_id: str) -> bool:
        """End a connection: at once in this process, else within ROUND_SECONDS. Whether its id may be one.

        Raises FAILURES.
        """
        process, _, number = connection_id.partition(".")
        if not (process.isalnum() and process.isascii() and number.isdigit() and len(connection_id) < 40):
            return False
        if process == self.process:
            return self._cut(number)
        if not self._redis.exists(_told_key(process)):
            return False
        self._redis.rpush(_cut_key(process), number)
        self._redis.expire(_cut_key(process), WATCHED_SECONDS)
        return True

    def close(self) -> None:
        """Close the connections to Redis."""
        self._redis.close()

    def _cut(self, number: str) -> bool:
        found = [one for _, one in self._hub().watching() if str(one.number) == number]
        for subscriber in found:
            subscriber.close(REASON)
        readers = [reader for one, (reader, _) in [*self._readers.items()] if str(one) == number]
        for reader in readers:
            reader.end(REASON)
        return bool(found or readers)

    def _tell(self) -> None:
        own = self.own()
        told = [asdict(one) for one in own.connections]
        value = {
            "count": own.count,
            "connections": [
                {name: one[name] for name in one if name != "at_least"} for one in told if one["stream"]
            ],  # as processes of the release before read them, which know no reader of the feed
            "readers": [one for one in told if not one["stream"]],
        }
        telling = self._redis.pipeline(transaction=False)
        telling.set(_told_key(self.process), json.dumps(value), ex=TOLD_SECONDS)
        telling.sadd(PROCESSES, self.process)
        telling.expire(PROCESSES, PROCESSES_SECONDS)
        telling.execute()


def _read(text: bytes) -> Census:
    """What another process has told; nothing when it is of a release that tells otherwise."""
    try:
        value = json.loads(text)
        told = [*value["connections"], *value.get("readers", ())]
        return Census([Connection(**one) for one in told], int(value["count"]), 1)
    except (ValueError, KeyError, TypeError):
        return Census([], 0, 1)


def _told_key(process: str) -> str:
    return f"census:told:{process}"


def _cut_key(process: str) -> str:
    return f"census:cut:{process}"
