"""Celery's consumer, changed to try a lost Redis each second; Celery's own waits longer each time, up to 30 s."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from celery.worker import consumer

RETRY_SECONDS = 1
LOG_EVERY = 60  # tries: one line a minute while Redis is unreachable


class Consumer(consumer.Consumer):  # type: ignore[misc]  # Celery has no types
    """The consumer of one worker."""

    def ensure_connected(self, conn: Any) -> Any:
        """Connect `conn`, however long it takes."""
        connect = conn.ensure_connection

        def connect_steadily(errback: Callable[[Exception, float], None], *args: Any, **kwargs: Any) -> Any:
            tries = 0

            def log_seldom(error: Exception, interval: float) -> None:
                nonlocal tries
                if tries % LOG_EVERY == 0:
                    errback(error, interval)
                tries += 1

            every = {"interval_start": RETRY_SECONDS, "interval_step": 0, "interval_max": RETRY_SECONDS}
            return connect(log_seldom, *args, **{**kwargs, **every})

        conn.ensure_connection = connect_steadily
        return super().ensure_connected(conn)
