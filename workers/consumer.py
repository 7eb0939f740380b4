"""Celery's consumer, changed to try a lost Redis each second; Celery's own waits longer each time, up to 30 s. It sends
no heartbeats: nobody hears them, and they are the most that an idle worker's parent does. And the bound on how long a
worker that is told to stop may go on with that."""

from __future__ import annotations

import atexit
import signal
from collections.abc import Callable
from typing import Any

from celery.bootsteps import RUN
from celery.exceptions import WorkerShutdown
from celery.worker import consumer

RETRY_SECONDS = 1
LOG_EVERY = 60  # tries: one line a minute while Redis is unreachable
# Until a worker that was told to stop begins to. While it connects to Redis it looks for that between one step and the
# next only, and each step may wait for an answer as long as a socket's time-out.
STOP_SECONDS = 5.0
STOP_AGAIN_SECONDS = 1.0


def stop_soon(worker: Any, seconds: float = STOP_SECONDS) -> None:
    """Have a worker that was told to stop begin to, after so many seconds at the latest, wherever it waits then. In the
    main thread. It ends as it would by itself: what it is doing is finished."""

    def stop(_number: int, _frame: Any) -> None:
        if worker.blueprint.state == RUN:
            raise WorkerShutdown(0)
        _disarm()

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, STOP_AGAIN_SECONDS)
    atexit.register(_disarm)  # an interpreter that ends has no handlers any more: the alarm would kill it


def _disarm() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


class Consumer(consumer.Consumer):  # type: ignore[misc]  # Celery has no types
    """The consumer of one worker."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "without_heartbeat": True})

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
