"""kombu's account of messages that are being worked on, changed so that a lost connection costs neither a place nor the
worker.

A consumer takes no more messages than its prefetch count (here: the size of the pool) at a time, and an acknowledgement
makes room for the next. kombu tells Redis first, and when that raises it never frees the place: after as many such
failures as there are places the consumer takes nothing any more, for good, while Redis is healthy again. Nothing here
needs Redis to know: a message that is still noted there comes again after the visibility timeout, as a ring too many.
"""

from __future__ import annotations

import logging
from typing import Any

from kombu.transport import redis

log = logging.getLogger(__name__)


class FreeingQoS(redis.QoS):  # type: ignore[misc]  # kombu has no types
    """Frees a message's place whether or not Redis took the acknowledgement."""

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message. Raises what redis-py raises; the place is free all the same."""
        try:
            super().ack(delivery_tag)
        finally:
            super(redis.QoS, self).ack(delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Refuse a message. Raises what redis-py raises; the place is free all the same."""
        try:
            super().reject(delivery_tag, requeue=requeue)
        finally:
            super(redis.QoS, self).ack(delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:
        """Give back what is not acknowledged, at the end of a connection; drop it where Redis cannot be reached.

        kombu raises whatever it meets there, an AttributeError when the connection has already been taken apart, and
        Celery ends its worker for that.
        """
        try:
            super().restore_unacked(client)
        except Exception as error:
            log.warning("%d wake-ups are dropped with their connection to Redis: %r", len(self._delivered), error)
            self._delivered.clear()


def install() -> None:
    """Have every consumer of this process count by it."""
    redis.Channel.QoS = FreeingQoS
