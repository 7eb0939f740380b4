"""The way to Redis: clients whose every call ends in bounded time, and the shape of what streams answer.

Whoever needs Redis takes its client from here. Redis carries hints only, so no call waits longer than its time-out and
none is repeated more than once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

# What can go wrong between here and Redis.
FAILURES = (RedisError, OSError)


def connect(redis_url: str, *, seconds: float, connect_seconds: float | None = None) -> Redis:
    """A client that connects at its first call. seconds: the most that one exchange may take; connect_seconds: the
    most that connecting may take (default: seconds). A command is sent once more, at once and on a new connection, when
    the old one turns out closed: the server may have closed it while it was idle."""
    return Redis.from_url(
        redis_url,
        socket_connect_timeout=seconds if connect_seconds is None else connect_seconds,
        socket_timeout=seconds,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )


def entries_of(answer: Any) -> Iterator[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]:
    """What XREAD answered, stream by stream: (key, [(entry id, fields), …]); nothing for a read that timed out.

    redis-py answers a list of pairs under RESP2 and a dict of lists of lists under RESP3.
    """
    if isinstance(answer, dict):
        yield from ((key, entries[0]) for key, entries in answer.items())
    else:
        yield from answer or ()
