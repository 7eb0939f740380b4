"""The calls of the function that records what has ended and claims what is due, in one round trip."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.exc import DBAPIError

from app.database.calls import BOOL, BYTEA, BYTEAS, INT4, JSON, JSONB, MOMENT, TEXT, Prepared
from app.database.direct import Direct
from app.database.patience import TimeIsUp
from app.delivery.attempts import Exchange
from app.delivery.database_clock import DatabaseClock
from app.delivery.outcomes import Batch, Recorded
from app.delivery.unrecorded import Unrecorded

# Record what came of these attempts, and claim what is due (database/functions/drain_round.sql).
ROUND = Prepared(
    b"drain_round_2",
    "SELECT * FROM drain_round($1, $2, $3)",
    takes=(JSON, INT4, JSONB),
    gives={
        "note": JSONB,
        "delivery_id": TEXT,
        "created_at": MOMENT,
        "workspace_id": TEXT,
        "endpoint_id": TEXT,
        "event_id": TEXT,
        "trigger": TEXT,
        "window_started_at": MOMENT,
        "window_attempts": INT4,
        "deadline_at": MOMENT,
        "lost_claims": INT4,
        "consecutive_failures": INT4,
        "last_outcome": TEXT,
        "url": TEXT,
        "sealed_headers": BYTEA,
        "secrets": BYTEAS,
        "body": BYTEA,
    },
)

# Take one transfer from an endpoint's rate limit, if that allows one now; whether it may start. An endpoint that
# somebody else has locked may not: another drain is spending the same allowance.
MAY_START = Prepared(
    b"may_start_1",
    """
    WITH limited AS MATERIALIZED (
      SELECT e.id, gcra(e.rate_tat, extract(epoch FROM now())::float8, e.rate_limit, 1) AS rate FROM endpoints e
      WHERE e.id = $1 AND e.rate_limit IS NOT NULL FOR UPDATE SKIP LOCKED
    ), spent AS (
      UPDATE endpoints e SET rate_tat = (l.rate).next_tat FROM limited l WHERE e.id = l.id AND (l.rate).granted = 1
      RETURNING e.id
    )
    SELECT EXISTS (SELECT FROM spent)
      OR EXISTS (SELECT FROM endpoints WHERE id = $1 AND rate_limit IS NULL) AS may_start
    """,
    takes=(TEXT,),
    gives={"may_start": BOOL},
)


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
        note, rows = self._ask(batch, asked)
        moment = datetime.fromisoformat(note["now"])
        self._database_clock.set(moment)
        if batch is None:
            return Recorded(), note, rows
        recorded = batch.recorded(note["recorded"], moment)
        self._unrecorded.settle(exchanges, recorded.locked)
        return recorded, note, rows

    def may_start(self, endpoint_id: str) -> bool:
        """Whether an endpoint's rate limit allows one more transfer now, which is taken from it then.

        Raises DBAPIError.
        """
        (row,) = self._direct.call(MAY_START, (endpoint_id,))
        return bool(row.may_start)

    def _ask(self, batch: Batch | None, asked: dict[str, Any] | None) -> tuple[dict[str, Any], list[tuple[Any, ...]]]:
        """Over a new connection when the old one turns out cut: then the outcomes are in doubt, and what the first call
        may have claimed is handed out again."""
        was_connected = self._direct.is_connected
        try:
            first, *rows = self._direct.call(ROUND, self._values(batch, asked))
        except DBAPIError as error:
            if not was_connected or self._direct.is_connected or isinstance(error.orig, TimeIsUp):
                raise
            if batch is not None:
                batch.doubt()
            again = None if asked is None else asked | {"again": True}
            first, *rows = self._direct.call(ROUND, self._values(batch, again))
        return first[0], rows

    def _values(self, batch: Batch | None, asked: dict[str, Any] | None) -> tuple[Any, ...]:
        return None if batch is None else batch.as_json(), self._disable_after_seconds, asked
