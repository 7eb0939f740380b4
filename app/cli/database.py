"""The database that a command works on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from app.cli.command import CommandError
from app.database.connection import Database

NO_DATABASE = "DATABASE_URL is not set. A local run's is in var/dev.json (database_url)."


@contextmanager
def open_database() -> Iterator[Database]:
    """Connections to DATABASE_URL. Raises CommandError when it is not set."""
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise CommandError(NO_DATABASE)
    database = Database(url, pool_size=1)
    try:
        yield database
    finally:
        database.close()
