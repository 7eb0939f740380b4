"""The standby: a process that delivers while something is due and no pool process looks for it. At most one a worker.

A pool process waits for a message, and there are many ways in which none comes: Redis is away or full, the consumer is
stuck, the processes are frozen. The pulse does not ask for the cause. When something has been due for some seconds and
no drain has made a round in that time (app.delivery.rounds), it starts this program, which looks for due rows each
second by itself; it ends it when the pools make rounds again. The standby works as a pool process does, and may run
beside them: what one has claimed, the others leave alone.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from app import tracing
from app.delivery.rounds import Waiting
from app.log_lines import formatter
from app.settings import Settings
from workers import child
from workers.drains import make_drain

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
# How long something must have been due with nobody looking. A drain that works stamps a round each second, and one that
# waits is rung each second; the rest is for a busy machine.
PATIENCE_SECONDS = 5.0
# The same while Redis takes no ring: nobody who waits will hear of anything, so only those at work are given time.
UNRUNG_PATIENCE_SECONDS = 2.0
# The pools work again when they have made rounds for so long, none later than this after the last: they are rung each
# second while a standby runs.
STEADY_SECONDS = 5.0
STEADY_GAP_SECONDS = 3.0
# A standby that makes no rounds either is replaced, once it has had this time to start on a busy machine.
REPLACE_SECONDS = 30.0
# As long as it is needed, the log says so again.
SAY_AGAIN_SECONDS = 60.0
# How long the process may take, beyond the time of one attempt, to record it and to end.
END_SECONDS = 5.0

_DIRECTORY = Path(__file__).parent.parent  # where this package and `app` are found


def is_needed(waiting: Waiting, *, rung: bool) -> bool:
    """Whether something has been due for too long with no pool process looking. rung: whether Redis takes rings."""
    patience_seconds = PATIENCE_SECONDS if rung else UNRUNG_PATIENCE_SECONDS
    return min(waiting.overdue_seconds, waiting.pool_silent_seconds) >= patience_seconds


def is_frozen(waiting: Waiting, age_seconds: float) -> bool:
    """Whether a standby of this age makes no rounds itself, though it should."""
    return min(age_seconds, waiting.overdue_seconds, waiting.all_silent_seconds) >= REPLACE_SECONDS


class Standby:
    """The parent's side: one process at most."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._patience_seconds = settings.send_total_seconds + END_SECONDS
        self._clock = clock
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = self._said_at = 0.0
        self._relieved_since: float | None = None
        self._told = self._over = False

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self._process is not None and self._process.poll() is None

    def mind(self, waiting: Waiting, *, rung: bool) -> None:
        """Start the process, replace it or end it. rung: whether Redis has just taken a ring."""
        if not self.is_running:
            if is_needed(waiting, rung=rung) and not self._over:
                self._start(waiting)
        elif is_frozen(waiting, self._clock() - self._started_at):
            log.error("the standby (process %d) makes no rounds, and is replaced", self._end_now())
        elif waiting.pool_silent_seconds < STEADY_GAP_SECONDS:
            self._relieved_since = self._clock() if self._relieved_since is None else self._relieved_since
            if self._clock() - self._relieved_since >= STEADY_SECONDS and not self._told:
                log.warning("this worker's pool delivers again, the standby ends")
                self._tell_to_end()
        else:
            self._relieved_since = None
            self._say(waiting)

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

    def _start(self, waiting: Waiting) -> None:
        command = [sys.executable, "-m", "workers.standby", str(os.getpid())]
        try:
            self._process = subprocess.Popen(command, cwd=_DIRECTORY, stdin=subprocess.DEVNULL)
        except OSError as error:  # no memory, no processes: tried again at the next beat
            log.error("the standby cannot be started: %s", error)
            return
        self._told, self._relieved_since = False, None
        self._started_at, self._said_at = self._clock(), -math.inf
        self._say(waiting)
        if self._over:  # the signal handler has set it while we were starting
            self._tell_to_end()

    def _say(self, waiting: Waiting) -> None:
        """Say, now and then, that something is wrong with the pools."""
        if self._clock() - self._said_at >= SAY_AGAIN_SECONDS and self._process is not None:
            self._said_at = self._clock()
            log.error(
                "deliveries are due and no pool process has looked for %.0f s: a standby delivers (process %d);"
                " look at Redis and at the workers' processes",
                waiting.pool_silent_seconds,
                self._process.pid,
            )

    def _end_now(self) -> int:
        """Kill the process; its id."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        return self._process.pid

    def _tell_to_end(self) -> None:
        self._told = True
        if self._process is not None:
            self._process.terminate()


class _Turns:
    """The process's side: one drain's turns, until it is told to end or its parent is gone."""

    def __init__(self, settings: Settings, parent: int) -> None:
        self._parent = parent
        self._told = threading.Event()
        spans = tracing.start(os.environ, child.SERVICE)
        self._drain = make_drain(settings, _NoCalls(), crew="standby", stopping=self._is_stopping, tracing=spans)

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


class _NoCalls:
    """Nobody can be called, and nobody needs to be: the next turn begins by itself."""

    def call(self) -> bool:
        return False

    def call_another(self) -> bool:
        return False

    def answered(self) -> bool:
        return False


def main() -> None:
    """`python -m workers.standby <process id of the parent>`."""
    spoken = logging.StreamHandler()
    spoken.setFormatter(formatter(os.environ, logging.Formatter("[%(asctime)s: %(levelname)s/standby] %(message)s")))
    logging.basicConfig(level=logging.WARNING, handlers=[spoken])
    _Turns(Settings.from_env(os.environ), int(sys.argv[1])).run()


if __name__ == "__main__":
    main()
