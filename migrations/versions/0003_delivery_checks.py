"""Makes the table of drains' rounds."""

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


def downgrade() -> None:
    op.drop_table("drain_rounds")
