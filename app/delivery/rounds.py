"""Rounds: when a drain last looked for something to deliver, and for how long something has been waiting for that.

A drain stamps its rounds in the same transaction in which it claims, so a stamp proves all that a delivery needs: a
message that arrived, a process that runs, a database that takes writes. There is one row for the workers' pool
processes together and one for their standbys; the pulse compares them with what is due.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection

from app.delivery.deliveries import IS_DUE

Crew = Literal["pool", "standby"]

# A drain makes hundreds of rounds a second; one write in that time is enough to be seen within seconds.
STAMP_SECONDS = 1.0


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


def look(connection: Connection) -> Waiting:
    """Read how things stand."""
    row = connection.exec_driver_sql(_LOOK).one()
    return Waiting(float(row.overdue), float(row.pool_silent), float(row.all_silent))


# How long the oldest due delivery has been due, and how long ago the pools' last round was, and anybody's.
_LOOK = f"""
WITH ages AS (
  SELECT crew, CASE WHEN stamped_at <= now() + interval '10 seconds' THEN extract(epoch FROM now() - stamped_at) END
    AS seconds FROM drain_rounds
)
SELECT
  coalesce((
    SELECT extract(epoch FROM now() - greatest(due_at, leased_until)) FROM due WHERE {IS_DUE} ORDER BY due_at LIMIT 1
  ), 0) AS overdue,
  coalesce((SELECT seconds FROM ages WHERE crew = 'pool'), 'infinity') AS pool_silent,
  coalesce((SELECT min(seconds) FROM ages), 'infinity') AS all_silent
"""
