"""PostgreSQL is restarted, cut, silent, frozen, read-only, out of connections or out of disk."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psycopg

from tests.chaos import engines
from tests.chaos.stage import Deed, Effect, Stage, now

CUT_COMMITS, EVERY_SECONDS = 10, 0.2
CUT_SECONDS = 20.0  # until something is stored again after the last cut, on a busy machine
TERMINATIONS = 10
HOLE_SECONDS = 8.0
FROZEN_SECONDS = 20.0  # longer than a POST may wait
READ_ONLY_SECONDS, CROWDED_SECONDS, FULL_SECONDS = 5.0, 5.0, 5.0
MORE_THAN_ALL = 220  # connections: max_connections is 200

# End all of the product's connections, whatever they are called.
_TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name <> %s AND datname = %s"


def restart(stage: Stage) -> Effect:
    stage.product.engines.postgres.stop()
    engines.restart(stage.product.engines.postgres)
    return now()


def crash(stage: Stage) -> Effect:
    process = stage.product.engines.postgres.process
    assert process is not None
    process.kill()
    process.wait()
    engines.restart(stage.product.engines.postgres)
    return now()


def cut_commits(process: str) -> Deed:
    """Lose the answers to COMMITs that have stored something, of web or of workers."""

    def deed(stage: Stage) -> Effect:
        for _ in range(CUT_COMMITS):
            stage.product.relays[process].cut_surely(CUT_SECONDS)
            stage.pass_time(EVERY_SECONDS)
        return now()

    return deed


def terminate(stage: Stage) -> Effect:
    name = stage.product.database_url.rpartition("/")[2]
    for _ in range(TERMINATIONS):
        stage.product.sql(_TERMINATE, [engines.NAME, name])
        stage.pass_time(EVERY_SECONDS * stage.chance.random() * 2)
    return now()


def black_hole(stage: Stage) -> Effect:
    for process in ("web", "worker"):
        stage.product.relays[process].swallow()
    stage.pass_time(HOLE_SECONDS)
    for process in ("web", "worker"):
        stage.product.relays[process].mend()
    return now()


def fall_silent(stage: Stage) -> Effect:
    effect = now()
    for process in ("web", "worker"):
        stage.product.relays[process].fall_silent()
    return effect


def freeze(stage: Stage) -> Effect:
    engines.freeze(stage.product.engines.postgres)
    stage.pass_time(FROZEN_SECONDS)
    engines.thaw(stage.product.engines.postgres)
    return now()


def read_only(stage: Stage) -> Effect:
    """As after a fail-over to a machine that is not yet promoted."""
    stage.product.sql("ALTER SYSTEM SET default_transaction_read_only = on")
    stage.product.sql("SELECT pg_reload_conf()")
    stage.pass_time(READ_ONLY_SECONDS)
    stage.product.sql("ALTER SYSTEM RESET default_transaction_read_only")
    stage.product.sql("SELECT pg_reload_conf()")
    return now()


def crowd_out(stage: Stage) -> Effect:
    """All connections are somebody else's: the product's are cut, and there is no other to be had."""
    name = stage.product.database_url.rpartition("/")[2]
    with ExitStack() as held:
        control = held.enter_context(_connect(stage))
        for last in (False, True):
            if last:
                control.execute(_TERMINATE, [engines.NAME, name])
            with suppress(psycopg.OperationalError):
                for _ in range(MORE_THAN_ALL):
                    held.enter_context(_connect(stage))
        stage.pass_time(CROWDED_SECONDS)
    return now()


def _connect(stage: Stage) -> psycopg.Connection[Any]:
    return psycopg.connect(stage.product.database_url, autocommit=True, options=engines.OURS)


def fill_disk(stage: Stage) -> Effect:
    """Not a byte is free; then there is room again, and PostgreSQL is started where it has given up."""
    postgres = stage.product.engines.postgres
    filler = Path(postgres.directory.parent, "filler")
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(2**16)):
            pass
    stage.pass_time(FULL_SECONDS)
    filler.unlink()
    engines.restart(postgres)
    return now()


def mend(stage: Stage) -> None:
    """End whatever is still wrong, after everything was wrong at once."""
    for relays in stage.product.relays.values():
        relays.mend()
    for engine in (stage.product.engines.postgres, stage.product.engines.redis):
        engines.thaw(engine)
        engines.restart(engine)
