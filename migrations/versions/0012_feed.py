"""Makes what the feed reads by: the number and the transaction of each event, ticks, epochs and kept cursors.

Events from before have neither number nor transaction: the feed begins with this migration. No row is written anew, but
the index reads through `events` once, and nothing is accepted meanwhile. The function is a copy of app/database/functions as it was with this migration.
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"

MAKE_TICK = """
CREATE OR REPLACE FUNCTION make_tick(least_milliseconds int) RETURNS ticks
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  last ticks;
  numbered bigint;
  present epochs;
  server text;
BEGIN
  SELECT t.* INTO last FROM ticks t ORDER BY t.id DESC LIMIT 1;
  IF last.created_at BETWEEN clock_timestamp() - make_interval(secs => least_milliseconds / 1000.0) AND clock_timestamp()
    OR NOT pg_try_advisory_xact_lock(7305, 1)
  THEN
    RETURN last;
  END IF;
  server := (SELECT system_identifier FROM pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8);
  SELECT t.* INTO last FROM ticks t ORDER BY t.id DESC LIMIT 1;
  SELECT e.* INTO present FROM epochs e ORDER BY e.id DESC LIMIT 1;
  numbered := (SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END FROM event_numbers s);
  IF present.server IS DISTINCT FROM server THEN
    INSERT INTO epochs (id, server, last_tick, last_no, created_at)
    SELECT coalesce(present.id + 1, 0), server, coalesce(last.id, 0),
      CASE WHEN present.id IS NULL THEN 0 ELSE numbered END, clock_timestamp()
    RETURNING * INTO present;
  ELSIF last.no = numbered AND pg_snapshot_xmin(last.snapshot) = pg_snapshot_xmax(last.snapshot)
    AND last.epoch = present.id
  THEN
    RETURN last;
  END IF;
  INSERT INTO ticks (epoch, mark, no, snapshot, created_at)
  VALUES (present.id, floor(random() * 4e18)::bigint + 1, numbered, pg_current_snapshot(), clock_timestamp())
  RETURNING * INTO last;
  RETURN last;
END
$$;
"""

UPGRADE = (
    "CREATE SEQUENCE event_numbers",
    "ALTER TABLE events ADD COLUMN xid xid8, ADD COLUMN no bigint",
    # Apart from the columns, so that PostgreSQL does not write every row anew.
    "ALTER TABLE events ALTER COLUMN xid SET DEFAULT pg_current_xact_id(),"
    " ALTER COLUMN no SET DEFAULT nextval('event_numbers')",
    # Without the events from before it is small; they are read for it once.
    "CREATE INDEX ix_events_workspace_id_xid ON events (workspace_id, xid) WHERE xid IS NOT NULL",
    """
CREATE TABLE epochs (
  id int CONSTRAINT pk_epochs PRIMARY KEY,
  server text NOT NULL,
  last_tick bigint NOT NULL,
  last_no bigint NOT NULL,
  created_at timestamptz NOT NULL
)
""",
    """
CREATE TABLE ticks (
  id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_ticks PRIMARY KEY,
  epoch int NOT NULL,
  mark bigint NOT NULL,
  no bigint NOT NULL,
  snapshot pg_snapshot NOT NULL,
  created_at timestamptz NOT NULL
)
""",
    "CREATE INDEX ix_ticks_no_id ON ticks (no, id)",
    "CREATE INDEX ix_ticks_created_at ON ticks (created_at)",
    MAKE_TICK,
    # The first tick: the feed's earliest place.
    "SELECT make_tick(0)",
)

DOWNGRADE = (
    "DROP FUNCTION make_tick",
    "DROP TABLE ticks",
    "DROP TABLE epochs",
    "DROP INDEX ix_events_workspace_id_xid",
    "ALTER TABLE events DROP COLUMN xid, DROP COLUMN no",
    "DROP SEQUENCE event_numbers",
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    for statement in DOWNGRADE:
        op.execute(statement)
