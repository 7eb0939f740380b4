"""The Celery side: processes that deliver to webhooks and keep house, `celery -A workers worker` and `… beat`.

A worker has one parent process and a pool of children. Each child owns one drain (app.delivery.drain), which it runs
when a message comes; the parent's pulse sends that message each second while something is due, and starts a standby
process when nobody looks for what is due. Beat starts housekeeping, nothing else.

What holds:
* Nothing correct depends on a message. Tasks carry no arguments, are acknowledged before they run, have no result and
  are never scheduled or repeated by Celery: what is to be done is rows in PostgreSQL.
* The parent opens no connection that a child uses. Database connections and libcurl handles are made after the fork, in
  the process that uses them; one byte of shared memory, by which the parent tells its children to stop, is the only
  thing they share.
* SIGTERM lets what is in flight end, and claims no more. A process that is killed costs its deliveries one lease.

Nothing imports this package but Celery and its own modules; it imports app.delivery and what lies below. `workers.app`
is the Celery app, made when it is first asked for.
"""

from __future__ import annotations

from typing import Any

# Celery puts the working directory on the import path only while it imports this package. A package that has been
# imported is found again later, so `app` is imported now.
import app.settings as _settings  # noqa: F401


def __getattr__(name: str) -> Any:
    """`workers.app`, where Celery looks for it; made when it is asked for, because that reads the environment."""
    if name != "app":
        raise AttributeError(name)
    from workers.celery_app import app

    return app
