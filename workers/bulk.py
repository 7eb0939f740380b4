"""Bulk retries in a worker: a thread that does pieces while there are orders, and is gone otherwise.

The pulse asks each second, with the connection that it has, whether there is anything to do (errands.py). Any
worker may do any piece; the order's row is locked by whoever does (app.delivery.bulk).
"""

from __future__ import annotations

import logging
import threading

from sqlalchemy.exc import SQLAlchemyError

from app.core.problem import first_line
from app.delivery import bulk
from app.delivery.wake import Wake
from app.settings import Settings
from workers.drains import delivery_database

log = logging.getLogger(__name__)

BETWEEN_SECONDS = 0.05  # two pieces: about what one takes, so that the database has as much time for others


class BulkRetrying:
    """The bulk retries of one worker process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """There is something to do: work, if nobody in this process does."""
        if self._thread is not None and self._thread.is_alive():
            return
        if not self._stopped.is_set():
            self._thread = threading.Thread(target=self.work, name="bulk-retries", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Begin no piece any more, and wait for the one that is being done."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def work(self) -> None:
        """Do pieces until none may be done now. A database that fails ends it; the pulse asks again."""
        database = delivery_database(self._settings.database_url)
        wake = Wake(self._settings.redis_url)
        try:
            while not self._stopped.wait(BETWEEN_SECONDS):
                with database.begin() as connection:
                    piece = bulk.work(connection, window_seconds=self._settings.delivery_window_seconds)
                if piece is None:
                    return
                if piece.retried:
                    wake.ring()
        except SQLAlchemyError as error:
            log.warning("a bulk retry waits for PostgreSQL: %s", first_line(error))
        finally:
            database.close()
            wake.close()
