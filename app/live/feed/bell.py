"""Hears that events were committed in other processes: whatever is announced on the bus, only that it was."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from app.core.wire.bus_entry import shard_key
from app.redis_connection import FAILURES, connect, entries_of

log = logging.getLogger(__name__)

READ_COUNT = 1000  # announcements in one read; each is a hint only, and not looked into
BLOCK_MILLISECONDS = 1000
CONNECT_SECONDS = 2
SOCKET_SECONDS = 5  # longer than a blocking read
RETRY_SECONDS = 1.0


class Bell:
    """Reads the bus while somebody needs it. on_ring: called after each read that brought something; never blocks."""

    def __init__(self, redis_url: str, shards: int, on_ring: Callable[[], None], is_needed: Callable[[], bool]) -> None:
        self._redis_url = redis_url
        # A stream's number decides its shard, so as many numbers in a row as there are shards meet all of them.
        self._keys = [shard_key(stream, shards) for stream in range(shards)]
        self._on_ring, self._is_needed = on_ring, is_needed
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def listen(self) -> None:
        """Somebody needs it from now on."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="feed-bell", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        client = connect(self._redis_url, seconds=SOCKET_SECONDS, connect_seconds=CONNECT_SECONDS)
        positions: dict[str, Any] = {}
        while True:
            with self._lock:
                if not self._is_needed():
                    self._thread = None
                    client.close()
                    return
            try:
                for key in set(self._keys) - set(positions):
                    newest: Any = client.xrevrange(key, count=1)
                    positions[key] = newest[0][0] if newest else b"0-0"
                answer = client.xread(positions, count=READ_COUNT, block=BLOCK_MILLISECONDS)  # type: ignore[arg-type]
            except FAILURES:  # the bus says so in the log; ticks are made each second meanwhile
                threading.Event().wait(RETRY_SECONDS)
                continue
            for shard, entries in entries_of(answer):
                positions[shard.decode()] = entries[-1][0]
            if answer:
                self._on_ring()
