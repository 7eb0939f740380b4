"""Twofold: one event, two deliveries.

Imports stand inside the functions because every `import app.…`, a worker's too, runs this file.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings
    from app.web.parts import Parts


def create_app(settings: Settings | None = None) -> Flask:
    """The web application. Raises SettingsError.

    Connections are made at first use, so this may run before or after a fork.
    """
    from flask import Flask

    from app.settings import Settings
    from app.web import blueprints, live, metrics, parts, problems

    joined = _join(settings or Settings.from_env(os.environ))
    app = Flask(__name__, static_folder=None)
    app.url_map.merge_slashes = False  # a doubled slash is another path, not a redirect
    parts.install(app, joined)
    app.extensions["twofold.watch"] = live.watch(joined.hub)
    metrics.install(app)
    problems.install(app)
    for blueprint in (*blueprints(), live.blueprint(joined.rules)):
        app.register_blueprint(blueprint)
    return app


def _join(settings: Settings) -> Parts:
    """The only place where the parts are joined."""
    from app import contract_files
    from app.access import Access
    from app.bus import Announcer, BusReader
    from app.db import Database
    from app.hub import Hub
    from app.ledger import Ledger
    from app.stream_reads import StreamReads
    from app.wake import Wake
    from app.web import live_metrics
    from app.web.parts import Parts

    database = Database(settings.database_url)
    announcer = Announcer(
        settings.redis_url,
        shards=settings.bus_shards,
        maxlen=settings.bus_maxlen,
        wake=Wake(settings.redis_url).ring,
    )
    rules = contract_files.load(settings.contracts_dir)
    schemas = contract_files.Schemas(rules)
    hub = Hub(
        lambda on_batch: BusReader(settings.redis_url, shards=settings.bus_shards, on_batch=on_batch),
        StreamReads(database),
        observe=live_metrics.observer(),
    )
    ledger = Ledger(
        database,
        ends=rules.ends,
        refuses=schemas.refuses,
        announce=announcer.announce,
        window_seconds=settings.delivery_window_seconds,
        max_open_streams=settings.max_open_streams,
    )
    return Parts(
        settings=settings,
        database=database,
        access=Access(database),
        ledger=ledger,
        ring=lambda: announcer.announce((), True),
        rules=rules,
        schemas=schemas,
        hub=hub,
    )
