"""The calls of the function that records what has ended and claims what is due, in one round trip."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.exc import DBAPIError

from app.database.direct import Direct
from app.database.patience import TimeIsUp
from app.delivery.attempts import Exchange
from app.delivery.database_clock import DatabaseClock
from app.delivery.outcomes import Batch, Recorded
from app.delivery.unrecorded import Unrecorded

# Record what came of these attempts, and claim what is due (database/functions/drain_round.sql).
ROUND = b"SELECT * FROM drain_round(%s::json, %s::int, %s::jsonb)"


class RoundCalls:
    """One drain's. disable_after_seconds: for how long an endpoint may fail."""

    def __init__(
        self, direct: Direct, unrecorded: Unrecorded, database_clock: DatabaseClock, *, disable_after_seconds: int
    ) -> None:
        self._direct, self._unrecorded, self._database_clock = direct, unrecorded, database_clock
        self._disable_after_seconds = disable_after_seconds

    def call(
        self, exchanges: Sequence[Exchange], asked: dict[str, Any] | None
    ) -> tuple[Recorded, dict[str, Any], list[tuple[Any, ...]]]:
        """Record these and claim; what was recorded, and what drain_round answered: its note, and its other rows. The
        exchanges are settled then. asked: None to claim nothing.

        Raises DBAPIError: the exchanges stay, and are in doubt.
        """
        batch = self._unrecorded.batch(exchanges, self._database_clock.now()) if exchanges else None
        note, rows = self._ask(batch, None if asked is None else json.dumps(asked))
        moment = datetime.fromisoformat(note["now"])
        self._database_clock.set(moment)
        if batch is None:
            return Recorded(), note, rows
        recorded = batch.recorded(note["recorded"], moment)
        self._unrecorded.settle(exchanges, recorded.locked)
        return recorded, note, rows

    def _ask(self, batch: Batch | None, question: str | None) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
        """Over a new connection when the old one turns out cut: then the outcomes are in doubt, and what the first call
        may have claimed is due again when its lease ends."""
        was_connected = self._direct.is_connected
        try:
            first, *rows = self._direct.call(ROUND, self._values(batch, question))
        except DBAPIError as error:
            if not was_connected or self._direct.is_connected or isinstance(error.orig, TimeIsUp):
                raise
            if batch is not None:
                batch.doubt()
            first, *rows = self._direct.call(ROUND, self._values(batch, question))
        return first[0], rows

    def _values(self, batch: Batch | None, question: str | None) -> tuple[str | None, int, str | None]:
        return None if batch is None else batch.as_json(), self._disable_after_seconds, question
