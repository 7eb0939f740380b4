"""The Flask application: the routes that it serves, and what surrounds every request."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from flask import Blueprint, Flask

from app.settings import Settings
from app.web import engine, probes, serving
from app.web.api import (
    bulk_retries,
    consumers,
    deliveries,
    endpoints,
    event_types,
    events,
    feed,
    feed_tokens,
    keys,
    lanes,
    portal_links,
    publish,
    sessions,
    streams,
    tokens,
    workspaces,
)
from app.web.docs import pages as docs_pages
from app.web.flask_application import Application
from app.web.http import bodies, problems
from app.web.http.routes import routes_of
from app.web.live import delivery_log
from app.web.live import feed as live_feed
from app.web.live import routes as contract_routes
from app.web.metrics import processes
from app.web.metrics import requests as request_metrics
from app.web.pages import files, front
from app.web.pages import live as live_page
from app.web.pages.console import bulk as console_bulk
from app.web.pages.console import connections as console_connections
from app.web.pages.console import consumers as console_consumers
from app.web.pages.console import endpoint_forms as console_endpoint_forms
from app.web.pages.console import endpoints as console_endpoints
from app.web.pages.console import events as console_events
from app.web.pages.console import feed as console_feed
from app.web.pages.console import keys as console_keys
from app.web.pages.console import lanes as console_lanes
from app.web.pages.console import live as console_live
from app.web.pages.console import log, overview, people, sign_in, words
from app.web.pages.console import streams as console_streams
from app.web.pages.console import workspaces as console_workspaces
from app.web.pages.console.visit import pages_of
from app.web.pages.portal import endpoints as portal_endpoints
from app.web.pages.portal import entrance
from app.web.pages.portal import feed as portal_feed
from app.web.pages.portal import lanes as portal_lanes
from app.web.pages.portal import log as portal_log
from app.web.pages.portal import streams as portal_streams
from app.web.pages.portal import types as portal_types
from app.web.pages.portal.visit import portal_pages_of


def blueprints() -> list[Blueprint]:
    """All routes except those that contracts declare."""
    return [
        workspaces.api,
        keys.api,
        event_types.api,
        events.api,
        feed.api,
        feed_tokens.api,
        live_feed.api,
        consumers.api,
        publish.api,
        sessions.api,
        streams.api,
        tokens.api,
        endpoints.api,
        lanes.api,
        deliveries.api,
        portal_links.api,
        bulk_retries.api,
        delivery_log.api,
        probes.api,
        docs_pages.api,
        live_page.api,
        files.api,
        front.api,
        words.api,
        sign_in.api,
        overview.api,
        log.api,
        console_live.api,
        console_events.api,
        console_endpoints.api,
        console_endpoint_forms.api,
        console_streams.api,
        console_feed.api,
        console_consumers.api,
        console_lanes.api,
        console_workspaces.api,
        console_keys.api,
        console_bulk.api,
        console_connections.api,
        people.api,
        entrance.api,
        portal_endpoints.api,
        portal_log.api,
        portal_streams.api,
        portal_feed.api,
        portal_lanes.api,
        portal_types.api,
    ]


def make(settings: Settings | None = None, *, clock: Callable[[], float] = time.monotonic) -> Flask:
    """The web application. Raises SettingsError, ContractFileError.

    Connections are made at first use, so this may run before or after a fork. clock: monotonic seconds, by which
    heartbeats are sent and tokens expire on open streams.
    """
    app = Application(__name__, static_folder=None, template_folder="pages/templates")
    app.url_map.merge_slashes = False  # a doubled slash is another path, not a redirect
    for blueprint in blueprints():
        app.register_blueprint(blueprint)
    own = {
        (rule.method, rule.path)
        for rules in (routes_of(app), pages_of(app), portal_pages_of(app))
        for rule in rules.values()
    }
    engine_of_app = engine.make(settings or Settings.from_env(os.environ), clock, own)
    engine.install(app, engine_of_app)
    app.extensions["twofold.look"] = processes.ProcessLook(engine_of_app).start
    app.extensions["twofold.watch"] = serving.close_streams_when_stopping(engine_of_app.hub)
    request_metrics.install(app)
    problems.install(app)
    bodies.install(app)
    app.register_blueprint(contract_routes.blueprint(engine_of_app.rules))
    app.know_plain_rules()
    return app
