"""Steps that the hub repeats by the clock, each in a greenlet of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from gevent import monkey

from app.core.problem import first_line

log = logging.getLogger(__name__)

# (name for the log, seconds between two runs, what to run)
Repeat = Callable[[str, float, Callable[[], None]], None]


class NoGreenletsError(RuntimeError):
    """This process runs real threads."""


def require_greenlets() -> None:
    """Raises NoGreenletsError where threads are the operating system's: the live side needs greenlets."""
    if not monkey.is_module_patched("threading"):
        raise NoGreenletsError(
            "Live streams need gevent, but this process runs real threads. The hub hands events on without locks, "
            "which is safe only where threads are greenlets, because a greenlet is never interrupted in the middle "
            "of a step. Serve the application with `gunicorn -c gunicorn.conf.py` (its worker class is gevent), or "
            "call gevent.monkey.patch_all() before anything else is imported."
        )


def repeat(name: str, seconds: float, step: Callable[[], None]) -> None:
    """Run a step every so many seconds until the process ends. Raises NoGreenletsError (see require_greenlets)."""
    require_greenlets()
    threading.Thread(target=_run, args=(name, seconds, step), name=name, daemon=True).start()


def _run(name: str, seconds: float, step: Callable[[], None]) -> None:
    """Nothing that a step raises ends its rounds; of failures in a row the first is logged."""
    failing = False
    while True:
        threading.Event().wait(seconds)
        try:
            step()
            failing = False
        except Exception as error:
            if not failing:
                log.warning("%s: %s: %s", name, type(error).__name__, first_line(error))
            failing = True
