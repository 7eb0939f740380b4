"""Rows for tables that are to grow large, by SQL: copies of what was published and delivered over HTTP.

Ten million events over HTTP take hours. Of what a first part has left (events, deliveries that arrived, attempts, rows
that wait) each copy gets other ids and other streams, and is otherwise the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

# The tables, in the order in which their rows are made, and which of their columns hold ids that each copy has anew.
TABLES = {
    "events": {"id"},
    "deliveries": {"id", "event_id"},
    "attempts": {"id", "delivery_id"},
    "due": {"delivery_id", "event_id"},
}
# The place of an event among all is taken anew.
LEFT_TO_DEFAULTS = {"xid", "no"}

# An id has its time in its first letters; the others are made from the old ones and the copy's number.
OTHER_ID = "left(t.{column}, 14) || substr(md5(t.{column} || %(copy)s), 1, 16)"

STREAMS = """
INSERT INTO streams (workspace_id, kind, external_id, last_seq, created_at)
SELECT workspace_id, kind, external_id || '-' || %(copy)s, last_seq, created_at FROM base_streams
"""
OTHER_STREAM = """
(SELECT s.id FROM base_streams b JOIN streams s ON s.workspace_id = b.workspace_id AND s.kind = b.kind
  AND s.external_id = b.external_id || '-' || %(copy)s WHERE b.id = t.stream_id)
"""
COLUMNS = """
SELECT column_name FROM information_schema.columns
WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER' ORDER BY ordinal_position
"""


def multiply(database_url: str, workspace_ids: Sequence[str], copies: int) -> None:
    """Have these workspaces' rows `copies` times, the present ones included."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET work_mem = '256MB'")
        for table in ("streams", *TABLES):
            name = sql.Identifier(table)
            base = sql.Identifier(f"base_{table}")
            wanted = sql.SQL("CREATE TEMP TABLE {} AS SELECT * FROM {} WHERE workspace_id = ANY ({})")
            connection.execute(wanted.format(base, name, sql.Literal(list(workspace_ids))))
        connection.execute("CREATE INDEX ON base_streams (id)")
        connection.execute("ANALYZE base_streams")
        statements = [STREAMS, *(_copying(connection, table) for table in TABLES)]
        for copy in range(1, copies):
            for statement in statements:
                connection.execute(statement.encode(), {"copy": str(copy)})


def _copying(connection: psycopg.Connection, table: str) -> str:
    columns = [row[0] for row in connection.execute(COLUMNS, (table,)) if row[0] not in LEFT_TO_DEFAULTS]
    values = [_value(table, column) for column in columns]
    return f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} FROM base_{table} t"


def _value(table: str, column: str) -> str:
    if column in TABLES[table]:
        return OTHER_ID.format(column=column)
    return OTHER_STREAM if table == "events" and column == "stream_id" else f"t.{column}"
