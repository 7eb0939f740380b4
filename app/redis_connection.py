"""The way to Redis: clients whose every call ends in bounded time, and the shape of what streams answer.

Whoever needs Redis takes its client from here. Redis carries hints only, so no call waits longer than its time-out and
none is repeated more than once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry

# What a connection tells the server of its client. redis-py makes it anew for each, and reads the metadata of its
# package from the disk for that: 8 ms, each time that a drain opens its doorbell.
_DRIVER = DriverInfo()

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
        driver_info=_DRIVER,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )


class Line:
    """One connection of its own, for several commands at a time. For whoever sends all day long: it does without what a
    client's pipeline does around each exchange, which takes three times as long. Belongs to one thread."""

    def __init__(self, client: Redis) -> None:
        """client: says where to, and for how long. The connection is made at the first exchange."""
        self._pool = client.connection_pool
        self._connection: Any = None

    def exchange(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands and read their answers. An error that Redis answers stands in the command's place.

        Sent once more, at once and on a new connection, when the old one turns out closed. Raises FAILURES.
        """
        try:
            return self._exchange(commands)
        except RedisConnectionError:
            return self._exchange(commands)

    def ask(self, command: Sequence[Any]) -> Any:
        """The answer to one command. Raises FAILURES, also for what Redis refuses."""
        (answer,) = self.exchange([command])
        if isinstance(answer, RedisError):
            raise answer
        return answer

    def _exchange(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        if self._connection is None:
            self._connection = self._pool.get_connection()
        connection = self._connection
        try:
            connection.send_packed_command([b"".join(map(_packed, commands))], check_health=False)
            return [_answer(connection) for _ in commands]
        except BaseException:  # what is still to come answers nobody's question
            self._connection = None
            connection.disconnect()
            self._pool.release(connection)
            raise


def _packed(command: Sequence[Any]) -> bytes:
    """A command as Redis reads it (RESP: an array of strings). The client's own way checks every word for the rest of
    what it can do, which takes five times as long."""
    parts = [b"*%d\r\n" % len(command)]
    for word in command:
        raw = word if type(word) is bytes else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error


def entries_of(answer: Any) -> Iterator[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]:
    """What XREAD answered, stream by stream: (key, [(entry id, fields), …]); nothing for a read that timed out.

    redis-py answers a list of pairs under RESP2 and a dict of lists of lists under RESP3.
    """
    if isinstance(answer, dict):
        yield from ((key, entries[0]) for key, entries in answer.items())
    else:
        yield from answer or ()


def raw_entries_of(answer: Any) -> Iterator[tuple[bytes, list[tuple[bytes, list[bytes]]]]]:
    """The same of what Redis itself answers: pairs of a key and its entries, under RESP3 as a dict; in each entry names
    and values take turns."""
    yield from answer.items() if isinstance(answer, dict) else answer or ()
