"""A delivery log of any size, made by SQL: one customer has most of it, few wait, some outcomes are rare."""

from __future__ import annotations

import psycopg

DAYS = 88  # how far back it goes: as far as it is kept
BIG, SMALL = "big", "c7"  # uids: the customer with three of five deliveries, and one of many
RARE_CODE, RARE_TYPE = 418, "invoice.voided"
ATTEMPTS_A_DELIVERY = 5

# Partitions for the days before.
PARTITIONS = """
DO $do$
DECLARE
  week timestamptz;
  parent text;
BEGIN
  FOR week IN SELECT generate_series(date_trunc('week', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
    - interval '14 weeks', now(), '1 week')
  LOOP
    FOREACH parent IN ARRAY ARRAY['events', 'deliveries', 'attempts'] LOOP
      EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)',
        parent || '_p' || to_char(week AT TIME ZONE 'UTC', 'YYYYMMDD'), parent, week, week + interval '1 week');
    END LOOP;
  END LOOP;
END
$do$
"""

# An id for a row of a time.
LETTERS = "'{prefix}_' || id_time({time}) || substr(md5({seed}), 1, 16)"

WORKSPACES = f"""
INSERT INTO workspaces (id, uid, name, created_at)
SELECT {LETTERS.format(prefix="ws", time="t", seed="'w' || n")}, CASE n WHEN 0 THEN '{BIG}' ELSE 'c' || n END,
  'Customer ' || n, t
FROM generate_series(0, 199) AS n, (SELECT date_trunc('milliseconds', now() - interval '{DAYS + 2} days') AS t) AS t
"""

# Five endpoints each; the big customer has one that takes half of what is its.
ENDPOINTS = f"""
INSERT INTO endpoints (id, workspace_id, url, created_at, updated_at)
SELECT {LETTERS.format(prefix="ep", time="t", seed="w.uid || '/' || n")}, w.id,
  'http://127.0.0.1:9/' || w.uid || '/' || n, t, t
FROM workspaces w, generate_series(0, 4) AS n,
  (SELECT date_trunc('milliseconds', now() - interval '{DAYS + 1} days') AS t) AS t
"""

# A hundred streams each; the big customer has one with a quarter of what is its.
STREAMS = f"""
INSERT INTO streams (workspace_id, kind, external_id, last_seq, created_at)
SELECT w.id, 'call', 'call_' || n, 0, now() - interval '{DAYS + 1} days'
FROM workspaces w, generate_series(0, 99) AS n
"""

# What all the others are made from, denser towards now. customer: 0 is the big one. fate, kind, answer: how it ends,
# its type, what its receiver says.
FACTS = f"""
CREATE TEMP TABLE facts AS
SELECT n, date_trunc('milliseconds', now() - interval '{DAYS} days' * power(random(), 1.5)) AS at,
  CASE WHEN random() < 0.6 THEN 0 ELSE 1 + floor(random() * 199)::int END AS customer,
  CASE WHEN random() < 0.5 THEN 0 ELSE floor(random() * 5)::int END AS endpoint,
  CASE WHEN random() < 0.25 THEN 0 ELSE floor(random() * 100)::int END AS stream,
  random() AS fate, random() AS kind, random() AS answer
FROM generate_series(1, :deliveries) AS n
"""

EVENTS = f"""
INSERT INTO events (id, created_at, workspace_id, stream_id, seq, type, occurred_at, body)
SELECT {LETTERS.format(prefix="evt", time="at", seed="'e' || f.n")}, at, w.id, s.id,
  row_number() OVER (PARTITION BY s.id ORDER BY at, f.n),
  CASE WHEN f.kind < 0.0002 THEN '{RARE_TYPE}' WHEN f.kind < 0.5 THEN 'call.started' WHEN f.kind < 0.9 THEN 'call.ended'
    ELSE 'user.type_' || mod(floor(f.kind * 1000)::int, 20) END, at, '{{"data":{{}}}}'
FROM facts f JOIN workspaces w ON w.uid = CASE f.customer WHEN 0 THEN '{BIG}' ELSE 'c' || f.customer END
JOIN streams s ON s.workspace_id = w.id AND s.external_id = 'call_' || f.stream
"""

# As many as the stream has events, whose numbers have no gap.
LAST_SEQS = """
UPDATE streams s SET last_seq = e.last FROM (SELECT stream_id, max(seq) AS last FROM events GROUP BY 1) AS e
WHERE s.id = e.stream_id
"""

# Three of five are delivered at once; a fifth after some attempts; the others have failed, were cancelled, or wait.
DELIVERIES = f"""
INSERT INTO deliveries (id, created_at, workspace_id, endpoint_id, event_id, event_created_at, event_type, status,
  reason, window_started_at, deadline_at, attempt_count, finished_at)
SELECT {LETTERS.format(prefix="dlv", time="at", seed="'d' || f.n")}, at, w.id, e.id,
  {LETTERS.format(prefix="evt", time="at", seed="'e' || f.n")}, at,
  CASE WHEN f.kind < 0.0002 THEN '{RARE_TYPE}' WHEN f.kind < 0.5 THEN 'call.started' WHEN f.kind < 0.9 THEN 'call.ended'
    ELSE 'user.type_' || mod(floor(f.kind * 1000)::int, 20) END,
  CASE WHEN fate < 0.8 THEN 'delivered' WHEN fate < 0.94 THEN 'failed' WHEN fate < 0.95 THEN 'cancelled'
    WHEN at > now() - interval '3 days' THEN 'pending' ELSE 'delivered' END, NULL, at, at + interval '1 day',
  CASE WHEN fate < 0.6 THEN 1 ELSE 11 END,
  CASE WHEN fate < 0.95 OR at <= now() - interval '3 days' THEN at + interval '1 s' END
FROM facts f JOIN workspaces w ON w.uid = CASE f.customer WHEN 0 THEN '{BIG}' ELSE 'c' || f.customer END
JOIN endpoints e ON e.url = 'http://127.0.0.1:9/' || w.uid || '/' || f.endpoint
"""

# Nobody takes these: they are due in a year.
DUE = """
INSERT INTO due (delivery_id, created_at, workspace_id, endpoint_id, event_id, event_created_at, due_at,
  window_started_at, deadline_at, attempt_count, claims)
SELECT id, created_at, workspace_id, endpoint_id, event_id, event_created_at, now() + interval '1 year',
  window_started_at, deadline_at, attempt_count, attempt_count FROM deliveries WHERE status = 'pending'
"""

ATTEMPTS = f"""
INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
  status_code, remote_address, response_headers, response_body, trigger)
SELECT {LETTERS.format(prefix="att", time="a.at", seed="'a' || f.n || '/' || number")}, a.at, d.workspace_id,
  d.endpoint_id, d.id, number, a.at, 20 + number, a.outcome,
  CASE a.outcome WHEN 'success' THEN 200 WHEN 'http_error' THEN
    CASE WHEN f.answer < 0.0003 THEN {RARE_CODE} WHEN f.answer < 0.2 THEN 404 WHEN f.answer < 0.6 THEN 500
      ELSE 503 END END,
  '127.0.0.1', '{{"content-type": "text/plain"}}', 'ok', 'schedule'
FROM facts f JOIN deliveries d
  ON d.id = {LETTERS.format(prefix="dlv", time="f.at", seed="'d' || f.n")} AND d.created_at = f.at,
LATERAL generate_series(1, d.attempt_count) AS number,
LATERAL (SELECT least(f.at + interval '20 s' * (number - 1), now()) AS at,
  CASE WHEN number = d.attempt_count AND d.status = 'delivered' THEN 'success'
    WHEN f.answer > 0.9999 THEN 'blocked_address' WHEN f.answer > 0.999 THEN 'tls_error'
    WHEN f.answer > 0.9 THEN 'timeout' ELSE 'http_error' END AS outcome) AS a
"""

STEPS = (PARTITIONS, WORKSPACES, ENDPOINTS, STREAMS, FACTS, EVENTS, LAST_SEQS, DELIVERIES, DUE, ATTEMPTS)


def store(url: str, attempts: int) -> None:
    """Make a log of so many attempts in a migrated database that is empty."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT setseed(0.5)")
        for step in STEPS:
            connection.execute(step.replace(":deliveries", str(attempts // ATTEMPTS_A_DELIVERY)).encode())
        connection.execute("VACUUM ANALYZE")
