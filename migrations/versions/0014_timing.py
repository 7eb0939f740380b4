"""Keeps of each attempt where its time went: the name, the connection, TLS, the wait for the first byte.

The columns are filled from now on. The functions are those of 0007 with these columns, a copy of app/database/functions
as it was with this migration. Drains of the release before go on beside them: their attempts lack these figures.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0014"
down_revision = "0013"

COLUMNS = ("dns_ms", "connect_ms", "tls_ms", "first_byte_ms")
MORE = f"{', '.join(COLUMNS)}, connection_reused"
LOGGED = "response_headers, response_body, trigger"
CHANGES = {
    "RECORD_ONE": (
        (
            "reason text, due_at timestamptz\n  );",
            "reason text, due_at timestamptz,\n    phases_ms int[], reused boolean\n  );",
        ),
        (f"{LOGGED})", f"{LOGGED},\n    {MORE})"),
        (
            "'base64'), o.trigger)",
            "'base64'), o.trigger,\n    o.phases_ms[1], o.phases_ms[2], o.phases_ms[3], o.phases_ms[4], o.reused)",
        ),
    ),
    "RECORD_OUTCOMES": (
        (
            "reason text, due_at timestamptz\n    )",
            "reason text, due_at timestamptz, phases_ms int[], reused boolean\n    )",
        ),
        (f"{LOGGED})", f"{LOGGED},\n      {MORE})"),
        (
            "'base64'), k.trigger\n",
            "'base64'), k.trigger,\n      k.phases_ms[1], k.phases_ms[2], k.phases_ms[3], k.phases_ms[4], k.reused\n",
        ),
    ),
    "READ_DELIVERY": (
        (
            "response_body bytea\n",
            "response_body bytea,\n  dns_ms int, connect_ms int, tls_ms int, first_byte_ms int, connection_reused boolean\n",
        ),
        (
            "a.response_body\n",
            "a.response_body,\n        a.dns_ms, a.connect_ms, a.tls_ms, a.first_byte_ms, a.connection_reused\n",
        ),
    ),
}


def upgrade() -> None:
    for name in COLUMNS:
        op.add_column("attempts", sa.Column(name, sa.Integer(), nullable=True))
    op.add_column("attempts", sa.Column("connection_reused", sa.Boolean(), nullable=True))
    _make_functions(CHANGES)


def downgrade() -> None:
    _make_functions(dict.fromkeys(CHANGES, ()))
    op.drop_column("attempts", "connection_reused")
    for name in reversed(COLUMNS):
        op.drop_column("attempts", name)


def _make_functions(changes: dict[str, tuple[tuple[str, str], ...]]) -> None:
    op.execute("DROP FUNCTION read_delivery")  # what a function answers cannot be changed
    for name, pairs in changes.items():
        op.get_bind().exec_driver_sql(text_of(name, pairs))


def text_of(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    """A function as it was before, with these changes."""
    before = context.script.get_revision("0013" if name == "READ_DELIVERY" else "0007").module
    text: str = getattr(before, name)
    for old, new in pairs:
        assert text.count(old) == 1, (name, old)
        text = text.replace(old, new)
    return text
