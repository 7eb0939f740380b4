"""The ticker goes on whatever happens to a tick, and whoever waits is told of later ticks alone."""

from __future__ import annotations

import logging
import time

import pytest

from app.core.feed.cursor import Tick
from app.core.feed.snapshot import Snapshot
from app.live.feed import ticker as tickers
from app.live.feed.ticker import Ticker
from tests.processes import eventually


def test_it_survives_what_nobody_foresaw_and_says_so_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tickers, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(tickers, "QUIET_SECONDS", 0.01)
    tried: list[int] = []

    def make(least_milliseconds: int) -> Tick:
        tried.append(least_milliseconds)
        if len(tried) < 4:
            raise LookupError("nobody foresaw this")
        return Tick(len(tried), 0, 1, 1, Snapshot(1, 1))

    ticker = Ticker(make)
    with ticker.reading():
        eventually(lambda: ticker.newest >= 4)
    assert [one.levelno for one in caplog.records if one.name == tickers.__name__] == [logging.ERROR]


def test_whoever_is_ahead_of_the_newest_tick_waits() -> None:
    ticker, began = Ticker(lambda least: Tick(3, 0, 1, 1, Snapshot(1, 1))), time.monotonic()
    ticker.wait(7, 0.05)
    assert time.monotonic() - began >= 0.05
