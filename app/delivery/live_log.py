"""The delivery log as it happens: drains tell Redis which attempts they have recorded, where somebody watches.

A hint, like everything in Redis: an attempt that could not be told is in PostgreSQL all the same, which is the record.
Drains add their counts to Redis as well, so that any one web process can show the work of every worker on every
machine.
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from redis.exceptions import RedisError

from app.core import delays
from app.redis_connection import FAILURES, Line, connect, entries_of

log = logging.getLogger(__name__)

MAX_ENTRIES = 1000  # of a workspace, about: what a viewer that was cut off finds when it comes back
KEPT_SECONDS = 3600  # how long entries are kept after the newest one
WATCH_SECONDS = 15  # how long a viewer's mark lasts; viewers renew it every few seconds

TELL_SECONDS = 0.25  # for one exchange of the drain with Redis: its deliveries wait meanwhile
PAUSE_SECONDS = 5.0  # after a failure, so that a Redis that hangs costs the drain a twentieth of its time at most
COUNT_SECONDS = 1.0  # how often counts are added to Redis while there is work: they are two thirds of what is told
READ_SECONDS = 3.0  # for one exchange of a viewer with Redis; longer than its blocking read
READ_COUNT = 200  # entries at once, which are then looked up in one query

ALL = "*"  # in the place of a workspace's id: of those who watch every workspace

COUNTS = "log:counts"
ATTEMPTS, ENDED, UNTOLD = "attempts:", "ended:", "untold"
DELAYS = "log:delays"  # how many took how long, by one of these names and a range of app.core.delays
SENT_AFTER, DELIVERED_AFTER = "sent:", "delivered:"


def log_key(workspace_id: str) -> str:
    """The Redis stream of a workspace's attempts, or of ALL."""
    return f"log:{workspace_id}"


def watch_key(workspace_id: str) -> str:
    """The key that viewers of a workspace, or of ALL, keep alive, so that drains know that somebody watches."""
    return f"log:watch:{workspace_id}"


class Told(Protocol):
    """What is told of a recorded attempt. ended: the status in which it ended its delivery, None if it did not."""

    @property
    def workspace_id(self) -> str: ...
    @property
    def delivery_id(self) -> str: ...
    @property
    def attempt_id(self) -> str: ...
    @property
    def outcome(self) -> str: ...
    @property
    def ended(self) -> str | None: ...
    @property
    def sent_after_seconds(self) -> float | None: ...
    @property
    def delivered_after_seconds(self) -> float | None: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """An attempt that was told of. id: the Redis entry's, by which a viewer resumes."""

    id: str
    delivery_id: str
    attempt_id: str


class LogTeller:
    """A drain's side. Belongs to one process and one thread, as the drain does; connects at its first use."""

    def __init__(self, redis_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = connect(redis_url, seconds=TELL_SECONDS)
        self._line = Line(self._redis)
        self._clock = clock
        self._counted_at = -math.inf
        self._quiet_until = 0.0
        self._away = False
        self._owed: Counter[str] = Counter()  # counts that Redis has not taken yet
        self._owed_delays: Counter[str] = Counter()

    def tell(self, recorded: Sequence[Told]) -> None:
        """Count attempts, and tell of those in workspaces that somebody watches. Never raises.

        The counts reach Redis within COUNT_SECONDS, or when `recorded` is empty: nothing more comes for a while.
        """
        if not recorded and not self._owed:
            return
        self._owed.update(f"{ATTEMPTS}{attempt.outcome}" for attempt in recorded)
        self._owed.update(f"{ENDED}{attempt.ended}" for attempt in recorded if attempt.ended is not None)
        for attempt in recorded:
            self._time(SENT_AFTER, attempt.sent_after_seconds)
            self._time(DELIVERED_AFTER, attempt.delivered_after_seconds)
        if self._clock() < self._quiet_until:
            self._owed[UNTOLD] += len(recorded)
            return
        try:
            self._tell(recorded)
            self._away = False
        except FAILURES as error:
            self._owed[UNTOLD] += len(recorded)
            self._quiet_until = self._clock() + PAUSE_SECONDS
            if not self._away:
                log.warning("the live delivery log has a gap, Redis does not answer: %s", error)
            self._away = True

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()

    def _time(self, name: str, seconds: float | None) -> None:
        if seconds is not None:
            self._owed_delays[name + delays.range_of(seconds)] += 1
            self._owed_delays[name + delays.SUM] += delays.as_milliseconds(seconds)

    def _tell(self, recorded: Sequence[Told]) -> None:
        """One exchange, and another when somebody watches. Raises FAILURES."""
        asked = [*sorted({attempt.workspace_id for attempt in recorded}), ALL]
        now = self._clock()
        counting = not recorded or now - self._counted_at >= COUNT_SECONDS
        marks, *_ = self._exchange([["MGET", *map(watch_key, asked)], *(self._counts() if counting else ())])
        if counting:
            self._counted_at = now
            self._owed.clear()
            self._owed_delays.clear()
        watched = {id for id, mark in zip(asked, marks, strict=True) if mark is not None}
        entries = [
            ["XADD", log_key(id), "MAXLEN", "~", MAX_ENTRIES, "*", "d", attempt.delivery_id, "a", attempt.attempt_id]
            for attempt in recorded
            for id in watched & {attempt.workspace_id, ALL}
        ]
        if entries:
            self._exchange([*entries, *(["EXPIRE", log_key(id), KEPT_SECONDS] for id in watched)])

    def _exchange(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """The answers. Raises FAILURES, also for what Redis refuses."""
        answers = self._line.exchange(commands)
        for error in (answer for answer in answers if isinstance(answer, RedisError)):
            raise error
        return answers

    def _counts(self) -> Iterator[list[object]]:
        """What adds to the counts all that is owed."""
        yield from (["HINCRBY", COUNTS, name, count] for name, count in self._owed.items())
        yield from (["HINCRBY", DELAYS, name, count] for name, count in self._owed_delays.items())


class LogReader:
    """A web process's side, for all its viewers. Every call ends in bounded time, and may raise one of FAILURES.

    viewers: how many there are, by key id and by workspace id.
    """

    def __init__(self, redis_url: str) -> None:
        self._redis = connect(redis_url, seconds=READ_SECONDS)
        self.viewers: Counter[str] = Counter()

    def watch(self, workspace_id: str) -> None:
        """Say that somebody watches, for the next WATCH_SECONDS."""
        self._redis.set(watch_key(workspace_id), b"1", ex=WATCH_SECONDS)

    def newest(self, workspace_id: str) -> str:
        """The id of the newest entry: a viewer that has seen nothing begins after it."""
        entries: Any = self._redis.xrevrange(log_key(workspace_id), count=1)
        return str(entries[0][0].decode()) if entries else "0-0"

    def after(self, workspace_id: str, id: str, wait_seconds: float) -> list[Entry]:
        """The entries after an id; waits for the first one if there is none. wait_seconds: less than READ_SECONDS."""
        key: Any = log_key(workspace_id)
        answer: Any = self._redis.xread({key: id}, count=READ_COUNT, block=round(wait_seconds * 1000))
        # An entry that another program wrote has neither field; it is looked up like the others and not found.
        return [
            Entry(id.decode(), *(fields.get(name, b"").decode(errors="replace") for name in (b"d", b"a")))
            for _, entries in entries_of(answer)
            for id, fields in entries
        ]

    def counts(self) -> dict[str, int]:
        """What all drains have counted since Redis was last emptied, under the names ATTEMPTS and an outcome, ENDED and
        a status, and UNTOLD."""
        counts: Any = self._redis.hgetall(COUNTS)
        return {name.decode(): int(count) for name, count in counts.items()}

    def delays(self) -> dict[str, int]:
        """What all drains have timed since then, under the names SENT_AFTER and DELIVERED_AFTER and a range, or SUM."""
        counts: Any = self._redis.hgetall(DELAYS)
        return {name.decode(): int(count) for name, count in counts.items()}

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
