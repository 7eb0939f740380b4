"""Makes the tables of people who sign in by password, and the indexes that their pages read by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"

# Each new index: name, table, columns, and the rows that it has. None is written to by an event that arrives.
INDEXES = (
    ("ix_streams_external_id", "streams", ["external_id"], None),
    ("ix_endpoints_failing_since", "endpoints", ["failing_since"], "failing_since IS NOT NULL"),
    ("ix_deliveries_all_not_delivered", "deliveries", ["id"], "status IN ('failed', 'cancelled')"),
    ("ix_attempts_unsuccessful", "attempts", ["outcome", "id"], "outcome <> 'success'"),
    ("ix_attempts_refused", "attempts", [sa.text("(status_code / 100)"), "id"], "outcome = 'http_error'"),
)


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("role IN ('operator', 'viewer')", name=op.f("ck_users_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
    )
    op.alter_column("sessions", "key_id", nullable=True)
    op.add_column("sessions", sa.Column("user_id", sa.Text(), nullable=True))
    op.create_foreign_key(
        op.f("fk_sessions_user_id_users"), "sessions", "users", ["user_id"], ["id"], ondelete="CASCADE"
    )
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"])
    op.create_check_constraint(op.f("ck_sessions_whose"), "sessions", "num_nonnulls(key_id, user_id) = 1")
    _make_buckets()
    _make_audit()
    for name, table, columns, rows in INDEXES:
        op.create_index(name, table, columns, postgresql_where=sa.text(rows) if rows else None)  # type: ignore[arg-type]


def downgrade() -> None:
    for name, table, _, rows in reversed(INDEXES):
        op.drop_index(name, table_name=table, postgresql_where=sa.text(rows) if rows else None)
    op.drop_table("audit_entries")
    op.drop_table("sign_in_buckets")
    op.execute("DELETE FROM sessions WHERE key_id IS NULL")
    op.drop_constraint(op.f("ck_sessions_whose"), "sessions")
    op.drop_column("sessions", "user_id")
    op.alter_column("sessions", "key_id", nullable=False)
    op.drop_table("users")


def _make_buckets() -> None:
    op.create_table(
        "sign_in_buckets",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("bucket", sa.Integer(), nullable=False),
        sa.Column("level", sa.Float(), nullable=False),
        sa.Column("counted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("kind", "bucket", name=op.f("pk_sign_in_buckets")),
    )


def _make_audit() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("workspace_id", sa.Text(), nullable=True),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column(
            "details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entries")),
    )
    op.create_index(op.f("ix_audit_entries_created_at"), "audit_entries", ["created_at"])
    op.create_index("ix_audit_entries_workspace_id_id", "audit_entries", ["workspace_id", "id"])
