"""The pulse: each second it calls a drain when nobody waits at the doorbell, or something has been due for a moment.

Every worker's parent process has one. It makes up for every lost message, so that a delivery is made never depends on
one, nor on Celery's beat. While who waits there has just looked and found nothing, it looks itself every few seconds
only. When something stays due and no pool process looks, it has a standby deliver, whatever the cause. It also makes
the coming weeks' partitions.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.core.problem import first_line
from app.database.partitions import make_partitions
from app.delivery.rounds import Waiting, Watcher
from app.delivery.wake import Wake
from workers.drains import delivery_database
from workers.standby import Standby

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
# What is due for so long has not been taken by whoever waits at the doorbell, who would have looked by now.
LATE_SECONDS = 0.2
PARTITIONS_SECONDS = 3600.0
# How often it looks itself although others do, in case that they are wrong.
LOOK_SECONDS = 5.0

_NOTHING = Waiting(0.0, 0.0, 0.0)


class Pulse:
    """A thread with a database connection of its own.

    The pool's processes are forked beside it and inherit that connection, but never use it; psycopg closes a
    connection only in the process that made it.
    """

    def __init__(
        self,
        database_url: str,
        wake: Wake,
        *,
        standby: Standby | None = None,
        nobody_stands: Callable[[], bool] = lambda: False,
        is_quiet: Callable[[], bool] = lambda: False,
        errand: Callable[[Connection], None] = lambda connection: None,
        beat_seconds: float = BEAT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """nobody_stands: whether no drain of this worker waits at the doorbell. is_quiet: whether the one that does has
        just looked and found nothing. errand: what else is to be looked for in the database at each beat, each
        statement by itself; it does not take long. clock: monotonic seconds."""
        self._database = delivery_database(database_url)
        self._wake, self._standby, self._nobody_stands = wake, standby, nobody_stands
        self._is_quiet, self._errand = is_quiet, errand
        self._watcher = Watcher(clock)
        self._beat_seconds, self._clock = beat_seconds, clock
        self._looked_at = -math.inf
        self._partitions_at = 0.0
        self._watching_since: float | None = None  # since when every beat has found PostgreSQL answering
        self._unusable: set[str] = set()  # engines, as they are called in the log
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop_delivering(self) -> None:
        """The worker shuts down: no standby may claim any more. Does not wait."""
        if self._standby:
            self._standby.forbid()

    def stop(self) -> None:
        """End the thread, if it was started, and close its connections; wait for what a standby has in flight."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(self._beat_seconds * 2)
        if self._standby:
            self._standby.close()
        self._database.close()
        self._wake.close()

    def beat(self) -> bool:
        """Call a drain if one is missing. Returns whether something is due. An outage is logged once, and so is its
        end."""
        try:
            waiting = self._look()
        except SQLAlchemyError as error:
            self._report("PostgreSQL", first_line(error))
            self._watching_since = None
            return False
        self._report("PostgreSQL", None)
        waiting = self._seen(waiting)
        needs_standby = self._standby is not None and self._standby.is_running
        if waiting.overdue_seconds >= LATE_SECONDS or needs_standby or self._nobody_stands():
            called = self._wake.call()
            self._report("Redis", None if called else "wake-ups do not arrive, deliveries may take some seconds longer")
            if self._standby and (waiting.is_due or needs_standby):
                self._standby.mind(waiting, rung=called)
        return waiting.is_due

    def _seen(self, waiting: Waiting) -> Waiting:
        """Count only the silence that this pulse has witnessed: while PostgreSQL was away, or before this worker was
        started, nobody could make rounds."""
        now = self._clock()
        self._watching_since = now if self._watching_since is None else self._watching_since
        watched = now - self._watching_since
        return replace(
            waiting,
            pool_silent_seconds=min(waiting.pool_silent_seconds, watched),
            all_silent_seconds=min(waiting.all_silent_seconds, watched),
        )

    def _look(self) -> Waiting:
        """How things stand. Makes partitions on the way, once an hour."""
        waiting, now = _NOTHING, self._clock()
        if not self._may_rely_on_others(now):
            with self._database.begin() as connection:
                if now >= self._partitions_at:
                    made = make_partitions(connection)
                    self._partitions_at = self._clock() + PARTITIONS_SECONDS
                    if made:
                        log.info("made partitions: %s", ", ".join(made))
                waiting = self._watcher.look(connection)
            self._looked_at = -math.inf if waiting.is_due else now  # who finds nothing is wrong then, or waits
        with self._database.alone() as connection:
            self._errand(connection)
        return waiting

    def _may_rely_on_others(self, now: float) -> bool:
        """Whether nothing is due as far as anybody knows, and there is nothing else to look for."""
        is_helped = self._standby is not None and self._standby.is_running
        has_looked = now - self._looked_at < LOOK_SECONDS and now < self._partitions_at
        return has_looked and not is_helped and self._is_quiet()

    def _report(self, engine: str, trouble: str | None) -> None:
        """Log an outage when it begins and when it ends."""
        if trouble is not None and engine not in self._unusable:
            self._unusable.add(engine)
            log.warning("%s cannot be used: %s", engine, trouble)
        elif trouble is None and engine in self._unusable:
            self._unusable.discard(engine)
            log.warning("%s can be used again", engine)

    def _run(self) -> None:
        while not self._stopped.wait(self._beat_seconds):
            try:
                self.beat()
            except Exception:  # nobody would start this thread again, and all retries depend on it
                log.exception("pulse: a beat was missed")
