"""The only folder that knows flask.request."""

from __future__ import annotations

from flask import Blueprint


def blueprints() -> list[Blueprint]:
    """Everything that is served."""
    from app.web import probes
    from app.web.api import deliveries, endpoints, events, keys, publish, sessions, streams, workspaces
    from app.web.live import delivery_log
    from app.web.pages import live

    return [
        workspaces.api,
        keys.api,
        events.api,
        publish.api,
        sessions.api,
        streams.api,
        endpoints.api,
        deliveries.api,
        delivery_log.api,
        probes.api,
        live.api,
    ]
