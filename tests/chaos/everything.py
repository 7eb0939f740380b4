"""Everything at once: faults by chance, one upon the other, and in the end all is mended."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from tests.chaos import engines, kills, postgres_faults, redis_faults
from tests.chaos.product import LEASE_SECONDS
from tests.chaos.stage import Effect, Stage, now

TROUBLED_SECONDS = 20.0
PAUSE_SECONDS = (0.1, 1.5)

Trouble = Callable[[Stage], object]


def everything(stage: Stage) -> Effect:
    until = time.monotonic() + TROUBLED_SECONDS
    while time.monotonic() < until:
        name = stage.chance.choice(sorted(TROUBLES))
        with (stage.directory / "troubles.log").open("a") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {name}\n")
        TROUBLES[name](stage)
        stage.pass_time(stage.chance.uniform(*PAUSE_SECONDS))
    postgres_faults.mend(stage)
    kills.thaw(stage.product.pool())
    return now()


def _swallow(name: str, seconds: float) -> Trouble:
    def trouble(stage: Stage) -> None:
        stage.product.relays[name].swallow()
        stage.pass_time(seconds * stage.chance.random())
        stage.product.relays[name].mend()

    return trouble


def _break(name: str) -> Trouble:
    def trouble(stage: Stage) -> None:
        stage.product.relays[name].refuse()
        stage.pass_time(stage.chance.random())
        stage.product.relays[name].mend()

    return trouble


def _cut(name: str) -> Trouble:
    """Lose the answers to commits, if there are any: whoever makes them may be frozen."""

    def trouble(stage: Stage) -> None:
        for _ in range(postgres_faults.CUT_COMMITS):
            stage.product.relays[name].cut_next()
            stage.pass_time(postgres_faults.EVERY_SECONDS)

    return trouble


def _freeze_child(stage: Stage) -> None:
    """Thawed in the end: others go on meanwhile."""
    stage.chance.choice(stage.product.pool()).suspend()


def _hang_up(stage: Stage) -> None:
    stage.product.web.send_signal(signal.SIGHUP)


def _flush(stage: Stage) -> None:
    with stage.product.engines.connect_redis() as client:
        client.flushall()


def _restart_redis(stage: Stage) -> None:
    stage.product.engines.redis.stop()
    engines.restart(stage.product.engines.redis)


TROUBLES: dict[str, Trouble] = {
    "web child killed": kills.kill_web_child,
    "pool child killed": kills.kill_pool_child,
    "pool child frozen": _freeze_child,
    "worker killed": kills.kill_worker,
    "web told to reload": _hang_up,
    "redis flushed": _flush,
    "redis restarted": _restart_redis,
    "redis swallowed": _swallow("redis", 2 * LEASE_SECONDS),
    "redis broken": _break("redis"),
    "redis cut again and again": redis_faults.cut,
    "database of worker swallowed": _swallow("worker", LEASE_SECONDS),
    "database of worker broken": _break("worker"),
    "database of web swallowed": _swallow("web", LEASE_SECONDS),
    "database of web broken": _break("web"),
    "postgres restarted": postgres_faults.restart,
    "connections terminated": postgres_faults.terminate,
    "commits of events cut": _cut("web"),
    "commits of outcomes cut": _cut("worker"),
}
