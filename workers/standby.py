"""The standby: a process that delivers while Redis is unreachable and nobody can be woken. At most one a worker.

Celery's processes wait for a message that cannot come. So the worker's parent starts this program, which looks for due
rows each second by itself, and ends it when Redis has been answering for a while. It works as a process of the pool
does, and may run beside them: what one has claimed, the others leave alone.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from app.settings import Settings
from workers.drains import make_drain

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
# How long Redis must have answered: by then Celery's consumer, which tries each second, is connected again, too.
STEADY_SECONDS = 5.0
# How long the process may take, beyond the time of one attempt, to record it and to end.
END_SECONDS = 5.0

_DIRECTORY = Path(__file__).parent.parent  # where this package and `app` are found


class Standby:
    """The parent's side: one process at most."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_seconds = settings.send_total_seconds + END_SECONDS
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._answers_since: float | None = None
        self._over = False

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    def mind(self, *, rung: bool) -> None:
        """Start the process or end it. rung: whether Redis has just taken a ring."""
        if not rung:
            self._answers_since = None
            if not self.is_running and not self._over:
                self._start()
        elif self.is_running:
            self._answers_since = self._answers_since or self._clock()
            if self._clock() - self._answers_since >= STEADY_SECONDS:
                self._tell_to_end()

    def forbid(self) -> None:
        """The worker shuts down: end the process and start no more. Does not wait: it is called by a signal handler."""
        self._over = True
        self._tell_to_end()

    def close(self) -> None:
        """Wait until what the process has in flight has ended."""
        self.forbid()
        if self._process is None:
            return
        try:
            self._process.wait(self._patience_seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        command = [sys.executable, "-m", "workers.standby", str(os.getpid())]
        try:
            self._process = subprocess.Popen(command, cwd=_DIRECTORY, stdin=subprocess.DEVNULL)
        except OSError as error:  # no memory, no processes: tried again at the next beat
            log.error("the standby cannot be started: %s", error)
            return
        log.warning("a standby delivers until Redis is back (process %d)", self._process.pid)
        if self._over:  # the signal handler has set it while we were starting
            self._tell_to_end()

    def _tell_to_end(self) -> None:
        if self._process is not None:
            self._process.terminate()


class _Turns:
    """The process's side: one drain's turns, until it is told to end or its parent is gone."""

    def __init__(self, settings: Settings, parent: int) -> None:
        self._parent = parent
        self._told = threading.Event()
        self._drain = make_drain(settings, _NoBell(), stopping=self._is_stopping)

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        while not self._is_stopping():
            self._drain.run()
            self._told.wait(LOOK_SECONDS)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._told.set()

    def _is_stopping(self) -> bool:
        return self._told.is_set() or os.getppid() != self._parent


class _NoBell:
    """Nobody can be rung, and nobody needs to be: the next turn begins by itself."""

    def ring(self) -> bool:
        return False

    def answered(self) -> bool:
        return False


def main() -> None:
    """`python -m workers.standby <process id of the parent>`."""
    logging.basicConfig(level=logging.WARNING, format="[%(asctime)s: %(levelname)s/standby] %(message)s")
    _Turns(Settings.from_env(os.environ), int(sys.argv[1])).run()


if __name__ == "__main__":
    main()
