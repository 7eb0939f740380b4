"""Which process makes the feed's ticks."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

import psutil

from bench.stand import sql

# The port of the connection that has asked for a tick last.
LAST_ASKED = """
SELECT client_port FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'twofold' AND query LIKE '%make_tick(%'
ORDER BY query_start DESC LIMIT 1
"""


def ticking_process(database_url: str, processes: Iterable[psutil.Process]) -> psutil.Process | None:
    """Of some processes the one that has asked for a tick last; None when none of them has.

    It asks PostgreSQL who that was, as nothing else tells: any process may make ticks, and one at a time does.
    """
    ports = {port for (port,) in sql(database_url, LAST_ASKED)}
    for process in processes:
        with suppress(psutil.Error):
            if any(one.laddr and one.laddr.port in ports for one in process.net_connections("tcp4")):
                return process
    return None
