"""A database whose clock is ahead of the machine's, or behind it."""

from __future__ import annotations

from app.database.connection import Database

# PostgreSQL's own functions are found first, unless the search path says otherwise.
SHIFT = """
CREATE SCHEMA shifted;
CREATE FUNCTION shifted.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
  AS $$ SELECT pg_catalog.clock_timestamp() + interval '{by}' $$;
CREATE FUNCTION shifted.now() RETURNS timestamptz LANGUAGE sql STABLE
  AS $$ SELECT pg_catalog.now() + interval '{by}' $$;
"""


def shifted(database: Database, by: str) -> Database:
    """The same database with a clock that differs by an interval, such as "1 hour" or "-9 weeks"."""
    with database.begin() as connection:
        connection.exec_driver_sql(SHIFT.format(by=by))
    return Database(database.url, options="-c search_path=shifted,public,pg_catalog")


def shift_for_all(url: str, by: str) -> None:
    """Shift the clock for whoever connects to this database from now on. by: an interval, such as "1 hour"."""
    database = Database(url)
    with database.begin() as connection:
        connection.exec_driver_sql(SHIFT.format(by=by))
        name = connection.exec_driver_sql("SELECT current_database()").scalar_one()
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET search_path = shifted, public, pg_catalog')
    database.close()
