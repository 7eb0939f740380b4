"""A database that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg

from app.local.embedded import EmbeddedPostgres


@contextmanager
def no_connections(postgres: EmbeddedPostgres, database_url: str) -> Iterator[None]:
    """Cut every connection to a database and let no new one in."""
    name = urlsplit(database_url).path[1:]
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            connection.execute(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
