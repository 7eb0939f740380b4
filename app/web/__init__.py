"""The only folder that knows flask.request."""

from __future__ import annotations

from flask import Blueprint


def blueprints() -> list[Blueprint]:
    """Everything that is served."""
    from app.web import (
        api_deliveries,
        api_endpoints,
        api_events,
        api_keys,
        api_streams,
        api_workspaces,
        log_view,
        operations,
        publish,
        sessions,
        viewer,
    )

    return [
        api_workspaces.api,
        api_keys.api,
        api_events.api,
        publish.api,
        sessions.api,
        api_streams.api,
        api_endpoints.api,
        api_deliveries.api,
        log_view.api,
        operations.api,
        viewer.api,
    ]
