"""Clocks that differ, and a day in which every attempt fails."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import timedelta

import requests

from tests.chaos import delivery_rows
from tests.chaos.product import Build
from tests.chaos.stage import Effect, Stage, now
from tests.chaos.traffic import Tenant
from tests.processes import ROOT, eventually

WRONG_SECONDS = 3.0
AHEAD_SECONDS = 120 * 86_400  # longer than anything is kept
HOUSEKEEPING_SECONDS = 60
POSTING_SECONDS = 1.0
ATTEMPTS = 11  # the schedule's, in 24 hours
DAY = Build(settings=(("RETRY_DELAYS_SECONDS", "5,30,120,600,1800,3600,7200,14400,28800,29845"),))
STEP_SECONDS = 30.0  # for one attempt at all that is due


def go_on(stage: Stage) -> Effect:
    """The clock is wrong from the start. Besides everything else, a stream token has to be good."""
    effect = now()
    tenant = stage.traffic.tenants[0]
    kind, id = tenant.streams[0]
    stage.pass_time(WRONG_SECONDS)
    minted = stage.product.ask("POST", f"/v1/streams/{kind}/{id}/tokens", {}, key=tenant.key)
    if minted.status_code != 201:
        stage.faults.append(f"no stream token is minted: {minted.status_code} {minted.text[:200]}")
        return effect
    headers = {"Authorization": f"Bearer {minted.json()['token']}"}
    with requests.get(minted.json()["url"], headers=headers, stream=True, timeout=10) as answer:
        if answer.status_code != 200:
            stage.faults.append(f"a stream token is refused at once: {answer.status_code} {answer.text[:200]}")
    return effect


def keep_house_ahead(stage: Stage) -> Effect:
    """Housekeeping on a machine whose clock is far ahead; it may refuse, and say so."""
    effect = now()
    done = subprocess.run(
        [sys.executable, "-c", "from workers.tasks import housekeeping; housekeeping()"],
        cwd=ROOT,
        env={**stage.product.worker_environment, **stage.product.clock(AHEAD_SECONDS)},
        capture_output=True,
        text=True,
        timeout=HOUSEKEEPING_SECONDS,
        check=False,
    )
    if done.returncode:
        stage.faults.append(f"housekeeping failed: {done.stderr[-200:]}")
    return effect


def day_of_failure(stage: Stage) -> Effect:
    """Every attempt fails for 24 hours. One customer recovers for the last attempt, the other never."""
    stage.traffic.began_round()
    for tenant in stage.traffic.tenants:
        tenant.customer.answer = lambda port: 500
    stage.pass_time(POSTING_SECONDS)
    stage.traffic.rest()
    for attempt in range(1, ATTEMPTS):
        _settle(stage)
        if attempt == ATTEMPTS - 1:
            stage.traffic.tenants[0].customer.answer = lambda port: 204
        stage.product.sql(delivery_rows.LET_PASS, {"span": _until_last_due(stage)})
    began = time.monotonic()
    eventually(lambda: not _pending(stage), STEP_SECONDS, about="everything has ended after 24 hours")
    for tenant in stage.traffic.tenants:
        _check_attempts(stage, tenant)
        tenant.customer.answer = lambda port: 204
    return Effect(began)


def _settle(stage: Stage) -> None:
    """Wait until everything that was due has been attempted."""

    def all_later() -> bool:
        return bool(stage.product.sql(delivery_rows.UNTIL_LAST_DUE)[0][1])

    eventually(all_later, STEP_SECONDS, about="all that is due is attempted", poll_seconds=0.1)


def _until_last_due(stage: Stage) -> timedelta:
    found: timedelta = stage.product.sql(delivery_rows.UNTIL_LAST_DUE)[0][0]
    return found


def _pending(stage: Stage) -> int:
    return int(stage.product.sql(delivery_rows.COUNT_PENDING)[0][0])


def _check_attempts(stage: Stage, tenant: Tenant) -> None:
    values = [tenant.endpoint_id, ATTEMPTS, stage.traffic.round_began]
    wrong = stage.product.sql(delivery_rows.OTHER_ATTEMPTS, values)
    stage.faults += [f"{id} is {status} after {count} attempts" for id, count, status in wrong]
