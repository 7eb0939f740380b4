"""The ledger's SQL: each statement with what it is for. The functions that run them are in rows.py and group.py."""

from __future__ import annotations

from app.database.calls import (
    BOOL,
    BOOLS,
    BYTEA,
    BYTEAS,
    INT4,
    INT4S,
    INT8,
    INT8S,
    MOMENT,
    MOMENTS,
    TEXT,
    TEXTS,
    Prepared,
)

_ACCEPTED = {
    "verdicts": TEXTS,
    "stale": TEXT,
    "moment": MOMENT,
    "due": INT4,
    "outcomes": TEXTS,
    "ids": TEXTS,
    "seqs": INT8S,
    "stream_ids": INT8S,
    "known_ids": TEXTS,
    "known_seqs": INT8S,
    "known_types": TEXTS,
    "known_times": MOMENTS,
    "known_created": MOMENTS,
    "schemas": TEXT,
}

# Accept a group of events (app/database/functions/accept_events.sql says how). Where the endpoints of workspaces are
# told, so are the schemas of their own event types.
ACCEPT_EVENTS = Prepared(
    b"accept_events_4",
    """
    SELECT verdicts, stale, moment, due, outcomes, ids, seqs, stream_ids,
      known_ids, known_seqs, known_types, known_times, known_created,
      CASE WHEN stale IS NOT NULL THEN event_schemas($5) END AS schemas
    FROM accept_events($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21,
      $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33)
    """,
    takes=(
        *(INT4, BOOL, INT4, INT4),  # how long to wait, whether to skip, the window, how many streams
        *(TEXTS, INT8S),  # workspaces
        *(BYTEAS, INT4S, TEXTS),  # callers
        *(INT4S, TEXTS, TEXTS),  # streams
        *(INT4S, TEXTS),  # keys
        *(INT4S, INT4S, INT4S, TEXTS, MOMENTS, BOOLS, BOOLS, BOOLS, TEXTS, BYTEAS, TEXTS),  # events
        *(BYTEAS, BYTEAS, BYTEAS),  # their envelopes
        *(INT4S, TEXTS, BOOLS, TEXTS),  # pairs
        MOMENT,  # the server's start
    ),
    gives=_ACCEPTED,
)

# The same for one event that comes alone (accept_one.sql).
ACCEPT_ONE = Prepared(
    b"accept_one_2",
    """
    SELECT verdicts, stale, moment, due, outcomes, ids, seqs, stream_ids,
      known_ids, known_seqs, known_types, known_times, known_created,
      CASE WHEN stale IS NOT NULL THEN event_schemas(ARRAY[$4]) END AS schemas
    FROM accept_one($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
      $21)
    """,
    takes=(
        *(INT4, INT4, INT4),  # how long to wait, the window, how many streams
        *(TEXT, INT8, BYTEA, TEXT),  # workspace, caller
        *(TEXT, TEXT, TEXT),  # stream, key
        *(TEXT, MOMENT, TEXT, BYTEA, TEXT),  # event
        *(BYTEA, BYTEA, BYTEA),  # its envelope
        *(TEXTS, TEXTS),  # deliveries
        MOMENT,  # the server's start
    ),
    gives=_ACCEPTED,
)

# One stream, if the caller may see it.
READ_STREAM = Prepared(
    b"read_stream_1",
    """
    SELECT j.verdict, s.kind, s.external_id, s.ended_at, s.attributes::text, s.last_seq, s.created_at
    FROM judge_caller($1, 'subscribe', $2, $3) AS j (verdict)
    LEFT JOIN streams s ON j.verdict = '' AND s.workspace_id = $2 AND s.kind = $4 AND s.external_id = $5
    """,
    takes=(BYTEA, TEXT, TEXT, TEXT, TEXT),
    gives={
        "verdict": TEXT,
        "kind": TEXT,
        "external_id": TEXT,
        "ended_at": MOMENT,
        "attributes": TEXT,
        "last_seq": INT8,
        "created_at": MOMENT,
    },
)

# Wait no longer than this for each of the locks that this transaction needs; and let go of those that it holds when
# nothing comes from here any more.
LIMIT_LOCKS = """
SELECT set_config('lock_timeout', %(lock_timeout)s::text, true),
  set_config('idle_in_transaction_session_timeout', '10s', true)
"""

# How many open streams each of these workspaces has, without its own.
COUNT_OPEN_STREAMS = """
SELECT w.id AS workspace_id, (SELECT count(*) FROM streams s WHERE s.workspace_id = w.id AND s.ended_at IS NULL)
  - (SELECT count(*) FROM streams s WHERE s.workspace_id = w.id AND s.kind = '_workspace') AS open
FROM unnest(%(workspaces)s::text[]) AS w (id)
"""

# Make streams. One that another transaction has made meanwhile stays as it is.
INSERT_STREAMS = """
INSERT INTO streams (workspace_id, kind, external_id, created_at)
SELECT workspace_id, kind, external_id, date_trunc('milliseconds', clock_timestamp())
FROM unnest(%(workspaces)s::text[], %(kinds)s::text[], %(ids)s::text[]) AS u (workspace_id, kind, external_id)
ORDER BY workspace_id, kind, external_id
ON CONFLICT DO NOTHING
"""

# Lock one stream, to end it.
LOCK_STREAM = """
SELECT id, last_seq, ended_at FROM streams
WHERE workspace_id = %(workspace)s AND kind = %(kind)s AND external_id = %(id)s
FOR NO KEY UPDATE
"""

# End a stream without an event.
END_STREAM = "UPDATE streams SET ended_at = date_trunc('milliseconds', clock_timestamp()) WHERE id = %(stream)s"
