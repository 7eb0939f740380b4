"""Makes the links of the customer portal, whose sessions are rows of `sessions`, and the orders of bulk retries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    _make_links()
    op.add_column("sessions", sa.Column("portal_link_id", sa.Text(), nullable=True))
    op.create_foreign_key(
        op.f("fk_sessions_portal_link_id_portal_links"),
        "sessions",
        "portal_links",
        ["portal_link_id"],
        ["id"],
        ondelete="CASCADE",
    )
    op.create_index(op.f("ix_sessions_portal_link_id"), "sessions", ["portal_link_id"])
    _make_bulk_retries()


def downgrade() -> None:
    op.drop_table("bulk_retries")
    op.execute("DELETE FROM sessions WHERE portal_link_id IS NOT NULL")
    op.drop_column("sessions", "portal_link_id")
    op.drop_table("portal_links")


def _make_links() -> None:
    op.create_table(
        "portal_links",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("workspace_id", sa.Text(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_portal_links_workspace_id_workspaces"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name=op.f("fk_portal_links_key_id_api_keys"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_portal_links")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_portal_links_token_hash")),
    )
    op.create_index("ix_portal_links_workspace_id_id", "portal_links", ["workspace_id", "id"])
    op.create_index(op.f("ix_portal_links_key_id"), "portal_links", ["key_id"])
    op.create_index(op.f("ix_portal_links_expires_at"), "portal_links", ["expires_at"])


def _make_bulk_retries() -> None:
    op.create_table(
        "bulk_retries",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("workspace_id", sa.Text(), nullable=True),
        sa.Column("filters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'running'"), nullable=False),
        sa.Column("found", sa.Integer(), nullable=False),
        sa.Column("retried", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("passed_over", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("resume_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("status IN ('running', 'finished', 'cancelled')", name=op.f("ck_bulk_retries_status")),
        sa.ForeignKeyConstraint(
            ["workspace_id"],
            ["workspaces.id"],
            name=op.f("fk_bulk_retries_workspace_id_workspaces"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bulk_retries")),
    )
    op.create_index("ix_bulk_retries_running", "bulk_retries", ["id"], postgresql_where=sa.text("status = 'running'"))
    op.create_index("ix_bulk_retries_workspace_id_id", "bulk_retries", ["workspace_id", "id"])
    op.create_index(op.f("ix_bulk_retries_created_at"), "bulk_retries", ["created_at"])
