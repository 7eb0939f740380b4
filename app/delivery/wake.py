"""Wake-ups: a ring sends one Celery message, which says only "something may be due", and a drain looks.

Many rings become one message through a Redis key that is set before the message is sent, and deleted by the drain
before its first claim. So whoever finds the key knows that a claim is still to come, and that it will see every row
committed so far. A ring is best effort: the deliveries are rows in PostgreSQL, and every worker's pulse rings again
each second.
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

QUEUE = "deliver"
TASK = "deliver"
KEY = "wake:deliver"

# How long the key of a message that was lost suppresses later rings: as long as the pulse takes to ring again.
KEY_MILLISECONDS = 1000
# Messages that may wait in the queue while every worker is busy (or none is running): more would wake nobody.
MAX_WAITING = 16
# After a failure no ring is tried for a moment, so that callers do not queue up behind a dead Redis.
PAUSE_SECONDS = 1.0

CONNECT_SECONDS = 2
SOCKET_SECONDS = 5
RING_SECONDS = 2  # for one command of a ring: somebody who has just committed may be waiting for it

# What can go wrong between here and Redis. OSError: sockets; the others: what redis and kombu make of them.
FAILURES = (*redis_connection.FAILURES, KombuError)


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
    """Rings and answers. Works in a web process under gevent, in a worker's parent and in its children.

    Connections are made at a process's first ring. A fork forgets its parent's and makes its own.
    """

    def __init__(self, redis_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = redis_url
        self._clock = clock
        self._lock = threading.Lock()
        self._pid = 0
        self._redis: Redis | None = None
        self._producer: Any = None
        self._quiet_until = 0.0

    def ring(self) -> bool:
        """Make sure that a drain will claim after this moment. Returns whether Redis took it. Never raises."""
        return self._attempt(self._ring)

    def answered(self) -> bool:
        """The drain is about to claim, so the next ring sends a new message. Returns whether Redis took it. Never
        raises."""
        return self._attempt(lambda redis: redis.delete(KEY))

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
                log.debug("Redis did not take a ring: %s", error)
                self._drop()
                return False
        return True

    def _ring(self, redis: Redis) -> None:
        # The key first, by redis-py: kombu sleeps 2 s after a refused connection, so it is only asked when Redis is up.
        if not redis.set(KEY, "1", px=KEY_MILLISECONDS, nx=True) or int(str(redis.llen(QUEUE))) >= MAX_WAITING:
            return
        if self._producer is None:
            connection = Connection(broker_url(self._url), transport_options=broker_options())
            self._producer = Producer(connection.channel(), auto_declare=False)
        headers, properties, body, _ = _CELERY.amqp.as_task_v2(str(uuid.uuid4()), TASK, (), {}, ignore_result=True)
        # The anonymous exchange needs no binding in Redis, so FLUSHALL takes nothing that a publish depends on.
        self._producer.publish(
            body, exchange="", routing_key=QUEUE, serializer="json", retry=False, headers=headers, **properties
        )

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
