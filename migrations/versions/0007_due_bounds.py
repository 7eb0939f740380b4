"""Bounds the times of what is due, has drains write down where they look, and lets a claim be asked for again.

The functions are copies of app/database/functions as they were with this migration. Drains of the release before go on
beside them: they call drain_round as before.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context, op

revision = "0007"
down_revision = "0006"

EARLIEST, LATEST = "1970-01-01 00:00:00+00", "9999-01-01 00:00:00+00"
COLUMNS = ("created_at", "event_created_at", "due_at", "leased_until", "window_started_at", "deadline_at")

# Mend rows that are damaged: they are attempted once more, now. One that is no delivery's any more is forgotten then.
MEND = f"""
UPDATE due SET
  created_at = greatest(least(created_at, now()), '{EARLIEST}'),
  event_created_at = greatest(least(event_created_at, now()), '{EARLIEST}'),
  due_at = CASE WHEN due_at >= '{EARLIEST}' AND due_at < '{LATEST}' THEN due_at ELSE now() END,
  leased_until = CASE WHEN leased_until >= '{EARLIEST}' AND leased_until < '{LATEST}' THEN leased_until END,
  lease_token = CASE WHEN leased_until >= '{EARLIEST}' AND leased_until < '{LATEST}' THEN lease_token END,
  window_started_at = greatest(least(window_started_at, now()), '{EARLIEST}'),
  deadline_at = CASE WHEN deadline_at >= '{EARLIEST}' AND deadline_at < '{LATEST}' THEN deadline_at ELSE now() END
WHERE NOT ({" AND ".join(f"({column} IS NULL OR ({column} >= '{EARLIEST}' AND {column} < '{LATEST}'))" for column in COLUMNS)})
"""

RECORD_ONE = """
-- Record one outcome in whose way nothing stands, as record_outcomes does for many: the same changes by short statements,
-- which cost half of what its one query does; most events come alone. That is an outcome that is neither in doubt nor
-- followed by another attempt, of a pending delivery that nobody else has locked, for the drain that holds its lease or
-- for a success.
--
-- Answers as record_outcomes does; NULL when it is not such an outcome: then nothing has been changed.
CREATE OR REPLACE FUNCTION record_one(given json, disable_seconds int) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  o record;
  attempts_before int;
  token uuid;
  answer jsonb := '{}';
  failing jsonb;
BEGIN
  SELECT * INTO o FROM json_to_record(given) AS g (
    n int, attempt_id text, attempt_at timestamptz, delivery_id text, created_at timestamptz, workspace_id text,
    endpoint_id text, lease_token uuid, trigger text, started_at timestamptz, duration_ms int, outcome text, error text,
    status_code int, remote_address text, response_headers jsonb, response_body text,
    resent boolean, by_us boolean, doubtful boolean, status text, reason text, due_at timestamptz
  );
  IF o.resent OR o.doubtful THEN
    RETURN NULL;
  END IF;
  SELECT d.attempt_count INTO attempts_before FROM deliveries d
  WHERE d.id = o.delivery_id AND d.created_at = o.created_at AND d.status = 'pending' FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  SELECT q.lease_token INTO token FROM due q WHERE q.delivery_id = o.delivery_id FOR UPDATE SKIP LOCKED;
  IF NOT FOUND OR (token = o.lease_token OR o.outcome = 'success') IS NOT TRUE THEN
    RETURN NULL;
  END IF;

  UPDATE deliveries d SET
    attempt_count = d.attempt_count + 1,
    -- A person's attempt in the middle of a window does not use up one of the schedule.
    window_attempts = d.window_attempts + CASE WHEN d.trigger <> 'manual' OR d.window_attempts = 0 THEN 1 ELSE 0 END,
    status = o.status,
    reason = o.reason,
    trigger = CASE WHEN o.status = 'pending' THEN 'schedule' ELSE d.trigger END,
    finished_at = CASE WHEN o.status <> 'pending' THEN now() ELSE d.finished_at END
  WHERE d.id = o.delivery_id AND d.created_at = o.created_at;
  IF o.status <> 'pending' THEN
    DELETE FROM due q WHERE q.delivery_id = o.delivery_id;
  ELSE
    UPDATE due q SET
      attempt_count = q.attempt_count + 1,
      window_attempts = q.window_attempts + CASE WHEN q.trigger <> 'manual' OR q.window_attempts = 0 THEN 1 ELSE 0 END,
      due_at = o.due_at, trigger = 'schedule', leased_until = NULL, lease_token = NULL
    WHERE q.delivery_id = o.delivery_id;
    IF NOT EXISTS (SELECT FROM endpoints e WHERE e.id = o.endpoint_id AND e.status = 'enabled') THEN
      answer := jsonb_build_object('unwanted', jsonb_build_array(o.endpoint_id));
    END IF;
  END IF;
  INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
    error, status_code, remote_address, response_headers, response_body, trigger)
  VALUES (o.attempt_id, o.attempt_at, o.workspace_id, o.endpoint_id, o.delivery_id, attempts_before + 1, o.started_at,
    o.duration_ms, o.outcome, o.error, o.status_code, o.remote_address, o.response_headers,
    decode(o.response_body, 'base64'), o.trigger)
  ON CONFLICT (id, created_at) DO NOTHING;

  -- A success of an endpoint that was healthy changes nothing.
  IF NOT o.by_us AND (o.outcome <> 'success' OR EXISTS (
    SELECT FROM endpoints e
    WHERE e.id = o.endpoint_id AND (e.consecutive_failures <> 0 OR e.last_outcome IS DISTINCT FROM 'success')
  )) THEN
    failing := endpoint_tallies(json_build_array(given), ARRAY[o.n], o.outcome = 'success', disable_seconds);
    IF failing IS NOT NULL THEN
      answer := answer || jsonb_build_object('failing', failing);
    END IF;
  END IF;
  RETURN answer;
END
$$;
"""

RECORD_OUTCOMES = """
-- Record what came of attempts, each an object of a JSON array (app/delivery/outcomes.py makes them): append them to the
-- log, move their deliveries on, bring their endpoints' health up to date. Waits for no lock: what somebody else has
-- locked is left as it is.
--
-- A delivery moves only for the drain that holds its lease, or for a success; what it becomes has been decided by
-- app/core/webhook/retry.py. Of one delivery there is at most one outcome that is not `resent`. `doubtful` ones may have
-- been recorded by a call whose answer was lost: if so, nothing is written. That call may be at its COMMIT still, so
-- whether it has recorded them is read after their deliveries are locked, by a statement that sees what it committed.
--
-- Answers an object. odd: [n, status, reason] of what did not move its delivery as decided, and how that stands.
-- left: the n of those with which nothing was done; locked: those of them that somebody else has locked, the others are
-- gone with their workspace. unwanted: endpoints that are disabled or deleted and have a delivery that is still
-- pending. failing: [endpoint, since] of those that have failed for longer than disable_seconds.
CREATE OR REPLACE FUNCTION record_outcomes(outcomes json, disable_seconds int) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  answer jsonb;
  ids text[];
  first_at timestamptz;
  last_at timestamptz;
  seen int[];
  retried text[];
  doubtful text[];
  doubtful_at timestamptz[];
  written text[] := '{}';
  counted int[];
  told text[];
  all_good boolean;
  failing jsonb;
BEGIN
  IF json_array_length(outcomes) = 1 THEN
    answer := record_one(outcomes -> 0, disable_seconds);
    IF answer IS NOT NULL THEN
      RETURN answer;
    END IF;
  END IF;
  SELECT array_agg(DISTINCT o.delivery_id), min(o.created_at), max(o.created_at),
    array_agg(o.attempt_id) FILTER (WHERE o.doubtful), array_agg(o.attempt_at) FILTER (WHERE o.doubtful)
  INTO ids, first_at, last_at, doubtful, doubtful_at
  FROM json_to_recordset(outcomes) AS o (
    delivery_id text, created_at timestamptz, attempt_id text, attempt_at timestamptz, doubtful boolean
  );
  IF doubtful IS NOT NULL THEN
    ids := ARRAY(  -- what somebody holds now stays as it is, though he let it go before the next statement
      SELECT d.id FROM deliveries d
      WHERE d.id = ANY (ids) AND d.created_at BETWEEN first_at AND last_at FOR UPDATE SKIP LOCKED
    );
    SELECT coalesce(array_agg(a.id), '{}') INTO written FROM attempts a
    WHERE a.id = ANY (doubtful) AND a.created_at = ANY (doubtful_at);
  END IF;

  WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(outcomes) AS o (
      n int, attempt_id text, attempt_at timestamptz, delivery_id text, workspace_id text, endpoint_id text,
      lease_token uuid, trigger text, started_at timestamptz, duration_ms int, outcome text, error text,
      status_code int, remote_address text, response_headers jsonb, response_body text,
      resent boolean, by_us boolean, status text, reason text, due_at timestamptz
    )
  ), held AS MATERIALIZED (
    SELECT d.id, d.status, d.reason, d.attempt_count FROM deliveries d
    WHERE d.id = ANY (ids) AND d.created_at BETWEEN first_at AND last_at FOR UPDATE SKIP LOCKED
  ), owned AS MATERIALIZED (
    SELECT q.delivery_id, q.lease_token FROM due q WHERE q.delivery_id = ANY (ids) FOR UPDATE SKIP LOCKED
  ), known AS MATERIALIZED (
    SELECT g.*, h.status AS old_status, h.reason AS old_reason, h.attempt_count, g.attempt_id = ANY (written) AS is_written,
      h.status = 'pending' AND NOT g.resent AND NOT g.attempt_id = ANY (written)
        AND (q.lease_token = g.lease_token OR g.outcome = 'success') IS TRUE AS moves
    FROM given g JOIN held h ON h.id = g.delivery_id LEFT JOIN owned q ON q.delivery_id = g.delivery_id
    WHERE h.status <> 'pending' OR q.delivery_id IS NOT NULL
  ), moved AS MATERIALIZED (
    SELECT k.delivery_id, count(*) AS attempts, count(*) FILTER (WHERE k.resent) AS resent, bool_or(k.moves) AS moves,
      max(k.status) FILTER (WHERE k.moves) AS status, max(k.reason) FILTER (WHERE k.moves) AS reason,
      max(k.due_at) FILTER (WHERE k.moves) AS due_at
    FROM known k WHERE NOT k.is_written GROUP BY k.delivery_id
  ), changed AS (
    UPDATE deliveries d SET
      attempt_count = d.attempt_count + m.attempts,
      -- A person's attempt in the middle of a window does not use up one of the schedule.
      window_attempts = d.window_attempts
        + CASE WHEN m.moves AND (d.trigger <> 'manual' OR d.window_attempts = 0) THEN 1 ELSE 0 END,
      status = CASE WHEN m.moves THEN m.status ELSE d.status END,
      reason = CASE WHEN m.moves THEN m.reason ELSE d.reason END,
      trigger = CASE WHEN m.moves AND m.status = 'pending' THEN 'schedule' ELSE d.trigger END,
      finished_at = CASE WHEN m.moves AND m.status <> 'pending' THEN now() ELSE d.finished_at END
    FROM moved m WHERE d.id = m.delivery_id AND d.id = ANY (ids) AND d.created_at BETWEEN first_at AND last_at
  ), ended AS (
    DELETE FROM due q USING moved m
    WHERE q.delivery_id = m.delivery_id AND q.delivery_id = ANY (ids) AND m.moves AND m.status <> 'pending'
  ), kept AS (
    UPDATE due q SET
      attempt_count = q.attempt_count + m.attempts,
      claims = q.claims + m.resent,  -- there is one for each attempt, so that a lost one is seen
      window_attempts = q.window_attempts
        + CASE WHEN m.moves AND (q.trigger <> 'manual' OR q.window_attempts = 0) THEN 1 ELSE 0 END,
      due_at = CASE WHEN m.moves THEN m.due_at ELSE q.due_at END,
      trigger = CASE WHEN m.moves THEN 'schedule' ELSE q.trigger END,
      leased_until = CASE WHEN m.moves THEN NULL ELSE q.leased_until END,
      lease_token = CASE WHEN m.moves THEN NULL ELSE q.lease_token END
    FROM moved m
    WHERE q.delivery_id = m.delivery_id AND q.delivery_id = ANY (ids) AND NOT (m.moves AND m.status <> 'pending')
  ), logged AS (
    INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
      error, status_code, remote_address, response_headers, response_body, trigger)
    SELECT k.attempt_id, k.attempt_at, k.workspace_id, k.endpoint_id, k.delivery_id,
      k.attempt_count + row_number() OVER (PARTITION BY k.delivery_id ORDER BY k.n), k.started_at, k.duration_ms,
      k.outcome, k.error, k.status_code, k.remote_address, k.response_headers, decode(k.response_body, 'base64'), k.trigger
    FROM known k WHERE NOT k.is_written
    ON CONFLICT (id, created_at) DO NOTHING
  )
  SELECT
    jsonb_build_object('odd', jsonb_agg(jsonb_build_array(k.n, k.old_status, k.old_reason))
      FILTER (WHERE NOT k.moves AND NOT k.resent)),
    array_agg(k.n) FILTER (WHERE NOT (k.is_written OR k.resent OR k.by_us)),
    array_agg(k.endpoint_id) FILTER (WHERE NOT (k.is_written OR k.resent OR k.by_us)),
    bool_and(k.outcome = 'success') FILTER (WHERE NOT (k.is_written OR k.resent OR k.by_us)),
    array_agg(k.endpoint_id) FILTER (WHERE k.moves AND k.status = 'pending'),
    coalesce(array_agg(k.n), '{}')
  INTO answer, counted, told, all_good, retried, seen
  FROM known k;

  IF cardinality(seen) < json_array_length(outcomes) THEN
    answer := answer || jsonb_build_object('left', (
      SELECT jsonb_agg(o.n) FROM json_to_recordset(outcomes) AS o (n int) WHERE o.n <> ALL (seen)
    ), 'locked', (
      SELECT jsonb_agg(o.n) FROM json_to_recordset(outcomes) AS o (n int, delivery_id text, created_at timestamptz)
      JOIN deliveries d ON d.id = o.delivery_id AND d.created_at = o.created_at
      WHERE o.n <> ALL (seen) AND d.created_at BETWEEN first_at AND last_at
        -- A pending one without a row in `due` cannot be: its outcome would be given back for ever.
        AND (d.status <> 'pending' OR EXISTS (SELECT FROM due q WHERE q.delivery_id = d.id))
    ));
  END IF;
  IF retried IS NOT NULL THEN
    answer := answer || jsonb_build_object('unwanted', (
      SELECT jsonb_agg(DISTINCT r.id) FROM unnest(retried) AS r (id)
      WHERE NOT EXISTS (SELECT FROM endpoints e WHERE e.id = r.id AND e.status = 'enabled')
    ));
  END IF;
  -- Successes of endpoints that were healthy change nothing.
  IF counted IS NOT NULL AND NOT (all_good AND NOT EXISTS (
    SELECT FROM endpoints e
    WHERE e.id = ANY (told) AND (e.consecutive_failures <> 0 OR e.last_outcome IS DISTINCT FROM 'success')
  )) THEN
    failing := endpoint_tallies(outcomes, counted, all_good, disable_seconds);
    IF failing IS NOT NULL THEN
      answer := answer || jsonb_build_object('failing', failing);
    END IF;
  END IF;
  RETURN answer;
END
$$;
"""

LOOK_FOR_DUE = """
-- Which endpoints have something due, and what that says of each: rows of a JSON array, without those that were looked
-- at before.
--
-- Two ways. While little is due, the rows themselves are read in the order of their time, from `low_water` on: all that
-- has ended lies below, and dead rows, which nobody can remove while some session holds an old snapshot, are not walked
-- through. When more is due than that reads, or `walking`, it goes from endpoint to endpoint in the order of their ids,
-- from `after` on: each step jumps over all other rows of the last one.
--
-- answering: endpoints that are looked at in any case: what they get is over soon.
--
-- complete: whether these are all. stopped_at: the endpoint after which the next walk begins. low: the time of the first
-- row, sent or not; NULL when there is none.
-- asking: by endpoint, rows (NULL: unknown, at least one), suspicious: whether one of them has lost claims.
CREATE OR REPLACE FUNCTION look_for_due(
  low_water timestamptz, walking boolean, after text, most_rows int, most_endpoints int, answering text[],
  OUT complete boolean, OUT low timestamptz, OUT walked boolean, OUT stopped_at text,
  OUT asking text[], OUT counts int[], OUT suspicious boolean
)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  from_start text[];
BEGIN
  walked := walking;
  IF NOT walking THEN
    SELECT array_agg(w.endpoint_id) FILTER (WHERE w.free > 0), array_agg(w.free) FILTER (WHERE w.free > 0),
      bool_or(w.suspicious), min(w.low), coalesce(sum(w.seen), 0) < most_rows
    INTO asking, counts, suspicious, low, complete
    FROM (
      SELECT q.endpoint_id, count(*) AS seen, min(q.due_at) AS low,
        count(*) FILTER (WHERE q.leased_until IS NULL OR q.leased_until <= now())::int AS free,
        bool_or(q.claims - q.attempt_count >= 2 AND (q.leased_until IS NULL OR q.leased_until <= now())) AS suspicious
      FROM (
        SELECT * FROM due WHERE due_at >= low_water AND due_at <= now() ORDER BY due_at LIMIT most_rows
      ) AS q
      GROUP BY q.endpoint_id
    ) AS w;
    IF complete THEN
      RETURN;
    END IF;
    walked := true;
  ELSE
    SELECT q.due_at INTO low FROM due q WHERE q.due_at >= low_water AND q.due_at <= now() ORDER BY q.due_at LIMIT 1;
  END IF;

  suspicious := true;  -- nobody has looked
  asking := walk_due(low_water, after, most_endpoints);
  complete := cardinality(asking) < most_endpoints;
  IF complete AND after <> '' THEN  -- the end is reached: on from the start, up to the first one of this walk
    from_start := walk_due(low_water, '', most_endpoints - cardinality(asking));
    complete := from_start && asking OR cardinality(asking) + cardinality(from_start) < most_endpoints;
    asking := asking || ARRAY(SELECT f.id FROM unnest(from_start) AS f (id) WHERE f.id <> ALL (asking));
  END IF;
  IF NOT complete THEN
    stopped_at := asking[cardinality(asking)];
    asking := asking || ARRAY(
      SELECT a.id FROM unnest(answering) AS a (id) WHERE a.id <> ALL (asking) AND EXISTS (
        SELECT FROM due q WHERE q.endpoint_id = a.id AND q.due_at >= low_water AND q.due_at <= now()
          AND (q.leased_until IS NULL OR q.leased_until <= now())
      )
    );
  END IF;
  counts := array_fill(NULL::int, ARRAY[cardinality(asking)]);
END
$$;
"""

SHARE_PLACES = """
-- Give each enabled endpoint that asks as many rows as it has and has room for, when the places of its lane suffice for
-- all who ask; else granted is NULL, and app/core/webhook/fairness.py has to decide. Lanes are those of its `lane`.
-- counts: rows of each, NULL: unknown. rooms, known, free: see drain_round.
-- asking: of each enabled one what decides, as an array of objects. ended: those that are disabled or deleted.
CREATE OR REPLACE FUNCTION share_places(
  ids text[], counts int[], rooms jsonb, known jsonb, free jsonb,
  OUT granted jsonb, OUT limited boolean, OUT asking jsonb, OUT enabled text[], OUT ended text[]
)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  one record;
  its_lane text;
  wanted int;
BEGIN
  IF ids IS NULL OR cardinality(ids) = 0 THEN
    granted := '{}';
    RETURN;
  END IF;
  IF cardinality(ids) = 1 THEN  -- an event alone: the same with a look-up in place of a query, a fifth of its cost
    SELECT e.status, e.rate_limit, e.consecutive_failures, e.last_outcome INTO one FROM endpoints e WHERE e.id = ids[1];
    limited := false;
    IF one.status IS DISTINCT FROM 'enabled' THEN
      ended := ids;
      granted := CASE WHEN rooms IS NOT NULL THEN '{}' END;
      RETURN;
    END IF;
    its_lane := endpoint_lane(one.consecutive_failures, one.last_outcome, known -> ids[1] ->> 'lane');
    wanted := least(counts[1], coalesce(known -> ids[1] ->> its_lane, rooms ->> its_lane)::int);
    IF rooms IS NOT NULL AND (wanted <= coalesce((free ->> its_lane)::int, 0) OR NOT free ? its_lane) THEN
      granted := CASE WHEN wanted > 0 AND free ? its_lane THEN jsonb_build_object(ids[1], wanted) ELSE '{}' END;
    END IF;
    limited := one.rate_limit IS NOT NULL;
    enabled := ids;
    asking := jsonb_build_array(jsonb_build_object('endpoint_id', ids[1], 'rate_limit', one.rate_limit,
      'consecutive_failures', one.consecutive_failures, 'last_outcome', one.last_outcome, 'rows', counts[1]));
    RETURN;
  END IF;
  WITH found AS MATERIALIZED (
    SELECT a.id, a.rows, e.status, e.rate_limit, e.consecutive_failures, e.last_outcome, known -> a.id AS own,
      endpoint_lane(e.consecutive_failures, e.last_outcome, known -> a.id ->> 'lane') AS lane
    FROM unnest(ids, counts) AS a (id, rows) LEFT JOIN endpoints e ON e.id = a.id
  ), wanting AS MATERIALIZED (
    SELECT f.*, least(f.rows, coalesce(f.own ->> f.lane, rooms ->> f.lane)::int) AS want FROM found f
    WHERE f.status = 'enabled'
  ), lanes AS (
    SELECT coalesce(bool_and(w.total <= coalesce((free ->> w.lane)::int, 0) OR NOT free ? w.lane), true) AS fits
    FROM (SELECT lane, sum(want) AS total FROM wanting GROUP BY lane) AS w
  )
  SELECT
    CASE WHEN rooms IS NOT NULL AND (SELECT fits FROM lanes)
      THEN coalesce((SELECT jsonb_object_agg(id, want) FROM wanting WHERE want > 0 AND free ? lane), '{}') END,
    EXISTS (SELECT FROM wanting WHERE rate_limit IS NOT NULL),
    (SELECT jsonb_agg(jsonb_build_object('endpoint_id', id, 'rate_limit', rate_limit,
      'consecutive_failures', consecutive_failures, 'last_outcome', last_outcome, 'rows', rows)) FROM wanting),
    (SELECT array_agg(id) FROM wanting),
    (SELECT array_agg(id) FROM found WHERE status IS DISTINCT FROM 'enabled')
  INTO granted, limited, asking, enabled, ended;
END
$$;
"""

TAKE_AGAIN = """
-- Lease once more what is leased with a token: the answer to the call that did so was lost. Of these rows each is handed
-- out as it was then; its claim is not counted again.
CREATE OR REPLACE FUNCTION take_again(low_water timestamptz, token uuid, lease interval) RETURNS due[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  taken due[];
BEGIN
  WITH held AS MATERIALIZED (
    SELECT q.delivery_id FROM due q
    WHERE q.lease_token = token AND q.due_at >= low_water AND q.due_at <= now() FOR UPDATE SKIP LOCKED
  ), leased AS (
    UPDATE due q SET leased_until = now() + lease FROM held h WHERE q.delivery_id = h.delivery_id RETURNING q.*
  )
  SELECT array_agg(l::due) INTO taken FROM leased l;
  RETURN taken;
END
$$;
"""

DRAIN_ROUND = """
-- One round of a drain: record what has ended, and claim what is due. Either may be NULL.
--
-- outcomes: see record_outcomes. asked: an object.
--   crew: as which this round is stamped; left out: it is not. mark, all_seconds: what is written down with the stamp,
--     for drains and pulses that begin: the time of the oldest row, and how often everything is looked at
--   token, lease_seconds: of the leases
--   again: a call with this token was not answered: what it has leased is handed out, and otherwise nothing
--   low_water, walking, after, most_rows, most_endpoints: where to look, and at how many (look_for_due); the first three
--     may be left out. fresh: instead of low_water, from so many seconds below the mark that was written down last
--   granted, limited: what was decided after the last look (take_due); left out: look
--   rooms: by lane, the room of an endpoint that this drain does not know; known: by endpoint, {lane, fast, new, slow}:
--     its rooms, and `slow` when it hangs, `fast` when it has just answered; left out: only look
--   free: by lane, how many rows may be taken without sharing; a lane that is left out gets nothing
--   answering: endpoints that have just answered; they are looked at, however many others there are
--   alone: whether a row that has lost claims may be taken; `only`: nothing else
--
-- Answers one row whose note is an object, then one for each row taken. note: now, recorded (see record_outcomes); after,
-- where the next walk begins; low, complete, walked (look_for_due); all_seconds, when `fresh` has found a mark; left:
-- whether rows are due for which there was no room; ended: endpoints that are disabled or deleted and have something
-- due; wait (take_due); asking: the others, when sharing the places among them is for app/core/webhook/fairness.py to
-- decide: then nothing is taken. As long as every endpoint can have as many rows as it has room for, there is nothing
-- to share.
--
-- Times that no datetime can hold, of a row that is damaged, are answered as ones that it can: a deadline as now, so
-- that this attempt is the last.
CREATE OR REPLACE FUNCTION drain_round(outcomes json, disable_seconds int, asked jsonb)
RETURNS TABLE (
  note jsonb, delivery_id text, created_at timestamptz, workspace_id text, endpoint_id text, event_id text, trigger text,
  window_started_at timestamptz, window_attempts int, deadline_at timestamptz, lost_claims int,
  consecutive_failures int, last_outcome text, url text, sealed_headers bytea, secrets bytea[], body bytea
)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET lock_timeout = '2s'
AS $$
#variable_conflict use_column
DECLARE
  said jsonb := jsonb_build_object('now', now());
  low_water timestamptz := coalesce((asked ->> 'low_water')::timestamptz, '-infinity');
  token uuid := asked ->> 'token';
  lease interval := make_interval(secs => (asked ->> 'lease_seconds')::float8);
  granted jsonb := asked -> 'granted';
  limited boolean := (asked ->> 'limited')::boolean;
  alone text := asked ->> 'alone';
  written record;
  look record;
  share record;
  taking record;
  answering text[] := '{}';
  endpoint_ids text[];
  taken due[];
  suspicious boolean := true;
  are_left boolean;
  first_at timestamptz;
  last_at timestamptz;
  earliest CONSTANT timestamptz := '1970-01-01 00:00:00+00';
  latest CONSTANT timestamptz := '9999-01-01 00:00:00+00';
BEGIN
  IF outcomes IS NOT NULL THEN
    said := said || jsonb_build_object('recorded', record_outcomes(outcomes, disable_seconds));
  END IF;
  IF asked IS NULL THEN
    note := said;
    RETURN NEXT;
    RETURN;
  END IF;
  -- A stamp that is locked is being written; one of the future is from before the clock was set back.
  IF asked ? 'crew' THEN
    UPDATE drain_rounds r SET stamped_at = now(), low_water = coalesce((asked ->> 'mark')::timestamptz, r.low_water),
      all_seconds = coalesce((asked ->> 'all_seconds')::float8, r.all_seconds)
    FROM (
      SELECT crew FROM drain_rounds
      WHERE crew = asked ->> 'crew'
        AND stamped_at NOT BETWEEN now() - interval '1 second' AND now() + interval '10 seconds'
      FOR UPDATE SKIP LOCKED
    ) AS free WHERE r.crew = free.crew;
  END IF;

  IF asked ? 'fresh' THEN
    SELECT least(r.low_water, now()) - make_interval(secs => (asked ->> 'fresh')::float8) AS low, r.all_seconds
    INTO written
    FROM drain_rounds r WHERE r.low_water IS NOT NULL ORDER BY r.stamped_at DESC LIMIT 1;
    IF FOUND THEN
      low_water := written.low;
      said := said || jsonb_build_object('all_seconds', written.all_seconds);
    END IF;
  END IF;
  IF asked ? 'again' THEN
    taken := take_again(low_water, token, lease);
  END IF;

  IF taken IS NOT NULL THEN
    granted := '{}';
  ELSIF granted IS NOT NULL THEN
    endpoint_ids := ARRAY(SELECT jsonb_array_elements_text(asked -> 'among'));
  ELSE
    -- Each query costs more than all else of a round that finds nothing: none here that is not needed.
    IF asked -> 'answering' <> '[]' THEN
      answering := ARRAY(SELECT jsonb_array_elements_text(asked -> 'answering'));
    END IF;
    look := look_for_due(
      low_water, coalesce((asked ->> 'walking')::boolean, false), coalesce(asked ->> 'after', ''),
      (asked ->> 'most_rows')::int, (asked ->> 'most_endpoints')::int, answering
    );
    share := share_places(look.asking, look.counts, asked -> 'rooms', asked -> 'known', asked -> 'free');
    endpoint_ids := share.enabled;
    suspicious := look.suspicious;
    are_left := look.walked;
    IF look.counts IS NOT NULL AND NOT are_left THEN
      are_left := (SELECT sum(c) FROM unnest(look.counts) AS c)
        > coalesce((SELECT sum(g.value::int) FROM jsonb_each_text(share.granted) AS g), 0);
    END IF;
    said := said || jsonb_build_object(
      'low', CASE WHEN look.low IS NOT NULL THEN greatest(look.low, earliest) END, 'after', look.stopped_at,
      'complete', look.complete, 'walked', look.walked, 'ended', share.ended, 'left', are_left
    );
    IF look.walked AND NOT look.complete OR share.granted IS NULL OR alone = 'only' THEN
      suspicious := false;  -- not before whoever shares has asked for it
      said := said || jsonb_build_object('asking', share.asking);
    ELSE
      granted := share.granted;
      limited := share.limited;
    END IF;
  END IF;
  IF granted <> '{}' THEN
    taking := take_due(granted, limited, low_water, token, lease);
    taken := taking.taken;
    said := said || jsonb_build_object('wait', taking.wait);
  END IF;
  IF taken IS NULL AND alone IS NOT NULL AND suspicious AND cardinality(endpoint_ids) > 0 THEN
    taken := take_suspicious(endpoint_ids, token, lease);
  END IF;

  note := said;
  RETURN NEXT;
  IF taken IS NOT NULL THEN
    SELECT min(t.event_created_at), max(t.event_created_at) INTO first_at, last_at FROM unnest(taken) AS t;
    RETURN QUERY
      SELECT NULL::jsonb, t.delivery_id, greatest(least(t.created_at, latest), earliest), t.workspace_id, t.endpoint_id,
        t.event_id, t.trigger, greatest(least(t.window_started_at, now()), earliest), t.window_attempts,
        CASE WHEN t.deadline_at >= earliest AND t.deadline_at < latest THEN t.deadline_at ELSE now() END,
        t.claims - 1 - t.attempt_count,
        e.consecutive_failures, e.last_outcome, e.url, e.sealed_headers,
        ARRAY(
          SELECT s.sealed FROM endpoint_secrets s
          WHERE s.endpoint_id = e.id AND (s.expires_at IS NULL OR s.expires_at > now()) ORDER BY s.id DESC
        ), v.body
      FROM unnest(taken) AS t
      JOIN endpoints e ON e.id = t.endpoint_id  -- one deleted this moment: cancelled when the lease ends
      LEFT JOIN events v ON v.id = t.event_id AND v.created_at = t.event_created_at
        AND v.created_at BETWEEN first_at AND last_at
      ORDER BY t.due_at;
  END IF;
END
$$;
"""

READ_DELIVERY = """
-- One delivery with its latest attempts, each in a row, if the caller may see it: by verdict (judge_caller). A delivery
-- without attempts is one row; one that is not there, or not to be seen, is a row without an id. made_at: its time, which
-- its id holds and by which its partition is found. No attempt was made before that, but clocks may differ a little.
--
-- A function, so that the statement is planned once for each connection: its custom plans look so much cheaper, because
-- they name partitions, that PostgreSQL would make one for each read, which costs more than the read.
CREATE OR REPLACE FUNCTION read_delivery(
  secret_digest bytea, workspace text, reference text, delivery text, made_at timestamptz, most int
)
RETURNS TABLE (
  verdict text, id text, workspace_id text, event_id text, endpoint_id text, event_type text, status text, reason text,
  attempt_count int,
  created_at timestamptz, deadline_at timestamptz, finished_at timestamptz, due_at timestamptz, sending boolean,
  attempt_id text, number int, started_at timestamptz, duration_ms int, outcome text, error text, status_code int,
  remote_address text, trigger text, response_headers text, response_body bytea
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
  verdict := judge_caller(secret_digest, 'operate', workspace, reference);
  IF verdict = '' THEN
    RETURN QUERY
      SELECT '', d.id, d.workspace_id, d.event_id, d.endpoint_id, d.event_type, d.status, d.reason, d.attempt_count, d.created_at,
        d.deadline_at, d.finished_at, greatest(q.due_at, q.leased_until), coalesce(q.leased_until > now(), false),
        a.id, a.number, a.started_at, a.duration_ms, a.outcome, a.error, a.status_code, a.remote_address, a.trigger,
        a.response_headers::text, a.response_body
      FROM deliveries d
      LEFT JOIN due q ON q.delivery_id = d.id AND q.created_at = d.created_at
      LEFT JOIN LATERAL (
        SELECT * FROM attempts t WHERE t.delivery_id = delivery AND t.created_at >= made_at - interval '1 minute'
        ORDER BY t.number DESC, t.id DESC LIMIT most
      ) AS a ON true
      WHERE d.id = delivery AND d.created_at = made_at AND d.workspace_id = workspace
      ORDER BY a.number DESC, a.id DESC;
    IF FOUND THEN
      RETURN;
    END IF;
  END IF;
  RETURN NEXT;
END
$$;
"""


def upgrade() -> None:
    op.add_column("drain_rounds", sa.Column("low_water", sa.DateTime(timezone=True), nullable=True))
    op.add_column("drain_rounds", sa.Column("all_seconds", sa.Float(), nullable=True))
    op.get_bind().exec_driver_sql(MEND)
    op.drop_constraint(op.f("ck_due_due_at"), "due")
    for column in COLUMNS:
        bounds = f"{column} >= '{EARLIEST}' AND {column} < '{LATEST}'"
        op.create_check_constraint(op.f(f"ck_due_{column}"), "due", bounds)
    for function in (RECORD_ONE, RECORD_OUTCOMES, LOOK_FOR_DUE, SHARE_PLACES, TAKE_AGAIN, DRAIN_ROUND, READ_DELIVERY):
        op.get_bind().exec_driver_sql(function)


def downgrade() -> None:
    before = context.script.get_revision("0004").module
    for function in (before.RECORD_OUTCOMES, before.LOOK_FOR_DUE, before.SHARE_PLACES, before.DRAIN_ROUND):
        op.get_bind().exec_driver_sql(function)
    op.execute("DROP FUNCTION read_delivery")
    op.execute("DROP FUNCTION take_again")
    op.execute("DROP FUNCTION record_one")
    for column in COLUMNS:
        op.drop_constraint(op.f(f"ck_due_{column}"), "due")
    op.create_check_constraint(op.f("ck_due_due_at"), "due", "due_at > '-infinity' AND due_at < 'infinity'")
    op.drop_column("drain_rounds", "all_seconds")
    op.drop_column("drain_rounds", "low_water")
