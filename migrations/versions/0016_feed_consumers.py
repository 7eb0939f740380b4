"""Adds consumers of the feed, whose places are kept, and lets webhooks carry a cursor of it.

The function is a copy of app/database/functions as it was with this migration. Drains ask for a cursor with the next one.
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"

CONSUMERS = """
CREATE TABLE feed_consumers (
  workspace_id text NOT NULL
    CONSTRAINT fk_feed_consumers_workspace_id_workspaces REFERENCES workspaces (id) ON DELETE CASCADE,
  name text NOT NULL,
  filters jsonb DEFAULT '{}'::jsonb NOT NULL,
  cursor text NOT NULL,
  after_tick bigint NOT NULL,
  lease text,
  leased_until timestamptz,
  page text,
  committed text,
  created_at timestamptz NOT NULL,
  read_at timestamptz,
  committed_at timestamptz,
  CONSTRAINT pk_feed_consumers PRIMARY KEY (workspace_id, name),
  CONSTRAINT ck_feed_consumers_lease CHECK ((leased_until IS NULL) = (lease IS NULL))
) WITH (fillfactor = 50)
"""

FEED_CURSOR = "ALTER TABLE endpoints ADD COLUMN feed_cursor boolean DEFAULT false NOT NULL"

TICK_BEFORE = """
CREATE OR REPLACE FUNCTION tick_before(stored_by xid8, numbered bigint) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
  SELECT jsonb_build_array(near.id, near.epoch, near.mark, near.no, near.snapshot::text)
  FROM (SELECT * FROM ticks t WHERE t.no < numbered ORDER BY t.no DESC, t.id DESC LIMIT 10) AS near
  WHERE NOT pg_visible_in_snapshot(stored_by, near.snapshot) ORDER BY near.no DESC, near.id DESC LIMIT 1
$$;
"""


def upgrade() -> None:
    _run(CONSUMERS, FEED_CURSOR, TICK_BEFORE)


def downgrade() -> None:
    _run("DROP FUNCTION tick_before")
    op.drop_column("endpoints", "feed_cursor")
    op.drop_table("feed_consumers")


def _run(*statements: str) -> None:
    """Past SQLAlchemy, which would read the colons of casts as parameters."""
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)
