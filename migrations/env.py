"""Runs migrations on DATABASE_URL, then makes the partitions of the coming weeks."""

from __future__ import annotations

import os
import re
import sys
from typing import Any

from alembic import context
from sqlalchemy import create_engine, pool, text

from app.database import feed_tables, lane_tables, told_tables  # noqa: F401 - their tables are of the metadata
from app.database.connection import sqlalchemy_url
from app.database.partitions import make_partitions
from app.database.tables import PARTITIONED, Base

PARTITION = re.compile(rf"({'|'.join(PARTITIONED)})_p\d{{8}}")


def include_name(name: str | None, kind: str, _parents: Any) -> bool:
    """Partitions come and go with time; only their parents are migrated."""
    return not (kind == "table" and name is not None and PARTITION.fullmatch(name))


def run() -> None:
    url = os.environ.get("DATABASE_URL")
    if not url:
        sys.exit("DATABASE_URL is not set: give the PostgreSQL to migrate, as postgresql://user:password@host/db")
    # One transaction, without named statements: it may go through a pooler.
    engine = create_engine(sqlalchemy_url(url), poolclass=pool.NullPool, connect_args={"prepare_threshold": None})
    with engine.connect() as connection:
        # Two releases at once: the second waits here, then finds nothing to do.
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('twofold migrations'))"))
        context.configure(connection=connection, target_metadata=Base.metadata, include_name=include_name)
        with context.begin_transaction():
            context.run_migrations()
        if connection.execute(text("SELECT to_regclass('events')")).scalar() is not None:
            make_partitions(connection)
        connection.commit()


run()
