"""Old and new release side by side: an older web process beside this one, on the same database and Redis."""

from __future__ import annotations

import signal

import requests

from tests.chaos.product import checked_out
from tests.chaos.stage import Effect, Stage, now
from tests.processes import eventually

START_SECONDS = 30.0
TOGETHER_SECONDS = 5.0
STOP_SECONDS = 30.0


def side_by_side(stage: Stage) -> Effect:
    """Producers post to both, and viewers of the old one see what the new one has accepted; then the old one goes."""
    process, base_url = stage.product.start_release(checked_out(stage.release, stage.directory))

    def ready() -> bool:
        assert process.status is None, process.log_text()[-4000:]
        try:
            return requests.get(f"{base_url}/readyz", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    eventually(ready, START_SECONDS, about=lambda: f"the old release is ready\n{process.log_text()[-4000:]}")
    stage.traffic.base_urls.append(base_url)
    for tenant in stage.traffic.tenants:
        stage.traffic.watch(tenant, tenant.streams[0], base_url, f"old release {tenant.streams[0][1]}")
    effect = now()
    stage.pass_time(TOGETHER_SECONDS)
    stage.traffic.base_urls.remove(base_url)
    stage.traffic.come_home(base_url)
    process.send_signal(signal.SIGTERM)
    eventually(lambda: process.status is not None, STOP_SECONDS, about="the old release ends")
    return effect
