"""Which history of the log the server at hand goes on with, as far as this process has made sure.

A replica that took over, or a backup that was restored, may lack events that were shown to somebody. With it a new
history (epoch) begins, which is written before the first event is accepted there: a statement that accepts names the
start of the server that its process has looked at, which no two servers share.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.database.calls import INT4, MOMENT, Prepared
from app.database.connection import Database

# The history that the present server goes on with, written now if it is a new one.
CHECK_HISTORY = Prepared(
    b"check_history_1",
    "SELECT epoch, started FROM check_history()",
    takes=(),
    gives={"epoch": INT4, "started": MOMENT},
)


@dataclass(frozen=True, slots=True)
class Known:
    """epoch: of the history; started: the server that goes on with it."""

    epoch: int
    started: datetime


class History:
    """What one process knows. Any number of threads may use it at once."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: Known | None = None

    @property
    def epoch(self) -> int:
        """The history that was found last; 0 before any was looked for."""
        return 0 if self._known is None else self._known.epoch

    def known(self) -> Known:
        """What was found last; looked for now if nothing was. Raises DBAPIError, TimeoutError and Unanswered."""
        return self._known or self.learn()

    def learn(self) -> Known:
        """Look at the server again: it is another one, or it was started anew. Raises as `known`."""
        (row,) = self._database.write(CHECK_HISTORY)
        self._known = Known(row.epoch, row.started)
        return self._known
