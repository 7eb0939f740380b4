"""The bus: Redis streams that announce accepted events. A hint only: whatever it loses is still in PostgreSQL."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from app.core.problem import first_line
from app.core.wire import bus_entry
from app.core.wire.bus_entry import shard_key
from app.core.wire.envelope import Announcement
from app.redis_connection import FAILURES, Line, connect, raw_entries_of

log = logging.getLogger(__name__)

MAX_BACKLOG = 20_000  # announcements (160 MB at most) waiting for a Redis that hangs; others are found by SQL
READ_COUNT = 1000
READ_BLOCK_MILLISECONDS = 3000  # whom to read is told by an entry meanwhile; each end of a read costs a little
CONNECT_SECONDS = 2
SOCKET_SECONDS = 5  # for one answer: longer than a blocking read, so that only a Redis that hangs is given up
RETRY_SECONDS = 0.5
CONTROL_SECONDS = 3600  # how long a process that died leaves its control stream behind


class Announcer:
    """Sends announcements from a thread of its own, so that no producer waits for Redis.

    bell: commands for Redis that ring a drain, sent along with the announcements when a delivery is due.
    on_lost: called with the number of announcements that Redis did not take.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        shards: int,
        maxlen: int,
        bell: Sequence[Sequence[str | int]] = (),
        on_lost: Callable[[int], object] = lambda count: None,
    ) -> None:
        self._redis_url = redis_url
        self._shards = shards
        self._maxlen = maxlen
        self._bell = bell
        self._on_lost = on_lost
        self._waiting: deque[Announcement] = deque(maxlen=MAX_BACKLOG)
        self._due = False
        self._pending = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def announce(self, announcements: Sequence[Announcement], due: bool) -> None:
        """Queue announcements and, if due, a ring of the bell. Never blocks, never raises."""
        if (overflow := len(self._waiting) + len(announcements) - MAX_BACKLOG) > 0:
            self._on_lost(overflow)
        self._waiting.extend(announcements)
        self._due = self._due or due
        with self._lock:
            if self._thread is None:  # started at first use: after any fork
                self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)
                self._thread.start()
        self._pending.set()

    def _run(self) -> None:
        line = Line(connect(self._redis_url, seconds=SOCKET_SECONDS, connect_seconds=CONNECT_SECONDS))
        away = False
        while True:
            self._pending.wait()
            self._pending.clear()
            due, self._due = self._due, False
            batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
            try:
                self._send(line, batch, due)
                away = False
            except FAILURES as error:
                self._on_lost(len(batch))
                if not away:
                    log.warning("bus: Redis does not answer (%s); streams are read from PostgreSQL meanwhile", error)
                away = True
            except Exception:  # nothing would start this thread again
                self._on_lost(len(batch))
                log.exception("bus: announcements were not sent")

    def _send(self, line: Line, batch: Sequence[Announcement], due: bool) -> None:
        """One exchange for all. A bell that Redis refuses is no loss: drains look each second. Raises FAILURES."""
        commands = [self._command(announcement) for announcement in batch]
        answers = line.exchange([*commands, *(self._bell if due else ())])
        for error in (answer for answer in answers[: len(batch)] if isinstance(answer, RedisError)):
            raise error

    def _command(self, announcement: Announcement) -> list[Any]:
        command = [b"XADD", shard_key(announcement.stream, self._shards), b"MAXLEN", b"~", self._maxlen, b"*"]
        for field, value in bus_entry.encode(announcement).items():
            command += (field, value)
        return command


class BusReader:
    """Follows the shards in which this process has subscribers, with one blocking read at a time.

    on_batch: called with the announcements of each read, in order.
    """

    def __init__(self, redis_url: str, *, shards: int, on_batch: Callable[[list[Announcement]], None]) -> None:
        self._redis_url = redis_url
        self._shards = shards
        self._on_batch = on_batch
        self._followers: Counter[str] = Counter()
        self._positions: dict[bytes, bytes] = {}
        # A stream of this process alone, in the same read: an entry there ends the read when the set of shards changes.
        self._control = f"bus:control:{uuid.uuid4().hex}".encode()
        self._ready: dict[str, threading.Event] = {}
        self._interrupter: Redis | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def follow(self, stream: int) -> None:
        """Read this stream's shard from now on.

        Returns once the shard is being read, or after a second without Redis: the hub's poll then finds the events.
        """
        key = shard_key(stream, self._shards)
        with self._lock:
            self._followers[key] += 1
            ready = self._ready.setdefault(key, threading.Event())
            if self._thread is None:
                self._interrupter = connect(self._redis_url, seconds=SOCKET_SECONDS, connect_seconds=CONNECT_SECONDS)
                self._thread = threading.Thread(target=self._run, name="bus-reader", daemon=True)
                self._thread.start()
        if not ready.is_set():
            self._interrupt()
            ready.wait(timeout=1)

    def unfollow(self, stream: int) -> None:
        """Undo one follow()."""
        key = shard_key(stream, self._shards)
        with self._lock:
            self._followers[key] -= 1
            if self._followers[key] <= 0:
                del self._followers[key]
                self._ready.pop(key, None)

    def _interrupt(self) -> None:
        assert self._interrupter is not None
        try:
            pipeline = self._interrupter.pipeline(transaction=False)
            pipeline.xadd(self._control, {b"x": b""}, maxlen=1)
            pipeline.expire(self._control, CONTROL_SECONDS)
            pipeline.execute()
        except FAILURES:
            pass  # the reader notices the change when its read ends by itself

    def _run(self) -> None:
        line = Line(connect(self._redis_url, seconds=SOCKET_SECONDS, connect_seconds=CONNECT_SECONDS))
        away = False
        while True:
            try:
                answer = self._read(line)
                away = False
            except FAILURES as error:
                if not away:
                    log.warning("bus: Redis does not answer (%s); live streams are slower until it does", error)
                away = True
                threading.Event().wait(RETRY_SECONDS)
                continue
            try:
                if announcements := self._decode(answer):
                    self._on_batch(announcements)
            except Exception as error:  # such as a lost PostgreSQL: the poll finds these events, and reading goes on
                log.warning("bus: announcements were not taken: %s: %s", type(error).__name__, first_line(error))

    def _read(self, line: Line) -> Any:
        with self._lock:
            wanted = {key.encode(): self._ready.get(key) for key in self._followers}
        for gone in self._positions.keys() - wanted.keys() - {self._control}:
            del self._positions[gone]
        for key, ready in wanted.items():
            if key not in self._positions:
                newest = line.ask((b"XREVRANGE", key, b"+", b"-", b"COUNT", 1))
                self._positions[key] = newest[0][0] if newest else b"0-0"
            if ready is not None:
                ready.set()
        self._positions.setdefault(self._control, b"0-0")
        return line.ask((*_XREAD, *self._positions, *self._positions.values()))

    def _decode(self, answer: Any) -> list[Announcement]:
        announcements: list[Announcement] = []
        for key, entries in raw_entries_of(answer):
            self._positions[key] = entries[-1][0]
            for _, fields in entries if key != self._control else ():
                try:
                    announcements.append(bus_entry.decode(dict(zip(fields[::2], fields[1::2], strict=True))))
                except (KeyError, ValueError):
                    log.warning("bus: an entry of another program in %s was passed over", key.decode())
        return announcements


_XREAD = (b"XREAD", b"COUNT", READ_COUNT, b"BLOCK", READ_BLOCK_MILLISECONDS, b"STREAMS")
