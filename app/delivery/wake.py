"""Wake-ups: the bell, at which a drain of each worker waits, and the message that starts another drain.

A ring is one entry in a Redis list, which says only "something may be due": a drain that waits there
(app.delivery.doorbell) takes it and looks. Of rings that nobody takes one is kept: whoever looks next sees every row
committed so far.

A call is a Celery message, for which a drain begins a turn: the next turn of a drain that waits at the bell, or another
one beside it when there is more to do than it can take. Many calls become one message through a Redis key that is set
before the message is sent, and deleted by the drain before its first claim. So whoever finds the key knows that a claim
is still to come.

Both are best effort: the deliveries are rows in PostgreSQL, a drain that waits looks each second, and every worker's
pulse calls one when nobody does.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from celery import Celery
from kombu import Connection, Producer
from kombu.exceptions import KombuError
from redis import Redis

from app import redis_connection
from app.redis_connection import connect

log = logging.getLogger(__name__)

# The list, what is pushed to it, and how many entries are kept.
BELL = "bell"
RUNG = "1"
BELL_KEPT = 1

QUEUE = "deliver"
TASK = "deliver"

# How long the key of a message that was lost suppresses later calls: as long as the pulse takes to call again.
KEY_MILLISECONDS = 1000
# How long messages are kept for a worker that does not come back.
KEPT_SECONDS = 3600
# Messages that may wait in the queue while every worker is busy (or none is running): more would wake nobody.
MAX_WAITING = 16
# After a failure nothing is tried for a moment, so that callers do not queue up behind a dead Redis.
PAUSE_SECONDS = 1.0

CONNECT_SECONDS = 2
SOCKET_SECONDS = 5
RING_SECONDS = 2  # for one exchange: somebody who has just committed may be waiting for it

# What can go wrong between here and Redis. OSError: sockets; the others: what redis and kombu make of them.
FAILURES = (*redis_connection.FAILURES, KombuError)


# A ring, as commands for Redis: somebody has committed what is due.
RING: tuple[tuple[str | int, ...], ...] = (("LPUSH", BELL, RUNG), ("LTRIM", BELL, 0, BELL_KEPT - 1))


def add_ring(pipeline: Any) -> None:
    """Add a ring to a pipeline of redis-py."""
    for command in RING:
        pipeline.execute_command(*command)


def key_of(queue: str) -> str:
    """The key that is there while a message waits in this queue."""
    return f"wake:{queue}"


def broker_url(redis_url: str) -> str:
    """A Redis URL (redis://, rediss://, unix://) as kombu wants it."""
    url = urlsplit(redis_url)
    query = dict(parse_qsl(url.query))
    if url.scheme == "unix":
        login = f"{url.username or ''}:{url.password}@" if url.password else ""
        return f"redis+socket://{login}{url.path}?virtual_host={query.get('db', '0')}"
    if url.scheme == "rediss" and "ssl_cert_reqs" not in query:
        return url._replace(query=urlencode({**query, "ssl_cert_reqs": "CERT_REQUIRED"})).geturl()
    return redis_url


def broker_options() -> dict[str, Any]:
    """kombu's transport options: short time-outs, and the locks of a dead or frozen worker expire within seconds."""
    return {
        "socket_timeout": SOCKET_SECONDS,
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_keepalive": True,
        "health_check_interval": 10,
        "visibility_timeout": 120,  # seconds; by then a message that nobody acknowledged has long been superseded
        "unacked_mutex_expire": 15,  # the default of 300 s stops redelivery when its holder froze
        "max_retries": 0,
    }


class Wake:
    """Rings, calls and answers. Works in a web process under gevent, in a worker's parent and in its children.

    Connections are made at a process's first ring or call. A fork forgets its parent's and makes its own.
    """

    def __init__(self, redis_url: str, *, own_queue: str = QUEUE, clock: Callable[[], float] = time.monotonic) -> None:
        """own_queue: from which the drains of this process's worker are called; QUEUE: any worker's."""
        self._url, self._own_queue = redis_url, own_queue
        self._clock = clock
        self._lock = threading.Lock()
        self._pid = 0
        self._redis: Redis | None = None
        self._producer: Any = None
        self._quiet_until = 0.0

    def ring(self) -> bool:
        """Have a drain that waits look for what is due. Returns whether Redis took it. Never raises."""
        return self._attempt(self._ring)

    def call(self) -> bool:
        """Make sure that a drain of this worker will claim after this moment. Returns whether Redis took it. Never
        raises."""
        return self._attempt(lambda redis: self._call(redis, self._own_queue))

    def call_another(self) -> bool:
        """Have one more drain, of any worker, begin. Returns whether Redis took it. Never raises."""
        return self._attempt(lambda redis: self._call(redis, QUEUE))

    def answered(self) -> bool:
        """The drain is about to claim, so the next call sends a new message. Returns whether Redis took it. Never
        raises."""
        return self._attempt(lambda redis: redis.delete(key_of(QUEUE), key_of(self._own_queue)))

    def close(self) -> None:
        """Close connections, ignoring errors."""
        with self._lock:
            self._drop()

    def _attempt(self, act: Callable[[Redis], object]) -> bool:
        self._renew_after_fork()
        with self._lock:
            if self._clock() < self._quiet_until:
                return False
            try:
                act(self._connected())
            except FAILURES as error:
                self._quiet_until = self._clock() + PAUSE_SECONDS
                log.debug("Redis did not take a wake-up: %s", error)
                self._drop()
                return False
        return True

    def _ring(self, redis: Redis) -> None:
        pipeline = redis.pipeline(transaction=False)
        add_ring(pipeline)
        pipeline.execute()

    def _call(self, redis: Redis, queue: str) -> None:
        # The key first, by redis-py: kombu sleeps 2 s after a refused connection, so it is only asked when Redis is up.
        if not redis.set(key_of(queue), "1", px=KEY_MILLISECONDS, nx=True):
            return
        if int(str(redis.llen(queue))) >= MAX_WAITING:
            return
        if self._producer is None:
            connection = Connection(broker_url(self._url), transport_options=broker_options())
            self._producer = Producer(connection.channel(), auto_declare=False)
        headers, properties, body, _ = _CELERY.amqp.as_task_v2(str(uuid.uuid4()), TASK, (), {}, ignore_result=True)
        # The anonymous exchange needs no binding in Redis, so FLUSHALL takes nothing that a publish depends on.
        self._producer.publish(
            body, exchange="", routing_key=queue, serializer="json", retry=False, headers=headers, **properties
        )
        if queue != QUEUE:
            redis.expire(queue, KEPT_SECONDS)

    def _connected(self) -> Redis:
        if self._redis is None:
            self._redis = connect(self._url, seconds=RING_SECONDS, connect_seconds=CONNECT_SECONDS)
        return self._redis

    def _drop(self) -> None:
        """Close and forget the connections. Closing a broken one may fail, which does not matter."""
        redis, self._redis = self._redis, None
        producer, self._producer = self._producer, None
        with suppress(*FAILURES):
            if redis is not None:
                redis.close()
        with suppress(*FAILURES):
            if producer is not None:
                producer.connection.close()

    def _renew_after_fork(self) -> None:
        """In a child, forget the parent's connections and lock without touching them."""
        if self._pid != os.getpid():
            self._pid, self._lock, self._quiet_until = os.getpid(), threading.Lock(), 0.0
            self._redis = self._producer = None


# Only to write the message as Celery's workers read it; it never connects.
_CELERY = Celery("twofold", set_as_current=False)
