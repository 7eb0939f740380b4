"""Redis is refused, black-holed, frozen, cut, emptied, full or begins anew. It carries hints: nothing may stop."""

from __future__ import annotations

from tests.chaos import engines
from tests.chaos.stage import Effect, Stage, now

AWAY_SECONDS, FROZEN_SECONDS = 6.0, 8.0
HOLES, HOLE_SECONDS, BETWEEN_SECONDS = 4, 6.0, 1.5  # longer than the 5 s that a socket of the broker waits
CUTS, FLUSHES, EVERY_SECONDS = 15, 15, 0.2
FULL_SECONDS = 5.0
LOST_ACKNOWLEDGEMENTS = 3
ACKNOWLEDGED_SECONDS = 60.0  # a drain that was woken may work for a turn before it needs the next message


def refuse(stage: Stage) -> Effect:
    effect = now()
    stage.product.engines.redis.stop()
    stage.pass_time(AWAY_SECONDS)
    engines.restart(stage.product.engines.redis)
    return effect


def restart_empty(stage: Stage) -> Effect:
    effect = now()
    stage.product.engines.redis.stop()
    engines.restart(stage.product.engines.redis)
    return effect


def black_hole(stage: Stage) -> Effect:
    effect = now()
    stage.product.relays["redis"].swallow()
    stage.pass_time(FROZEN_SECONDS)
    stage.product.relays["redis"].mend()
    return effect


def black_holes(stage: Stage) -> Effect:
    """Again and again, so that acknowledgements are lost with their connection; counted after the last one."""
    for _ in range(HOLES):
        stage.product.relays["redis"].swallow()
        stage.pass_time(HOLE_SECONDS)
        stage.product.relays["redis"].mend()
        stage.pass_time(BETWEEN_SECONDS)
    return now()


def lose_acknowledgements(stage: Stage) -> Effect:
    """More of them than messages that a worker may have unacknowledged at once; counted after the last."""
    for _ in range(LOST_ACKNOWLEDGEMENTS):
        stage.product.relays["redis"].cut_surely(ACKNOWLEDGED_SECONDS)
        stage.pass_time(BETWEEN_SECONDS)
    return now()


def cut(stage: Stage) -> Effect:
    effect = now()
    for _ in range(CUTS):
        stage.product.relays["redis"].refuse()
        stage.product.relays["redis"].mend()
        stage.pass_time(EVERY_SECONDS * stage.chance.random() * 2)
    return effect


def freeze(stage: Stage) -> Effect:
    effect = now()
    engines.freeze(stage.product.engines.redis)
    stage.pass_time(FROZEN_SECONDS)
    engines.thaw(stage.product.engines.redis)
    return effect


def flush(stage: Stage) -> Effect:
    effect = now()
    with stage.product.engines.connect_redis() as client:
        for _ in range(FLUSHES):
            client.flushall()
            stage.pass_time(EVERY_SECONDS)
    return effect


def fill(stage: Stage) -> Effect:
    effect = now()
    with stage.product.engines.connect_redis() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        stage.pass_time(FULL_SECONDS)
        client.config_set("maxmemory", 0)
    return effect
