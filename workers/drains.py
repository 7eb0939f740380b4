"""Makes a drain with all that it needs, for the process that calls: nothing of it can be shared between processes."""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable
from functools import partial

from app.core.webhook.fairness import MOST_OPEN_FILES
from app.database.connection import Database
from app.delivery import claims
from app.delivery.attempt_spans import add_spans
from app.delivery.doorbell import Place
from app.delivery.drain import Drain
from app.delivery.live_log import LogTeller
from app.delivery.rounds import Calls, Crew
from app.delivery.sending.sender import Sender
from app.settings import Settings
from app.tracing import Tracing

log = logging.getLogger(__name__)


def delivery_database(database_url: str) -> Database:
    """One connection, as the statements of a drain or a pulse need it, that waits for no answer longer than 12 s."""
    return Database(
        database_url, pool_size=1, options=claims.DATABASE_OPTIONS, statement_seconds=claims.STATEMENT_SECONDS
    )


def make_drain(
    settings: Settings,
    wake: Calls,
    *,
    crew: Crew,
    stopping: Callable[[], bool],
    place: Place | None = None,
    found_nothing: Callable[[], None] = lambda: None,
    tracing: Tracing | None = None,
) -> Drain:
    """crew: as which its rounds are stamped. stopping: whether to claim no more. place, found_nothing: as of Drain.
    tracing: of this process, if it has one."""
    _allow_open_files()
    database = delivery_database(settings.database_url)
    sender = Sender(settings.allow_subnets, settings.send_total_seconds, settings.send_connect_seconds)
    tell = LogTeller(settings.redis_url).tell
    trace = None if tracing is None else partial(add_spans, tracing)
    return Drain(
        database,
        sender,
        settings,
        wake,
        crew=crew,
        stopping=stopping,
        place=place,
        found_nothing=found_nothing,
        tell=tell,
        trace=trace,
    )


def _allow_open_files() -> None:
    """Raise this process's limit, by default 1,024 of what may be far more, to what all its transfers may need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MOST_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < MOST_OPEN_FILES:
        log.warning("only %d files may be open: when many endpoints hang, attempts may fail to connect", wanted)
