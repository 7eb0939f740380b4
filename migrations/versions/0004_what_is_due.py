"""Makes the table of what is due, and moves there what deliveries knew of when they are due."""

from __future__ import annotations

from importlib.resources import files

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

# Give every pending delivery its row. A lease was a due_at in the future.
FILL = """
INSERT INTO due (delivery_id, created_at, workspace_id, endpoint_id, event_id, event_created_at, trigger, due_at,
  leased_until, lease_token, claims, attempt_count, window_started_at, window_attempts, deadline_at)
SELECT id, created_at, workspace_id, endpoint_id, event_id, event_created_at, trigger, due_at,
  CASE WHEN lease_token IS NOT NULL THEN due_at END, lease_token, claims, attempt_count, window_started_at,
  window_attempts, deadline_at
FROM deliveries WHERE status = 'pending'
"""

# Write back what the rows of `due` know, before they go.
FILL_BACK = """
UPDATE deliveries AS d SET due_at = coalesce(due.leased_until, due.due_at), lease_token = due.lease_token,
  claims = due.claims
FROM due WHERE d.id = due.delivery_id AND d.created_at = due.created_at
"""

# An ended delivery's due_at is never looked at; its claims count from its attempts when it is reopened.
FILL_BACK_ENDED = """
UPDATE deliveries SET due_at = coalesce(finished_at, created_at), claims = attempt_count WHERE status <> 'pending'
"""


# What drains call, the ones that others use first.
FUNCTIONS = (
    "gcra",
    "endpoint_lane",
    "walk_due",
    "look_for_due",
    "share_places",
    "take_due",
    "take_suspicious",
    "endpoint_tallies",
    "record_outcomes",
    "drain_round",
)


def upgrade() -> None:
    op.create_table(
        "due",
        sa.Column("delivery_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("workspace_id", sa.Text(), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("event_created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("trigger", sa.Text(), server_default=sa.text("'schedule'"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_token", sa.UUID(as_uuid=False), nullable=True),
        sa.Column("claims", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempt_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("window_started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("window_attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("deadline_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(leased_until IS NULL) = (lease_token IS NULL)", name=op.f("ck_due_lease")),
        sa.CheckConstraint("due_at > '-infinity' AND due_at < 'infinity'", name=op.f("ck_due_due_at")),
        sa.CheckConstraint("claims >= 0 AND attempt_count >= 0 AND window_attempts >= 0", name=op.f("ck_due_counts")),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_due")),
        # Half of each page is left for the lease, which is then written without touching an index. Rows live for
        # milliseconds, so dead ones are swept by their number and not by their share.
        postgresql_with={
            "fillfactor": 50,
            "autovacuum_vacuum_scale_factor": 0,
            "autovacuum_vacuum_threshold": 2000,
            "autovacuum_vacuum_cost_delay": 0,
            "vacuum_truncate": "off",
        },
    )
    op.execute(FILL)
    op.create_index("ix_due_due_at", "due", ["due_at"], unique=False)
    op.create_index("ix_due_endpoint_due_at", "due", ["endpoint_id", "due_at"], unique=False)
    op.drop_index("ix_deliveries_endpoint_due_at", table_name="deliveries")
    op.drop_index("ix_deliveries_due_at", table_name="deliveries")
    for column in ("due_at", "lease_token", "claims"):
        op.drop_column("deliveries", column)
    for name in FUNCTIONS:
        text = (files("app.database") / "functions" / f"{name}.sql").read_text(encoding="utf-8")
        op.get_bind().exec_driver_sql(text)


def downgrade() -> None:
    for name in reversed(FUNCTIONS):
        op.execute(f"DROP FUNCTION {name}")
    op.add_column("deliveries", sa.Column("due_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("deliveries", sa.Column("claims", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("deliveries", sa.Column("lease_token", sa.UUID(as_uuid=False), nullable=True))
    op.execute(FILL_BACK_ENDED)
    op.execute(FILL_BACK)
    op.alter_column("deliveries", "due_at", nullable=False)
    pending = sa.text("status = 'pending'")
    op.create_index("ix_deliveries_due_at", "deliveries", ["due_at"], unique=False, postgresql_where=pending)
    op.create_index(
        "ix_deliveries_endpoint_due_at",
        "deliveries",
        ["endpoint_id", "due_at"],
        unique=False,
        postgresql_where=pending,
    )
    op.drop_table("due")
