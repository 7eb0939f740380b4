"""Makes a drain with all that it needs, for the process that calls: nothing of it can be shared between processes."""

from __future__ import annotations

from collections.abc import Callable

from app.database.connection import Database
from app.delivery import claims
from app.delivery.drain import Bell, Drain
from app.delivery.live_log import LogTeller
from app.delivery.rounds import Crew
from app.delivery.sending.sender import Sender
from app.settings import Settings


def make_drain(settings: Settings, wake: Bell, *, crew: Crew, stopping: Callable[[], bool]) -> Drain:
    """crew: as which its rounds are stamped. stopping: whether to claim no more."""
    database = Database(settings.database_url, pool_size=1, options=claims.DATABASE_OPTIONS)
    sender = Sender(settings.allow_subnets, settings.send_total_seconds, settings.send_connect_seconds)
    tell = LogTeller(settings.redis_url).tell
    return Drain(database, sender, settings, wake, crew=crew, stopping=stopping, tell=tell)
