"""The process that makes the feed's ticks is killed, again and again, while somebody else's transaction stays open."""

from __future__ import annotations

import psycopg

from bench.ticking import ticking_process
from tests.chaos import engines
from tests.chaos.stage import Effect, Stage, now
from tests.processes import eventually

KILLS, EVERY_SECONDS = 4, 2.0
FIND_SECONDS = 10.0

# End the product's connections to a database on which ticks are made.
_TERMINATE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = %s AND application_name = 'twofold' AND query LIKE '%%make_tick(%%'
"""


def kill(stage: Stage) -> Effect:
    """SIGKILL for the web process that has made the last tick, every other time for the connection alone."""
    product = stage.product
    with psycopg.connect(product.database_url, options=engines.OURS) as foreign:
        foreign.execute("SELECT pg_current_xact_id()")  # it writes, and every snapshot names it
        for number in range(KILLS):
            if number % 2:
                product.sql(_TERMINATE, [product.database_url.rpartition("/")[2]])
            else:
                eventually(
                    lambda: ticking_process(product.database_url, product.web_children()),
                    FIND_SECONDS,
                    about="somebody makes ticks",
                ).kill()
            effect = now()
            stage.pass_time(EVERY_SECONDS)
        foreign.rollback()
    return effect
