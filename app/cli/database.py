"""The database that a command works on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from app.database.connection import Database

NO_DATABASE = "DATABASE_URL is not set. A local run's is in var/dev.json (database_url)."


class CommandError(Exception):
    """The command cannot do what was asked; the text is for the user."""


@contextmanager
def open_database() -> Iterator[Database]:
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise CommandError(NO_DATABASE)
    database = Database(url, pool_size=1)
    try:
        yield database
    finally:
        database.close()
