"""What every worker asks the database each second besides what is due, in one round trip."""

from __future__ import annotations

from sqlalchemy import Connection

from app.delivery.bulk import ANY_RUNNING
from app.live.feed.ticks import NEWEST

TICK_MILLISECONDS = 1000  # between ticks of the feed while nobody reads it

# Whether a bulk retry has a piece that may be done now; and make the feed's newest tick. Whatever locks a table is
# waited for before that begins: who makes a tick holds a lock.
_ASK = f"SELECT ({ANY_RUNNING}) AS has_bulk, (SELECT newest.id FROM ({NEWEST}) AS newest) AS tick"


def run(connection: Connection) -> bool:
    """Have a tick made. Returns whether there are bulk retries to do. On a connection on which each statement is a
    transaction of its own. Raises SQLAlchemyError."""
    return bool(connection.exec_driver_sql(_ASK, {"least_milliseconds": TICK_MILLISECONDS}).one().has_bulk)
