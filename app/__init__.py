"""Twofold: one event, two deliveries.

Imports stand inside the functions because every `import app.…`, a worker's too, runs this file.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings
    from app.web.parts import Parts


def create_app(settings: Settings | None = None, *, clock: Callable[[], float] = time.monotonic) -> Flask:
    """The web application. Raises SettingsError, ContractFileError.

    Connections are made at first use, so this may run before or after a fork. clock: monotonic seconds, by which
    heartbeats are sent and tokens expire on open streams.
    """
    from flask import Flask

    from app.settings import Settings
    from app.web import auth, blueprints, live, metrics, parts, problems

    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # a doubled slash is another path, not a redirect
    for blueprint in blueprints():
        app.register_blueprint(blueprint)
    own = {(route.method, route.path) for route in auth.routes_of(app).values()}
    joined = _join(settings or Settings.from_env(os.environ), clock, own)
    parts.install(app, joined)
    app.extensions["twofold.watch"] = live.watch(joined.hub)
    metrics.install(app)
    problems.install(app)
    app.register_blueprint(live.blueprint(joined.rules))
    return app


def _join(settings: Settings, clock: Callable[[], float], own_routes: Iterable[tuple[str, str]]) -> Parts:
    """The only place where the parts are joined."""
    from app import contract_files
    from app.access import Access
    from app.bus import Announcer, BusReader
    from app.db import Database
    from app.hub import Hub
    from app.ledger import Ledger
    from app.log_bus import LogReader
    from app.stream_reads import StreamReads
    from app.wake import Wake
    from app.web import live_metrics
    from app.web.delivery_figures import DeliveryFigures
    from app.web.parts import Parts

    database = Database(settings.database_url)
    announcer = Announcer(
        settings.redis_url,
        shards=settings.bus_shards,
        maxlen=settings.bus_maxlen,
        wake=Wake(settings.redis_url).ring,
        on_lost=live_metrics.BUS_LOST.inc,
    )
    rules = contract_files.load(settings.contracts_dir, own_routes)
    schemas = contract_files.Schemas(rules, live_metrics.warned)
    hub = Hub(
        lambda on_batch: BusReader(settings.redis_url, shards=settings.bus_shards, on_batch=on_batch),
        StreamReads(database),
        clock=clock,
        observe=live_metrics.observer(),
    )
    ledger = Ledger(
        database,
        ends=rules.ends,
        refuses=schemas.refuses,
        announce=announcer.announce,
        window_seconds=settings.delivery_window_seconds,
        max_open_streams=settings.max_open_streams,
        on_commit=live_metrics.committed,
    )
    log = LogReader(settings.redis_url)
    return Parts(
        settings=settings,
        database=database,
        access=Access(database),
        ledger=ledger,
        ring=lambda: announcer.announce((), True),
        rules=rules,
        schemas=schemas,
        hub=hub,
        log=log,
        figures=DeliveryFigures(database, log),
    )
