"""Makes the tables of the event types that workspaces declare, and of what their owners have been told of endpoints."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

# A change of a workspace's types counts up what processes compare before they accept events by what they remember.
# A deleted workspace has no row to count up any more, and needs none.
TRIGGER = """
CREATE CONSTRAINT TRIGGER endpoints_version_of_event_types AFTER INSERT OR UPDATE OR DELETE ON event_types
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION bump_endpoints_version()
"""

# A copy of app/database/functions/event_schemas.sql as it was with this migration.
EVENT_SCHEMAS = """
-- The schemas that some workspaces have given for their own event types: [workspace, type, check, schema] each, as JSON.
-- VOLATILE, so that it sees what is committed when it is called: whoever asks has read the workspaces' versions before.
CREATE OR REPLACE FUNCTION event_schemas(workspaces text[]) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
  RETURN (
    SELECT coalesce(json_agg(json_build_array(t.workspace_id, t.type, t."check", t.schema)), '[]')
    FROM event_types t WHERE t.workspace_id = ANY (workspaces) AND t.schema IS NOT NULL
  );
END
$$;
"""

# What is so already is not told anew.
NOTICES = """
INSERT INTO endpoint_notices (endpoint_id, told, told_at)
SELECT id, CASE WHEN status = 'disabled' THEN 'disabled' ELSE 'failing' END, now() FROM endpoints
WHERE status = 'disabled' OR failing_since <= now() - interval '60 s'
"""


def upgrade() -> None:
    op.create_table(
        "event_types",
        sa.Column("workspace_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("schema", sa.Text(), nullable=True),
        sa.Column("example", sa.Text(), nullable=True),
        sa.Column("check", sa.Text(), server_default=sa.text("'warn'"), nullable=False),
        sa.Column("deprecated", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("\"check\" IN ('warn', 'reject')", name=op.f("ck_event_types_check")),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_event_types_workspace_id_workspaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("workspace_id", "type", name=op.f("pk_event_types")),
    )
    op.execute(TRIGGER)
    op.get_bind().exec_driver_sql(EVENT_SCHEMAS)
    op.create_table(
        "endpoint_notices",
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("told", sa.Text(), server_default=sa.text("'ok'"), nullable=False),
        sa.Column("told_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("exhausted", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("exhausted_ids", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("exhausted_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("exhausted_told_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("endpoint_id", name=op.f("pk_endpoint_notices")),
    )
    op.create_index(
        "ix_endpoint_notices_open",
        "endpoint_notices",
        ["endpoint_id"],
        postgresql_where=sa.text("told <> 'ok' OR exhausted > 0"),
    )
    # Written to when an endpoint is enabled or disabled; what its attempts change is not in it.
    op.create_index("ix_endpoints_disabled", "endpoints", ["id"], postgresql_where=sa.text("status = 'disabled'"))
    op.execute(NOTICES)


def downgrade() -> None:
    op.drop_index("ix_endpoints_disabled", table_name="endpoints")
    op.drop_table("endpoint_notices")
    op.execute("DROP FUNCTION event_schemas")
    op.execute("DROP TRIGGER endpoints_version_of_event_types ON event_types")
    op.drop_table("event_types")
