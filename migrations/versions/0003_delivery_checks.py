"""Makes the table of drains' rounds, and refuses numbers that are no rate; mends those that are there."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    rounds = op.create_table(
        "drain_rounds",
        sa.Column("crew", sa.Text(), nullable=False),
        sa.Column("stamped_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("crew", name=op.f("pk_drain_rounds")),
    )
    # Here and nowhere else: a stamp must not wait for another drain's, as an INSERT would.
    op.execute(rounds.insert().values([{"crew": crew, "stamped_at": sa.func.now()} for crew in ("pool", "standby")]))
    op.execute("UPDATE endpoints SET rate_limit = NULL WHERE rate_limit < 1")
    op.execute("UPDATE endpoints SET rate_tat = NULL WHERE rate_tat IN ('NaN', 'Infinity', '-Infinity')")
    op.create_check_constraint(op.f("ck_endpoints_rate_limit"), "endpoints", "rate_limit >= 1")
    op.create_check_constraint(
        op.f("ck_endpoints_rate_tat"), "endpoints", "rate_tat > '-Infinity' AND rate_tat < 'Infinity'"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_endpoints_rate_tat"), "endpoints")
    op.drop_constraint(op.f("ck_endpoints_rate_limit"), "endpoints")
    op.drop_table("drain_rounds")
