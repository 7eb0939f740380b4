"""The database's functions are those of the source tree, and each has its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.core import ids
from app.database.connection import Database
from tests.processes import ROOT

FILES = sorted((ROOT / "app" / "database" / "functions").glob("*.sql"))

# The functions that are not an extension's.
OWN = """
SELECT p.proname, pg_get_functiondef(p.oid) AS text FROM pg_proc p
WHERE p.pronamespace = 'public'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
ORDER BY p.proname
"""


def functions(database: Database) -> dict[str, str]:
    with database.begin() as connection:
        return {row.proname: row.text for row in connection.exec_driver_sql(OWN)}


def test_the_migrations_make_the_functions_of_the_source(database: Database) -> None:
    migrated = functions(database)
    assert list(migrated) == [path.stem for path in FILES]
    with database.begin() as connection:
        for path in FILES:
            connection.exec_driver_sql(path.read_text(encoding="utf-8"))
    assert functions(database) == migrated


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_each_says_what_it_is_for(path: Path) -> None:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    assert first.startswith("-- ")
    assert len(first) > 40


def test_an_id_made_there_is_one_made_here(database: Database) -> None:
    moments = [
        "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.001Z", "2026-11-21T18:30:15.123Z", "2038-01-19T03:14:08Z",
        "9999-12-31T23:59:59.999Z",
    ]  # fmt: skip
    statement = "SELECT m::timestamptz AS moment, id_time(m::timestamptz) AS letters FROM unnest(%(moments)s::text[]) m"
    with database.begin() as connection:
        rows = connection.exec_driver_sql(statement, {"moments": moments}).all()
    for row in rows:
        assert f"evt_{row.letters}{'0' * 16}" == ids.make(ids.EVENT, row.moment, bytes(10))
