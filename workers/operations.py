"""Tells workspaces what became of their endpoints, as events of their own stream `operations`; and before it does, has
those who hold up their streams for too long step aside, which is told, too, and opens streams that were left closed.

A thread of each worker's parent process. Of all workers' threads one looks at a time; what it tells goes through the
ledger as any producer's event does, so it is streamed, delivered and read back like one. An event is published before
it is noted as told, under an idempotency key: a process that ends in between has it told once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from app.core.event.acceptance import Accepted
from app.core.event.own_streams import operational
from app.core.problem import Problem, first_line
from app.database.connection import Database
from app.delivery import lane_rows, notices
from app.delivery.notices import Notice
from app.delivery.wake import RING
from app.ledger.ledger import Ledger, Submission
from app.live.bus import Announcer
from app.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
FORGET_LOOKS = 720  # about once an hour


class Operations:
    """The thread, its connections and its ledger. looked: called after each look with how many events it has made."""

    def __init__(self, settings: Settings, *, looked: Callable[[int], object] = lambda count: None) -> None:
        self._database = Database(settings.database_url, pool_size=2)
        announcer = Announcer(settings.redis_url, shards=settings.bus_shards, maxlen=settings.bus_maxlen, bell=RING)
        self._ledger = Ledger(
            self._database,
            ends=lambda kind, type, data: False,
            refuses=lambda kind, type, data: None,
            announce=announcer.announce,
            window_seconds=settings.delivery_window_seconds,
            max_open_streams=settings.max_open_streams,
        )
        self._looked = looked
        self._looks = 0
        self._lanes_after = lane_rows.START
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="operations", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, if it was started, and close its connections."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(LOOK_SECONDS)
        self._database.close()

    def look(self) -> int:
        """Tell what is to be told now. Returns how many events that made. Raises SQLAlchemyError."""
        if self._looks % FORGET_LOOKS == 0:
            with self._database.begin() as connection:
                notices.forget(connection)
        self._looks += 1
        for step in (self._open_stuck, self._step_aside) if self._may_be_in_lanes() else ():
            try:
                with self._database.begin() as connection:
                    step(connection)
            except SQLAlchemyError as error:  # it may take too long each time: the next ones have their turn
                log.warning("streams that stand still are looked at later: %s", first_line(error))
        with self._database.begin() as connection:
            found = [(one, one.type is None or self._publish(one)) for one in notices.look(connection)]
            for notice, is_told in found:  # at the end: a drain that notes something waits for these rows
                (notices.told if is_told else notices.put_off)(connection, notice)
        return sum(is_told and notice.type is not None for notice, is_told in found)

    def _may_be_in_lanes(self) -> bool:
        """Whether anything waits in a lane, as far as that can be found out."""
        try:
            with self._database.alone() as connection:
                return lane_rows.is_anything_waiting(connection)
        except SQLAlchemyError:  # said by the steps, which fail as well; what comes behind them goes on
            return True

    def _open_stuck(self, connection: Connection) -> None:
        self._lanes_after = lane_rows.open_stuck(connection, self._lanes_after)

    def _step_aside(self, connection: Connection) -> None:
        if late := lane_rows.step_aside(connection):
            notices.note_skipped(connection, late)

    def _publish(self, notice: Notice) -> bool:
        """Whether the event is stored, now or by who told it before."""
        assert notice.type is not None
        draft = operational(notice.type, notice.data, notice.key)
        try:
            (outcome,) = self._ledger.accept(Submission(notice.workspace_id, [draft]))
        except Problem as problem:
            outcome = problem
        if isinstance(outcome, Accepted) or outcome.code == "idempotency_conflict":
            return True
        log.warning("%s of endpoint %s is told later: %s", notice.type, notice.endpoint_id, outcome.detail)
        return False

    def _run(self) -> None:
        while not self._stopped.wait(LOOK_SECONDS):
            try:
                self._looked(self.look())
            except SQLAlchemyError as error:
                log.info("what endpoints have become is told later: %s", first_line(error))
            except Exception:  # nobody would start this thread again
                log.exception("what endpoints have become could not be told")
