"""Hears that events were committed in other processes: whatever is announced on the bus, only that it was."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from redis import Redis

from app.core.wire.bus_entry import shard_key
from app.redis_connection import FAILURES, connect, entries_of

log = logging.getLogger(__name__)

BLOCK_MILLISECONDS = 1000
CONNECT_SECONDS = 2
SOCKET_SECONDS = 5  # longer than a blocking read
RETRY_SECONDS = 1.0
PAUSE_SECONDS = 0.02  # between two rings: ticks are not made more often


class Bell:
    """Listens to the bus while somebody needs it. on_ring: called when something was announced; never blocks.

    Of what is announced it reads one entry a shard and ring, however much that was, and looks into none: it waits for
    the next behind the last one that it knows, and then goes to the newest.
    """

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
                rung = set(self._keys) - set(positions) or self._wait(client, positions)
                positions |= _newest(client, sorted(rung))
            except FAILURES:  # the bus says so in the log; ticks are made each second meanwhile
                threading.Event().wait(RETRY_SECONDS)
                continue
            if rung:
                self._on_ring()
                threading.Event().wait(PAUSE_SECONDS)

    def _wait(self, client: Redis, positions: dict[Any, Any]) -> set[str]:
        """The shards in which something was announced behind these positions; none after a while."""
        answer = client.xread(positions, count=1, block=BLOCK_MILLISECONDS)
        return {shard.decode() for shard, _ in entries_of(answer)}


def _newest(client: Redis, keys: Sequence[str]) -> dict[str, bytes]:
    """The ids of the newest entries of some shards."""
    asking = client.pipeline(transaction=False)
    for key in keys:
        asking.xrevrange(key, count=1)
    return {key: found[0][0] if found else b"0-0" for key, found in zip(keys, asking.execute(), strict=True)}
