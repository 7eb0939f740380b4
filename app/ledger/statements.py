"""The ledger's SQL: each statement with what it is for. The functions that run them are in rows.py."""

from __future__ import annotations

# Wait no longer than this for each of the locks that this transaction needs; and let go of those that it holds when
# nothing comes from here any more: a group does not pause between its statements, unless its process is frozen or cut
# off.
LIMIT_LOCKS = """
SELECT set_config('lock_timeout', %(lock_timeout)s::text, true),
  set_config('idle_in_transaction_session_timeout', '10s', true)
"""

# Lock the streams that exist, in id order, so that two groups never wait for each other in a circle. NO KEY: a token
# that refers to a stream can be minted meanwhile.
# The workspace's row is locked along with them, and first: rows are locked in the order of the FOR clauses. The limit
# of the waits rides along, to save a round trip: rows are locked last, when everything has been joined and sorted.
LOCK_STREAMS = f"""
SELECT s.id, s.workspace_id, s.kind, s.external_id, s.last_seq, s.ended_at IS NOT NULL AS ended
FROM ({LIMIT_LOCKS}) limited
CROSS JOIN unnest(%(workspaces)s::text[], %(kinds)s::text[], %(ids)s::text[]) AS u (workspace_id, kind, external_id)
JOIN streams s ON s.workspace_id = u.workspace_id AND s.kind = u.kind AND s.external_id = u.external_id
JOIN workspaces w ON w.id = s.workspace_id
ORDER BY s.id
FOR KEY SHARE OF w SKIP LOCKED
FOR NO KEY UPDATE OF s
"""

# The same, without those that somebody else holds locked.
LOCK_FREE_STREAMS = f"{LOCK_STREAMS} SKIP LOCKED"

# Which of these streams exist, locked or not.
EXISTING_STREAMS = """
SELECT s.workspace_id, s.kind, s.external_id
FROM unnest(%(workspaces)s::text[], %(kinds)s::text[], %(ids)s::text[]) AS u (workspace_id, kind, external_id)
JOIN streams s ON s.workspace_id = u.workspace_id AND s.kind = u.kind AND s.external_id = u.external_id
"""

# Which of these workspaces exist.
EXISTING_WORKSPACES = "SELECT id FROM workspaces WHERE id = ANY(%(ids)s)"

# Keep workspaces from being deleted before this transaction ends, except those that somebody is deleting now.
HOLD_WORKSPACES = f"{EXISTING_WORKSPACES} FOR KEY SHARE SKIP LOCKED"

# How many open streams each of these workspaces has. One that has none is left out.
COUNT_OPEN_STREAMS = """
SELECT workspace_id, count(*) AS open FROM streams
WHERE workspace_id = ANY(%(workspaces)s) AND ended_at IS NULL
GROUP BY workspace_id
"""

# Make streams. One that another transaction has made meanwhile stays as it is.
INSERT_STREAMS = """
INSERT INTO streams (workspace_id, kind, external_id, created_at)
SELECT workspace_id, kind, external_id, date_trunc('milliseconds', clock_timestamp())
FROM unnest(%(workspaces)s::text[], %(kinds)s::text[], %(ids)s::text[]) AS u (workspace_id, kind, external_id)
ORDER BY workspace_id, kind, external_id
ON CONFLICT DO NOTHING
"""

# The time at which a group's events are created. Read after the locks are held, so that within a stream created_at
# never runs against seq; in milliseconds, because that is what ids carry.
NOW = "SELECT date_trunc('milliseconds', clock_timestamp())"

# The events that took these idempotency keys. A key whose event retention has dropped finds nothing.
EVENTS_OF_KEYS = """
SELECT k.stream_id, k.key, e.id, e.seq, s.kind, s.external_id, e.type, e.occurred_at, e.created_at
FROM unnest(%(streams)s::bigint[], %(keys)s::text[]) AS u (stream_id, key)
JOIN event_keys k ON k.stream_id = u.stream_id AND k.key = u.key
JOIN events e ON e.id = k.event_id AND e.created_at = k.created_at
JOIN streams s ON s.id = k.stream_id
"""

# The filters of the enabled endpoints of these workspaces.
ENDPOINT_FILTERS = """
SELECT id, workspace_id, event_types, stream_kinds FROM endpoints
WHERE workspace_id = ANY(%(workspaces)s) AND status = 'enabled'
ORDER BY id
"""

# Add a group's events.
INSERT_EVENTS = """
INSERT INTO events (id, created_at, workspace_id, stream_id, seq, type, occurred_at, body)
SELECT id, %(now)s, workspace_id, stream_id, seq, type, occurred_at, body
FROM unnest(
  %(ids)s::text[], %(workspaces)s::text[], %(streams)s::bigint[], %(seqs)s::bigint[], %(types)s::text[],
  %(times)s::timestamptz[], %(bodies)s::bytea[]
) AS u (id, workspace_id, stream_id, seq, type, occurred_at, body)
"""

# Remember which events took idempotency keys. A key whose event retention has dropped is free again.
INSERT_KEYS = """
INSERT INTO event_keys (stream_id, key, event_id, created_at)
SELECT stream_id, key, event_id, %(now)s
FROM unnest(%(streams)s::bigint[], %(keys)s::text[], %(events)s::text[]) AS u (stream_id, key, event_id)
ON CONFLICT (stream_id, key) DO UPDATE SET event_id = excluded.event_id, created_at = excluded.created_at
"""

# Write back how far the streams have come, and which have ended.
UPDATE_STREAMS = """
UPDATE streams SET last_seq = u.last_seq, ended_at = CASE WHEN u.ended THEN %(now)s::timestamptz END
FROM unnest(%(streams)s::bigint[], %(seqs)s::bigint[], %(ended)s::boolean[]) AS u (id, last_seq, ended)
WHERE streams.id = u.id
"""

# Add a delivery, due at once, for each pair of an event and an endpoint.
INSERT_DELIVERIES = """
WITH made AS (
  INSERT INTO deliveries (id, created_at, workspace_id, endpoint_id, event_id, event_created_at, event_type,
    trigger, window_started_at, deadline_at)
  SELECT id, %(now)s, workspace_id, endpoint_id, event_id, %(now)s, event_type, trigger, %(now)s, %(deadline)s
  FROM unnest(
    %(ids)s::text[], %(workspaces)s::text[], %(endpoints)s::text[], %(events)s::text[], %(types)s::text[],
    %(triggers)s::text[]
  ) AS u (id, workspace_id, endpoint_id, event_id, event_type, trigger)
  RETURNING *
)
INSERT INTO due (delivery_id, created_at, workspace_id, endpoint_id, event_id, event_created_at, trigger, due_at,
  window_started_at, deadline_at)
SELECT id, created_at, workspace_id, endpoint_id, event_id, event_created_at, trigger, window_started_at,
  window_started_at, deadline_at FROM made
"""

# Lock one stream, to end it.
LOCK_STREAM = """
SELECT id, last_seq, ended_at FROM streams
WHERE workspace_id = %(workspace)s AND kind = %(kind)s AND external_id = %(id)s
FOR NO KEY UPDATE
"""

# End a stream without an event.
END_STREAM = "UPDATE streams SET ended_at = date_trunc('milliseconds', clock_timestamp()) WHERE id = %(stream)s"
