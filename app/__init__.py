"""Twofold: one event, two deliveries, live to whoever is watching and reliably to everyone who registered.

This file stays small, and its one import stands inside the function: every `import app.…`, a worker's too, runs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask


def create_app(*arguments: Any, **options: Any) -> Flask:
    """The web application, which gunicorn asks for as `app:create_app()`; see app.web.application.make."""
    from app.web.application import make

    return make(*arguments, **options)
