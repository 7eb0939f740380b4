"""Rounds: when a drain last looked for something to deliver, and for how long something has been waiting for that.

A drain stamps its rounds in the same transaction in which it claims, so a stamp proves all that a delivery needs: a
message that arrived, a process that runs, a database that takes writes. There is one row for the workers' pool
processes together and one for their standbys; the pulse compares them with what is due.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from sqlalchemy import Connection

from app.database.tables import EARLIEST
from app.delivery.deliveries import IS_DUE
from app.delivery.low_water import FAR, LowWater

Crew = Literal["pool", "standby"]

# A drain makes hundreds of rounds a second; one write in that time is enough to be seen within seconds.
STAMP_SECONDS = 1.0


class Calls(Protocol):
    """What a drain needs of app.delivery.wake.Wake."""

    def call(self) -> bool: ...
    def call_another(self) -> bool: ...
    def answered(self) -> bool: ...


class RoundStamp:
    """Stamps one drain's rounds."""

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._stamped_at = -math.inf

    def due(self, now: float) -> dict[str, str]:
        """What drain_round is to be asked, so that it stamps this round if it is time. now: monotonic seconds."""
        if now - self._stamped_at < STAMP_SECONDS:
            return {}
        self._stamped_at = now
        return {"crew": self._crew}


@dataclass(frozen=True, slots=True)
class Waiting:
    """How things stand, in seconds by the database's clock.

    overdue: how long the oldest due delivery has been due, 0 when none is. pool_silent, all_silent: since a drain of
    the pools, or any drain, last made a round.
    """

    overdue_seconds: float
    pool_silent_seconds: float
    all_silent_seconds: float

    @property
    def is_due(self) -> bool:
        """Whether a drain would find something."""
        return self.overdue_seconds > 0


class Watcher:
    """Looks how things stand, again and again. clock: monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._low_water = LowWater()

    def look(self, connection: Connection) -> Waiting:
        """Read how things stand."""
        started_at = self._clock()
        fresh = FAR if self._low_water.mark is None else None
        values = {"fresh": fresh, "low": self._low_water.start(started_at)}
        row = connection.exec_driver_sql(_LOOK, values).one()
        now = self._clock()
        self._low_water.end(row.low, now, now - started_at, row.all_seconds)
        return Waiting(float(row.overdue), float(row.pool_silent), float(row.all_silent))


# The time of the first row whose time has come, sent or not; how long the oldest due delivery has been due; how long
# ago the pools' last round was, and anybody's. low: below this time nothing is looked for; NULL: everything is. fresh:
# so far below the mark that a drain has written down, if there is one; its all_seconds are answered then.
_LOOK = f"""
WITH ages AS (
  SELECT crew, CASE WHEN stamped_at <= now() + interval '10 seconds' THEN extract(epoch FROM now() - stamped_at) END
    AS seconds FROM drain_rounds
), written AS MATERIALIZED (
  SELECT least(low_water, now()) - %(fresh)s::interval AS low, all_seconds FROM drain_rounds
  WHERE low_water IS NOT NULL AND %(fresh)s::interval IS NOT NULL ORDER BY stamped_at DESC LIMIT 1
), lowest AS MATERIALIZED (
  SELECT coalesce(%(low)s::timestamptz, (SELECT low FROM written), '-infinity') AS low
)
SELECT
  greatest(coalesce((
    SELECT due_at FROM due WHERE due_at >= (SELECT low FROM lowest) AND due_at <= now() ORDER BY due_at LIMIT 1
  ), now()), '{EARLIEST}') AS low,
  coalesce((
    SELECT extract(epoch FROM now() - greatest(due_at, leased_until, '{EARLIEST}')) FROM due
    WHERE {IS_DUE} AND due_at >= (SELECT low FROM lowest) ORDER BY due_at LIMIT 1
  ), 0) AS overdue,
  (SELECT all_seconds FROM written) AS all_seconds,
  coalesce((SELECT seconds FROM ages WHERE crew = 'pool'), 'infinity') AS pool_silent,
  coalesce((SELECT min(seconds) FROM ages), 'infinity') AS all_silent
"""
