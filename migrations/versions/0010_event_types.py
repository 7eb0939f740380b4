"""Makes the table of the event types that workspaces declare."""

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


def downgrade() -> None:
    op.execute("DROP TRIGGER endpoints_version_of_event_types ON event_types")
    op.drop_table("event_types")
