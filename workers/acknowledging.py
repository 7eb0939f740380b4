"""kombu's account of messages that are being worked on, changed so that a lost acknowledgement costs no place.

A consumer takes no more messages than its prefetch count (here: the size of the pool) at a time, and an acknowledgement
makes room for the next. kombu tells Redis first, and when that raises it never frees the place: after as many such
failures as there are places the consumer takes nothing any more, for good, while Redis is healthy again. Nothing here
needs Redis to know: a message that is still noted there comes again after the visibility timeout, as a ring too many.
"""

from __future__ import annotations

from kombu.transport import redis


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


def install() -> None:
    """Have every consumer of this process count by it."""
    redis.Channel.QoS = FreeingQoS
