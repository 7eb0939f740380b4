"""The database that a command works on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from app import settings
from app.cli.command import CommandError
from app.database.connection import Database

NO_DATABASE = "DATABASE_URL is not set. A local run's is in var/dev.json (database_url)."


@contextmanager
def open_database() -> Iterator[Database]:
    """Connections to DATABASE_URL. Raises CommandError when it is not set, or SECRET_KEY is one that is refused."""
    _check_secret_key()
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise CommandError(NO_DATABASE)
    database = Database(url, pool_size=1)
    try:
        yield database
    finally:
        database.close()


def _check_secret_key() -> None:
    """Commands do not use SECRET_KEY; but one that no process would start with is better refused now than then."""
    try:
        if given := os.environ.get("SECRET_KEY"):
            settings.secret(given)
    except ValueError as error:
        raise CommandError(f"SECRET_KEY {error}") from None
