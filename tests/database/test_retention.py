"""What is past its time goes, and nothing that is still needed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app.database import retention
from app.database.connection import Database
from app.database.partitions import make_partitions, partition_name, week_of
from app.database.tables import PARTITIONED
from app.settings import Settings

NOW = datetime.now(UTC)


def partitions(database: Database) -> set[str]:
    with database.begin() as connection:
        found = connection.exec_driver_sql("SELECT inhrelid::regclass::text FROM pg_inherits").scalars()
        return {name for name in found if not name.endswith("_idx") and "pkey" not in name}


def of(moment: datetime) -> set[str]:
    return {partition_name(table, week_of(moment)) for table in PARTITIONED}


@pytest.fixture
def old_weeks(database: Database) -> list[datetime]:
    weeks = [NOW - timedelta(weeks=number) for number in range(2, 16)]
    with database.begin() as connection:
        for week in weeks:
            make_partitions(connection, week, 0)
    return weeks


def test_weeks_past_retention_are_dropped_and_coming_ones_made(
    database: Database, settings: Settings, old_weeks: list[datetime]
) -> None:
    with database.begin() as connection:
        for name in of(NOW + timedelta(weeks=4)):
            connection.exec_driver_sql(f"DROP TABLE {name}")
    retention.keep_house(replace(settings, retention_days=30))
    left = partitions(database)
    assert of(NOW + timedelta(weeks=4)) <= left
    assert of(NOW - timedelta(days=30)) <= left  # its week holds days that are kept
    assert not of(NOW - timedelta(days=38)) & left
    retention.keep_house(replace(settings, retention_days=30))
    assert partitions(database) == left


def test_nothing_is_dropped_that_a_delivery_may_still_need(
    database: Database, settings: Settings, old_weeks: list[datetime]
) -> None:
    retention.keep_house(replace(settings, retention_days=1, delivery_window_seconds=21 * 86400))
    assert of(NOW - timedelta(days=21)) <= partitions(database)
    assert not of(NOW - timedelta(days=30)) & partitions(database)


@pytest.mark.parametrize("days", [120, -120, 0.05])
def test_nothing_is_deleted_while_machine_and_database_disagree_about_the_time(
    database: Database, settings: Settings, old_weeks: list[datetime], caplog: pytest.LogCaptureFixture, days: float
) -> None:
    with database.begin() as connection:
        for name in of(NOW + timedelta(weeks=4)):
            connection.exec_driver_sql(f"DROP TABLE {name}")
    before = partitions(database)
    retention.keep_house(replace(settings, retention_days=30), clock=lambda: datetime.now(UTC) + timedelta(days=days))
    assert before | of(NOW + timedelta(weeks=4)) <= partitions(database)  # made by the database's time, none dropped
    assert "housekeeping deletes nothing: this machine's clock says" in caplog.text


def test_the_databases_time_decides_what_is_past(
    database: Database, settings: Settings, old_weeks: list[datetime]
) -> None:
    retention.keep_house(replace(settings, retention_days=30), clock=lambda: datetime.now(UTC) + timedelta(minutes=50))
    assert of(NOW - timedelta(days=30)) <= partitions(database)
    assert not of(NOW - timedelta(days=38)) & partitions(database)


def test_a_partition_in_use_stays_until_the_next_time(
    database: Database, settings: Settings, old_weeks: list[datetime], caplog: pytest.LogCaptureFixture
) -> None:
    busy = partition_name("events", week_of(old_weeks[-1]))
    with database.begin() as reader:
        reader.exec_driver_sql(f"SELECT count(*) FROM {busy}")
        dropped = retention.drop_partitions(database, NOW - timedelta(days=90))
    assert busy not in dropped
    assert f"partition {busy} stays until the next time" in caplog.text
    assert busy in retention.drop_partitions(database, NOW - timedelta(days=90))


def test_coming_weeks_are_made_while_a_backup_reads_the_tables(database: Database) -> None:
    with database.begin() as backup:
        for table in PARTITIONED:
            backup.exec_driver_sql(f"LOCK TABLE {table} IN ACCESS SHARE MODE")
        with database.begin() as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '1s'")
            assert make_partitions(connection, NOW + timedelta(weeks=9), 0)
    with database.begin() as connection:
        lacking = connection.exec_driver_sql(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE c.relkind = 'r' AND (SELECT count(*) FROM pg_index WHERE indrelid = c.oid)"
            " <> (SELECT count(*) FROM pg_index WHERE indrelid = i.inhparent)"
        ).all()
    assert not lacking  # each has its parent's indexes, once


def test_old_rows_of_the_small_tables_go_in_batches(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS_AT_ONCE", 3)
    with database.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO idempotent_requests SELECT 'o', n::text, '', 200, '', now() - make_interval(hours => n * 4)"
            " FROM generate_series(1, 16) n"
        )
        connection.exec_driver_sql(
            "INSERT INTO workspaces VALUES ('w', 'w', 'w', now());"
            "INSERT INTO streams (workspace_id, kind, external_id, created_at) VALUES ('w', 'call', '1', now());"
            "INSERT INTO event_keys SELECT s.id, n::text, 'evt', now() - make_interval(days => n)"
            " FROM streams s, generate_series(1, 10) n;"
            "INSERT INTO stream_tokens"
            " SELECT n::text, s.id, 'w', 'k', now(), now() - make_interval(hours => n * 10), NULL"
            " FROM streams s, generate_series(-2, 5) n;"
            "INSERT INTO endpoints (id, workspace_id, url, status, created_at, updated_at)"
            " VALUES ('e', 'w', 'u', 'enabled', now(), now());"
            "INSERT INTO endpoint_secrets (endpoint_id, sealed, created_at, expires_at) VALUES"
            " ('e', '', now(), NULL), ('e', '', now(), now() + interval '1 hour'), ('e', '', now(), now())"
        )
    retention.keep_house(settings)
    with database.begin() as connection:
        for table, left in [
            ("idempotent_requests", 5),
            ("event_keys", 6),
            ("stream_tokens", 5),
            ("endpoint_secrets", 2),
        ]:
            assert connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar() == left, table


def test_ticks_are_thinned_out_as_they_grow_old(database: Database, settings: Settings) -> None:
    """Three in each second, at four ages; the last of a second or a minute stays, and all of the last hour.

    The last of those that are past retention stays, too: behind it everything is there.
    """
    ages = (timedelta(days=200), timedelta(days=3), timedelta(hours=2), timedelta(minutes=5))
    with database.begin() as connection:
        for no, age in enumerate(ages):
            connection.exec_driver_sql(
                "INSERT INTO ticks (epoch, mark, no, snapshot, created_at)"
                " SELECT 0, 1, %(no)s, pg_current_snapshot(),"
                "        date_trunc('minute', now()) - %(age)s + make_interval(secs => place * 0.25 + second * 20)"
                "   FROM generate_series(0, 2) AS second, generate_series(0, 2) AS place",
                {"no": no, "age": age},
            )
    retention.keep_house(settings)
    with database.begin() as connection:
        rows = connection.exec_driver_sql("SELECT no, count(*) AS left FROM ticks WHERE mark = 1 GROUP BY no")
        assert {row.no: row.left for row in rows} == {0: 1, 1: 1, 2: 3, 3: 9}
