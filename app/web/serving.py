"""What the web server does with our processes: starting, reloading, stopping. gunicorn.conf.py hooks it in."""

from __future__ import annotations

import threading
from collections.abc import Callable

from app.live.hub import Hub

WATCH_SECONDS = 0.2
LISTENER_SECONDS = 1.2
CLOSING_SECONDS = 3.0  # over which a process that ends closes its streams; gunicorn's graceful_timeout is 20


def close_streams_when_stopping(hub: Hub) -> Callable[[Callable[[], bool]], None]:
    """What the server calls with a function that tells whether this process is to go on."""

    def wait(alive: Callable[[], bool]) -> None:
        def run() -> None:
            while alive():
                threading.Event().wait(WATCH_SECONDS)
            # gunicorn closes its listener within a second. Streams that were closed before could come back to here.
            threading.Event().wait(LISTENER_SECONDS)
            hub.close_all("restart", CLOSING_SECONDS)

        threading.Thread(target=run, name="watch", daemon=True).start()

    return wait
