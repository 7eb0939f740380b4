"""What Celery runs: `celery -A workers worker` and `celery -A workers beat`."""

from __future__ import annotations

from typing import Any

# Celery looks into the working directory for this package alone. What has been found by then stays known.
import app.settings as _settings  # noqa: F401


def __getattr__(name: str) -> Any:
    """`workers.app`, where Celery looks for it; made when it is asked for, because that reads the environment."""
    if name != "app":
        raise AttributeError(name)
    from workers.celery_app import app

    return app
