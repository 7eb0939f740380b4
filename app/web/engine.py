"""The engine of a web process: what its routes work with, made once and put together here and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from flask import Flask, current_app

from app.accounts.callers import Callers
from app.contracts import load
from app.contracts.load import Schemas
from app.core.contract.model import Rules
from app.database.connection import Database
from app.delivery.live_log import LogReader
from app.delivery.wake import RING
from app.ledger.ledger import Ledger
from app.live.bus import Announcer, BusReader
from app.live.census import ROUND_SECONDS, Enumerator
from app.live.feed.bell import Bell
from app.live.feed.pages import Feed
from app.live.feed.sharing import SharedSteps
from app.live.feed.ticker import Ticker
from app.live.hub import Hub
from app.live.reads import StreamReads
from app.settings import Settings
from app.tracing import Tracing
from app.tracing import start as start_tracing
from app.web import greenlets
from app.web.metrics import streams as stream_metrics
from app.web.metrics.deliveries import DeliveryMetrics

_KEY = "twofold"
# Of one request's statement: with what it takes to see that a server is silent, a caller is answered within 12 s.
STATEMENT_SECONDS = 10.0
# What people's pages read has connections of its own, few and read-only: however slow a question is, it takes none from
# the events, and it is given up while somebody still waits for the answer. The portal's customers have theirs: however
# many of them look, the operators' console is answered.
PAGE_CONNECTIONS = 4
PAGE_STATEMENT_SECONDS = 4.0


@dataclass(slots=True)
class Engine:
    """What the routes of one process work with. ring: wakes a drain, best effort and without waiting. pages, guests:
    the same database for what the console's pages read, and for what the portal's do. ticking: for the feed's ticks.
    tracing: where spans are exported.

    Every member may be used by any number of requests at once.
    """

    settings: Settings
    database: Database
    pages: Database
    guests: Database
    callers: Callers
    ledger: Ledger
    ring: Callable[[], None]
    rules: Rules
    schemas: Schemas
    hub: Hub
    census: Enumerator
    feed: Feed
    ticking: Database
    feed_steps: SharedSteps
    feed_ticker: Ticker
    feed_bell: Bell
    log: LogReader
    delivery_metrics: DeliveryMetrics
    tracing: Tracing | None = None

    @property
    def databases(self) -> Mapping[str, Database]:
        """Every database that has connections of this process, by its name in the figures."""
        return {
            "api": self.database,
            "pages": self.pages,
            "portal": self.guests,
            "feed": self.feed.database,
            "ticks": self.ticking,
        }

    def close(self) -> None:
        """Close the connections to PostgreSQL; they are made again when they are needed."""
        for database in self.databases.values():
            database.close()


def make(settings: Settings, clock: Callable[[], float], own_routes: Iterable[tuple[str, str]]) -> Engine:
    """The engine for these settings. Connections are made at first use.

    clock: monotonic seconds. own_routes: (method, path) that no contract may take. Raises ContractFileError.
    """
    database = Database(settings.database_url, statement_seconds=STATEMENT_SECONDS, ready=greenlets.waiting())
    announcer = Announcer(
        settings.redis_url,
        shards=settings.bus_shards,
        maxlen=settings.bus_maxlen,
        bell=RING,
        on_lost=stream_metrics.BUS_LOST.inc,
    )
    rules = load.load(settings.contracts_dir, own_routes)
    schemas = Schemas(rules, stream_metrics.warned)
    hub = Hub(
        lambda on_batch: BusReader(settings.redis_url, shards=settings.bus_shards, on_batch=on_batch),
        StreamReads(database),
        clock=clock,
        observe=stream_metrics.observer(),
        on_shown=stream_metrics.shown,
        further=[("census", ROUND_SECONDS, lambda: census.round())],
    )
    census = Enumerator(settings.redis_url, lambda: hub)
    ticking = Database(settings.database_url, pool_size=1, max_overflow=0, statement_seconds=PAGE_STATEMENT_SECONDS)
    feed = Feed(_pages(settings, read_only=False), ticking)
    ticker = Ticker(feed.tick)
    ledger = Ledger(
        database,
        ends=rules.ends,
        refuses=schemas.refuses,
        late=rules.late,
        announce=announcer.announce,
        window_seconds=settings.delivery_window_seconds,
        max_open_streams=settings.max_open_streams,
        on_warning=stream_metrics.OWN_WARNINGS.inc,
        on_commit=_each(stream_metrics.committed, ticker.stored),
    )
    log = LogReader(settings.redis_url)
    return Engine(
        settings=settings,
        database=database,
        pages=_pages(settings),
        guests=_pages(settings),
        callers=Callers(database),
        ledger=ledger,
        ring=lambda: announcer.announce((), True),
        rules=rules,
        schemas=schemas,
        hub=hub,
        feed=feed,
        ticking=ticking,
        feed_steps=SharedSteps(feed.step, lambda: feed.epoch),
        feed_ticker=ticker,
        feed_bell=Bell(settings.redis_url, settings.bus_shards, ticker.stored, lambda: ticker.readers > 0),
        census=census,
        log=log,
        delivery_metrics=DeliveryMetrics(database, log),
        tracing=start_tracing(os.environ, "twofold-web"),
    )


def _pages(settings: Settings, *, read_only: bool = True) -> Database:
    """The database for what people's pages read, or readers of the feed: they take no connection from the events."""
    return Database(
        settings.database_url,
        pool_size=PAGE_CONNECTIONS,
        max_overflow=0,
        read_only=read_only,
        statement_seconds=PAGE_STATEMENT_SECONDS,
    )


def _each(count: Callable[[int, int], None], stored: Callable[[], None]) -> Callable[[int, int], None]:
    """What happens after each commit: it is counted, and whoever reads the feed hears of it."""

    def committed(requests: int, events: int) -> None:
        count(requests, events)
        stored()

    return committed


def install(app: Flask, new_engine: Engine) -> None:
    """Give the application its engine; its routes find it by engine()."""
    app.extensions[_KEY] = new_engine


def engine_of(app: Flask) -> Engine:
    """The engine of an application."""
    return cast(Engine, app.extensions[_KEY])


def engine() -> Engine:
    """The engine of the application that serves this request."""
    # Of the proxy the application itself: one look-up in place of two.
    return engine_of(current_app._get_current_object())  # type: ignore[attr-defined]
