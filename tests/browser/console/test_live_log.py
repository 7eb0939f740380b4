"""The live log under load: five hundred attempts a second, as a busy drain tells of them."""

from __future__ import annotations

import os
import time
from datetime import timedelta

from app.database.partitions import database_time
from app.delivery.live_log import LogTeller
from tests.browser.chromium import Chromium, Page
from tests.browser.console import history
from tests.browser.console.conftest import Office
from tests.browser.console.history import Exchange, Told
from tests.browser.console.test_tasks import shows

RATE = 500  # attempts a second
SECONDS = 4
BATCH = 50  # what a drain records at once, about
SHOWN = 50
# A page that answers a key press later than this feels frozen (RAIL: 100 ms are instant). Where more wants to run than
# there are processors, everything takes so much longer.
MOST_LAG_MILLISECONDS = 200 * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
MOST_BUSY = 0.25  # of the time, whatever else runs: the page's thread has the rest for who uses it
# How late each tick of a clock of 20 ms comes: as long as the page takes no key press.
LAGS = """
  window.lags = [];
  window.last = performance.now();
  setInterval(() => { const now = performance.now(); lags.push(now - last - 20); last = now; }, 20);
"""


def busy_seconds(page: Page) -> float:
    """The CPU time that the page's thread has taken for its tasks so far."""
    found = page.tell("Performance.getMetrics")["metrics"]
    return float(next(one["value"] for one in found if one["name"] == "TaskDuration"))


def write_steadily(page: Page, teller: LogTeller, told: list[Told]) -> float:
    """Tell of attempts at RATE, whatever the page makes of it; the seconds that it took."""
    begun = time.monotonic()
    for start in range(0, len(told), BATCH):
        page.pump(max(begun + start / RATE - time.monotonic(), 0))
        teller.tell(told[start : start + BATCH])
    return time.monotonic() - begun


def test_the_page_stays_awake_shows_the_newest_and_counts_them_all(chromium: Chromium, office: Office) -> None:
    workspace, endpoint = office.workspaces["quiet"], office.endpoints["quiet"]
    office.ask("quiet", "PUT", "/v1/streams/call/busy", {})
    with office.database.begin() as connection:
        now = database_time(connection)
        exchanges = [Exchange(now - timedelta(milliseconds=ago)) for ago in range(RATE * SECONDS, 0, -1)]
        told = history.write(connection, workspace, endpoint, "busy", exchanges)
    page = office.open(chromium, f"/console/deliveries?endpoint={endpoint}&type=call.started")
    page.tell("Performance.enable", timeDomain="threadTicks")
    page.click("#switch")
    shows(page, "#tail-state", "Live: attempts appear")
    page.run(LAGS)
    before, teller = busy_seconds(page), LogTeller(office.settings.redis_url)
    seconds = write_steadily(page, teller, told)
    shows(page, "#tail-count", f"{RATE * SECONDS:,} attempts so far; the newest {SHOWN} are shown.")
    teller.close()
    busy = busy_seconds(page) - before
    lags = page.run("lags.sort((a, b) => a - b)")
    assert lags[len(lags) * 99 // 100] < MOST_LAG_MILLISECONDS, f"of {len(lags)} ticks the latest: {lags[-5:]}"
    assert 0 < busy < seconds * MOST_BUSY
    shown = page.run("[...document.querySelectorAll('#rows tr')].map((it) => it.dataset.id)")
    assert shown == [one.delivery_id for one in reversed(told[-SHOWN:])]
    page.click("#switch")
    shows(page, "#tail-state", f"Stopped after {RATE * SECONDS:,} attempts.")
    assert page.problems == []
