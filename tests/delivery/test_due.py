"""The table of what is due: made from what deliveries knew, given back to them, and forgotten with them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta

import psycopg

from app.accounts.workspaces import delete_workspace
from app.database import retention
from tests.delivery.world import World
from tests.processes import ROOT, environment

COLUMNS = (
    "id, created_at, workspace_id, endpoint_id, event_id, event_created_at, event_type, status, trigger, due_at,"
    " window_started_at, deadline_at, attempt_count, window_attempts, claims, lease_token, finished_at"
)
DELIVERY = f"""
INSERT INTO deliveries ({COLUMNS})
VALUES (%s, current_date, 'ws', 'ep', 'evt', current_date, 'note', %s, 'manual', %s, current_date, current_date + 1,
  3, 2, %s, %s, %s)
"""
OF_PENDING = f"SELECT {COLUMNS} FROM deliveries WHERE status = 'pending' ORDER BY id"
OF_DUE = """
SELECT delivery_id, due_at::date::text, leased_until::date::text, lease_token::text, claims, attempt_count,
  window_attempts, trigger FROM due ORDER BY delivery_id
"""
TOKEN = "6f1c9f3a-5d5b-4a7e-9b58-1a2b3c4d5e6f"


def migrate(url: str, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "alembic", *words],
        cwd=ROOT,
        env=environment({**os.environ, "DATABASE_URL": url}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_pending_moves_into_the_table_and_back(database_url: str) -> None:
    migrate(database_url, "downgrade", "0003")
    with psycopg.connect(database_url, autocommit=True) as connection:
        for row in (
            ("dlv_1", "pending", "2026-11-22", 3, None, None),
            ("dlv_2", "pending", "2026-11-23", 4, TOKEN, None),
            ("dlv_3", "failed", "2026-11-24", 9, None, "2026-11-25"),
        ):
            connection.execute(DELIVERY, row)
        before = connection.execute(OF_PENDING).fetchall()
    migrate(database_url, "upgrade", "0004")
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert connection.execute(OF_DUE).fetchall() == [
            ("dlv_1", "2026-11-22", None, None, 3, 3, 2, "manual"),
            ("dlv_2", "2026-11-23", "2026-11-23", TOKEN, 4, 3, 2, "manual"),
        ]
    migrate(database_url, "downgrade", "0003")
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert connection.execute(OF_PENDING).fetchall() == before
        assert connection.execute("SELECT claims FROM deliveries WHERE status = 'failed'").fetchone() == (3,)


def test_what_is_due_goes_with_its_workspace(world: World) -> None:
    world.endpoint("http://127.0.0.1:1/")
    world.publish(3)
    with world.database.session() as session:
        delete_workspace(session, world.workspace_id)
    assert world.one("SELECT count(*) FROM due") == world.one("SELECT count(*) FROM deliveries") == 0


def test_what_is_due_goes_with_the_week_of_its_delivery(world: World) -> None:
    world.endpoint("http://127.0.0.1:1/")
    world.publish(3)
    assert retention.drop_partitions(world.database, world.now()) != []
    assert world.one("SELECT count(*) FROM due") == 3  # of this week, which is not over
    retention.drop_partitions(world.database, world.now() + timedelta(weeks=1))
    assert world.one("SELECT count(*) FROM due") == 0


def test_a_row_whose_delivery_is_gone_is_forgotten_by_the_claim(world: World) -> None:
    world.endpoint("http://127.0.0.1:1/")
    world.publish(2)
    world.sql("DELETE FROM deliveries")
    world.sql("DELETE FROM events")
    assert world.drain().run() == 0
    assert world.one("SELECT count(*) FROM due") == 0


def test_the_tables_are_as_the_migrations_make_them(new_database: Callable[[], str]) -> None:
    migrate(new_database(), "check")
