"""The doorbell: where a drain waits for a ring (app.delivery.wake), beside the sockets of its transfers. One drain of
each worker has the place at it.

A blocking pop is always under way on a connection of its own, so a ring arrives as soon as Redis has it. Nothing here
waits for Redis longer than a moment, and nothing depends on it: whoever waits looks by itself each second.
"""

from __future__ import annotations

import logging
import math
import select
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from app.delivery.wake import BELL
from app.redis_connection import FAILURES, connect

log = logging.getLogger(__name__)

# For connecting and for each command: deliveries wait meanwhile.
REDIS_SECONDS = 0.25
# After a failure, so that a Redis that hangs costs a drain a twentieth of its time at most.
PAUSE_SECONDS = 5.0
# Redis ends a pop without an entry after this time, which shows that it is still there.
POP_SECONDS = 5
# When it has not done so this much later, the connection is dead.
LATE_SECONDS = 2.0
# For how long whoever was called may take to come before the place is taken back: ten times what it takes, and no rings
# are heard meanwhile.
BACK_SECONDS = 0.25


class Doorbell:
    """One drain's. Belongs to one process and one thread; connects when it is first opened."""

    def __init__(self, redis_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = connect(redis_url, seconds=REDIS_SECONDS)
        self._clock = clock
        self._connection: Any = None
        self._asked_at = 0.0
        self._quiet_until = -math.inf
        self._poller: Any = None

    def open(self) -> None:
        """Begin to listen, if that is not so already. Never raises."""
        if self._connection is not None and self._clock() - self._asked_at > POP_SECONDS + LATE_SECONDS:
            self._fail("it does not answer")
        if self._connection is not None or self._clock() < self._quiet_until:
            return
        connection: Any = None
        try:
            connection = self._redis.connection_pool.make_connection()
            connection.connect()
            self._connection = connection
            self._ask()
            self._poller = select.poll()
            self._poller.register(self._socket(), select.POLLIN)
        except FAILURES as error:
            self._connection = connection
            self._fail(error)

    def fileno(self) -> int | None:
        """What can be read when it has rung, or when the connection is lost; None without a connection."""
        return None if self._connection is None else self._socket().fileno()

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, for at most so long. Returns whether it has rung."""
        self.open()
        if self._connection is None:
            time.sleep(seconds)
            return False
        self._poller.poll(math.ceil(seconds * 1000))
        return self.take()

    def take(self) -> bool:
        """Whether it has rung since the last call. Does not wait."""
        if self._connection is None or not self._poller.poll(0):
            return False
        try:
            answer = self._connection.read_response()
            self._ask()
        except FAILURES as error:
            self._fail(error)
            return True  # a ring may have been lost with the connection
        return answer is not None

    def close(self) -> None:
        """Listen no more. A ring that comes is left to somebody else."""
        connection, self._connection, self._poller = self._connection, None, None
        if connection is not None:
            with suppress(*FAILURES):
                connection.disconnect()

    def _ask(self) -> None:
        self._connection.send_command("BLPOP", BELL, POP_SECONDS)
        self._asked_at = self._clock()

    def _socket(self) -> Any:
        return self._connection._sock  # redis-py has no other way to wait for more than one connection

    def _fail(self, why: object) -> None:
        log.debug("the doorbell is away: %s", why)
        self._quiet_until = self._clock() + PAUSE_SECONDS
        self.close()


class Place:
    """The place at the doorbell, as one drain sees it: free, somebody else's, or its own."""

    def __init__(
        self,
        doorbell: Doorbell | None = None,
        take: Callable[[], bool] = lambda: False,
        leave: Callable[[], None] = lambda: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """doorbell: None, for a drain that never has the place. take: take it for this process; returns whether that
        has it now. leave: leave it to others. clock: monotonic seconds."""
        self._doorbell, self._take, self._leave, self._clock = doorbell, take, leave, clock
        self._taken: Doorbell | None = None  # while this drain has the place
        self._left_at = -math.inf

    @property
    def is_taken(self) -> bool:
        """Whether this drain has it."""
        return self._taken is not None

    def take(self) -> bool:
        """Take it if it is free, and forget what has rung: whoever calls this looks next. Returns whether this drain
        has it."""
        if self._taken is None and self._doorbell is not None and self._take():
            self._taken = self._doorbell
        if self._taken is not None:
            self._taken.open()
            self._taken.take()
        return self.is_taken

    def take_back(self) -> bool:
        """The same, but not soon after this drain has left it to somebody else."""
        return self._clock() - self._left_at >= BACK_SECONDS and self.take()

    def leave(self) -> bool:
        """Leave it, and listen no more. Returns whether this drain had it."""
        had, self._taken = self._taken, None
        if had is None:
            return False
        self._left_at = self._clock()
        had.close()
        self._leave()
        return True

    def fileno(self) -> int | None:
        """What can be read when it has rung; None without the place, or without Redis."""
        return None if self._taken is None else self._taken.fileno()

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, for at most so long. Returns whether it has rung. Without the place nothing does."""
        if self._taken is not None:
            return self._taken.wait(seconds)
        time.sleep(seconds)
        return False
