"""Processes are killed and frozen, at random moments and at failpoints."""

from __future__ import annotations

import signal
from contextlib import suppress

import psutil

from tests.chaos.product import LEASE_SECONDS
from tests.chaos.stage import Deed, Effect, Stage, now
from tests.processes import eventually

REACH_SECONDS = 20.0  # for a process to get to a failpoint, under traffic
FROZEN_SECONDS = LEASE_SECONDS + 3.0  # beyond the lease of what a frozen process holds
LONG_FROZEN_SECONDS = 26.0  # beyond what a delivery may wait
RELOAD_SECONDS = 40.0


def kill_web_child(stage: Stage) -> Effect:
    stage.chance.choice(stage.product.web_children()).kill()
    return now()


def kill_web(stage: Stage) -> Effect:
    effect = now()
    stage.product.kill_web()
    return effect


def kill_pool_child(stage: Stage) -> Effect:
    stage.chance.choice(stage.product.pool()).kill()
    return now()


def kill_worker(stage: Stage) -> Effect:
    effect = now()
    stage.product.kill_worker()
    return effect


def kill_worker_parent(stage: Stage) -> Effect:
    effect = now()
    stage.product.kill_worker_parent()
    return effect


def killed_at(point: str) -> Deed:
    """SIGKILL for the next process that gets to a failpoint."""

    def deed(stage: Stage) -> Effect:
        file = stage.product.failpoint(point, "kill")
        file.touch()
        eventually(lambda: not file.exists(), REACH_SECONDS, about=f"a process gets to {point}", poll_seconds=0.005)
        return now()

    return deed


def frozen_at(point: str, seconds: float = FROZEN_SECONDS) -> Deed:
    """SIGSTOP for the next process of the pool that gets to a failpoint, until its leases have ended."""

    def deed(stage: Stage) -> Effect:
        file = stage.product.failpoint(point, "stop")
        file.touch()
        eventually(lambda: not file.exists(), REACH_SECONDS, about=f"a process gets to {point}", poll_seconds=0.005)
        effect = now()
        frozen = eventually(lambda: _stopped(stage), 5, about="a process of the pool is frozen")
        stage.pass_time(seconds)
        thaw(frozen)
        return effect

    return deed


def freeze_pool_child(stage: Stage) -> Effect:
    child = stage.chance.choice(stage.product.pool())
    child.suspend()
    effect = now()
    stage.pass_time(FROZEN_SECONDS)
    thaw([child])
    return effect


def freeze_pool(stage: Stage) -> Effect:
    children = stage.product.pool()
    for child in children:
        child.suspend()
    effect = now()
    stage.pass_time(LONG_FROZEN_SECONDS)
    thaw(children)
    return effect


def reload_web(stage: Stage) -> Effect:
    """A rolling restart: SIGHUP, until the last of the old processes has gone."""
    old = stage.product.web_children()
    stage.product.web.send_signal(signal.SIGHUP)
    effect = now()
    eventually(lambda: not any(child.is_running() for child in old), RELOAD_SECONDS, about="the old web processes end")
    return Effect(effect.since)


def _stopped(stage: Stage) -> list[psutil.Process]:
    return [child for child in stage.product.pool() if child.status() == psutil.STATUS_STOPPED]


def thaw(children: list[psutil.Process]) -> None:
    """SIGCONT for processes of which some may have ended."""
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.resume()
