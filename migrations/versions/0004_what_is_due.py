"""Makes the table of what is due with the functions that drains call, and moves there what deliveries knew of it.

The functions are copies of app/database/functions as they were with this migration. Processes of the release before
cannot write to these tables any more: stop the workers and web processes for this one migration.
"""

from __future__ import annotations

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


GCRA = """
-- How many of `want` transfers a rate limit lets start now, and the theoretical arrival time after them: the rule of
-- app/core/webhook/rate_limit.py, whose table of cases the tests hold this to. tat: after the last transfer, NULL at first.
-- now_at: Unix seconds. wait: seconds until one more may start. A rate or a time that is none counts as there.
CREATE OR REPLACE FUNCTION gcra(
  tat float8, now_at float8, per_second float8, want int, OUT granted int, OUT next_tat float8, OUT wait float8
)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
  burst CONSTANT float8 := 0.1;  -- seconds: BURST_SECONDS
  rounding CONSTANT float8 := 1e-6;
  spacing float8 := 1.0 / CASE WHEN per_second > 0 AND per_second < 'Infinity' THEN per_second ELSE 1.0 END;
  arrival float8 := CASE WHEN tat <= now_at + 60.0 THEN greatest(tat, now_at) ELSE now_at END;  -- MOST_AHEAD_SECONDS
BEGIN
  -- In PostgreSQL's order NaN is greater than any number, so that `tat <= …` leaves it out.
  granted := floor(greatest(0.0, least(want::float8, (now_at + burst + spacing - arrival) / spacing + rounding)))::int;
  next_tat := arrival + granted * spacing;
  wait := CASE WHEN (now_at + burst + spacing - next_tat) / spacing + rounding >= 1 THEN 0
    ELSE next_tat - burst - now_at END;
END
$$;
"""

ENDPOINT_LANE = """
-- The lane of an endpoint: the rule of `lane` in app/core/webhook/fairness.py, whose table of cases the tests hold this
-- to, and of what the drain has seen since (seen: `slow` when it hangs, `fast` when it has just answered).
CREATE OR REPLACE FUNCTION endpoint_lane(consecutive_failures int, last_outcome text, seen text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
  SELECT CASE
    WHEN seen = 'slow' OR last_outcome = 'timeout' OR consecutive_failures >= 3 THEN 'slow'
    WHEN last_outcome IN ('success', 'http_error') OR seen = 'fast' THEN 'fast'
    ELSE 'new'
  END
$$;
"""

WALK_DUE = """
-- The next endpoints in id order that have a row due, `most` of them, after `last_id`.
CREATE OR REPLACE FUNCTION walk_due(low_water timestamptz, last_id text, most int) RETURNS text[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  found_ids text[] := '{}';
  next_id text := last_id;
BEGIN
  WHILE cardinality(found_ids) < most LOOP
    SELECT q.endpoint_id INTO next_id FROM due q
    WHERE q.endpoint_id > next_id AND q.due_at >= low_water AND q.due_at <= now()
      AND (q.leased_until IS NULL OR q.leased_until <= now())
    ORDER BY q.endpoint_id, q.due_at LIMIT 1;
    EXIT WHEN NOT FOUND;
    found_ids := found_ids || next_id;
  END LOOP;
  RETURN found_ids;
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
-- complete: whether these are all. stopped_at: the endpoint after which the next walk begins. low: the time of the first row, sent or not; NULL when there is none, or walking.
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
BEGIN
  IF ids IS NULL OR cardinality(ids) = 0 THEN
    granted := '{}';
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

TAKE_DUE = """
-- Lease the oldest due rows of endpoints, at most as many of each as it was granted (granted: an object, endpoint ->
-- most). What another drain holds is passed over, and what has to travel alone. An endpoint with a rate limit gets what
-- that allows now; its row stays locked until this transaction ends, so that two drains never spend the same allowance.
-- wait: seconds until a rate limit allows the next row that it held back; NULL when it held none back.
CREATE OR REPLACE FUNCTION take_due(
  granted jsonb, limited boolean, low_water timestamptz, token uuid, lease interval, OUT taken due[], OUT wait float8
)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  ids text[];
  most int[];
  now_at float8 := extract(epoch FROM now());
  rate record;
  allowed record;
  place int;
  used int;
BEGIN
  SELECT array_agg(g.key), array_agg(g.value::int) INTO ids, most FROM jsonb_each_text(granted) AS g;
  IF limited THEN
    FOR rate IN
      SELECT a.id, a.place, e.rate_tat, e.rate_limit
      FROM unnest(ids) WITH ORDINALITY AS a (id, place)
      LEFT JOIN LATERAL (
        SELECT l.rate_tat, l.rate_limit FROM endpoints l WHERE l.id = a.id AND l.rate_limit IS NOT NULL
        FOR UPDATE SKIP LOCKED
      ) AS e ON true
      WHERE EXISTS (SELECT FROM endpoints x WHERE x.id = a.id AND x.rate_limit IS NOT NULL)
    LOOP
      IF rate.rate_limit IS NULL THEN  -- another drain holds it, and is claiming for it now
        most[rate.place] := 0;
        wait := least(wait, 0.1);
        CONTINUE;
      END IF;
      allowed := gcra(rate.rate_tat, now_at, rate.rate_limit, most[rate.place]);
      IF allowed.granted < most[rate.place] THEN
        most[rate.place] := allowed.granted;
        wait := least(wait, allowed.wait);
      END IF;
    END LOOP;
  END IF;

  WITH picked AS MATERIALIZED (
    SELECT p.delivery_id FROM unnest(ids, most) AS g (endpoint_id, most) CROSS JOIN LATERAL (
      SELECT q.delivery_id FROM due q
      WHERE q.endpoint_id = g.endpoint_id AND q.due_at >= low_water AND q.due_at <= now()
        AND (q.leased_until IS NULL OR q.leased_until <= now()) AND q.claims - q.attempt_count < 2
      ORDER BY q.due_at LIMIT g.most FOR UPDATE SKIP LOCKED
    ) AS p
  ), leased AS (
    UPDATE due q SET leased_until = now() + lease, lease_token = token, claims = q.claims + 1
    FROM picked p WHERE q.delivery_id = p.delivery_id RETURNING q.*
  )
  SELECT array_agg(l::due) INTO taken FROM leased l;

  IF limited THEN
    UPDATE endpoints e SET rate_tat = (gcra(e.rate_tat, now_at, e.rate_limit, c.used)).next_tat
    FROM (SELECT t.endpoint_id, count(*)::int AS used FROM unnest(taken) AS t GROUP BY t.endpoint_id) AS c
    WHERE e.id = c.endpoint_id AND e.rate_limit IS NOT NULL;
  END IF;
END
$$;
"""

TAKE_SUSPICIOUS = """
-- Lease one row that has lost claims, among the oldest due ones of some endpoints; it has to travel alone.
CREATE OR REPLACE FUNCTION take_suspicious(endpoint_ids text[], token uuid, lease interval) RETURNS due[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  taken due[];
BEGIN
  WITH picked AS MATERIALIZED (
    SELECT q.delivery_id FROM unnest(endpoint_ids) AS a (endpoint_id) CROSS JOIN LATERAL (
      SELECT o.delivery_id, o.claims - o.attempt_count AS lost FROM due o
      WHERE o.endpoint_id = a.endpoint_id AND o.due_at <= now() AND (o.leased_until IS NULL OR o.leased_until <= now())
      ORDER BY o.due_at LIMIT 32
    ) AS oldest JOIN due q ON q.delivery_id = oldest.delivery_id
    WHERE oldest.lost >= 2 AND q.due_at <= now() AND (q.leased_until IS NULL OR q.leased_until <= now())
    LIMIT 1 FOR UPDATE OF q SKIP LOCKED
  ), leased AS (
    UPDATE due q SET leased_until = now() + lease, lease_token = token, claims = q.claims + 1
    FROM picked p WHERE q.delivery_id = p.delivery_id RETURNING q.*
  )
  SELECT array_agg(l::due) INTO taken FROM leased l;
  RETURN taken;
END
$$;
"""

ENDPOINT_TALLIES = """
-- Add what these outcomes (by their n) say of endpoints to their health. Successes of endpoints that were healthy lock
-- and write nothing. Endpoints that somebody else has locked are skipped, and their count is lost.
-- Answers [endpoint, since] of those that have failed for longer than disable_seconds; NULL for none.
CREATE OR REPLACE FUNCTION endpoint_tallies(outcomes json, counted int[], all_good boolean, disable_seconds int) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  answer jsonb;
  ids text[];
BEGIN
  SELECT array_agg(DISTINCT o.endpoint_id) INTO ids
  FROM json_to_recordset(outcomes) AS o (n int, endpoint_id text) WHERE o.n = ANY (counted);
  IF all_good THEN
    SELECT array_agg(e.id) INTO ids FROM endpoints e
    WHERE e.id = ANY (ids) AND (e.consecutive_failures <> 0 OR e.last_outcome IS DISTINCT FROM 'success');
    IF ids IS NULL THEN
      RETURN NULL;
    END IF;
  END IF;
  WITH told AS MATERIALIZED (
    SELECT o.n, o.endpoint_id, o.outcome,
      max(o.n) FILTER (WHERE o.outcome = 'success') OVER (PARTITION BY o.endpoint_id) AS last_good
    FROM json_to_recordset(outcomes) AS o (n int, endpoint_id text, outcome text)
    WHERE o.n = ANY (counted) AND o.endpoint_id = ANY (ids)
  ), tallies AS MATERIALIZED (
    SELECT t.endpoint_id, max(t.last_good) IS NOT NULL AS succeeded,
      count(*) FILTER (WHERE t.last_good IS NULL OR t.n > t.last_good) AS failures,
      (array_agg(t.outcome ORDER BY t.n DESC))[1] AS outcome
    FROM told t GROUP BY t.endpoint_id
  ), locked AS MATERIALIZED (
    SELECT e.id FROM endpoints e JOIN tallies t ON t.endpoint_id = e.id
    WHERE e.id = ANY (ids)
      AND NOT (t.succeeded AND t.failures = 0 AND e.consecutive_failures = 0 AND e.last_outcome = 'success') IS TRUE
    FOR UPDATE OF e SKIP LOCKED
  ), updated AS (
    UPDATE endpoints AS e SET
      consecutive_failures = t.failures + CASE WHEN t.succeeded THEN 0 ELSE e.consecutive_failures END,
      failing_since = CASE WHEN t.failures = 0 THEN NULL WHEN t.succeeded THEN now()
        ELSE coalesce(e.failing_since, now()) END,
      last_outcome = t.outcome
    FROM locked l JOIN tallies t ON t.endpoint_id = l.id WHERE e.id = l.id AND e.id = ANY (ids)
    RETURNING e.id, e.failing_since, e.status
  )
  SELECT jsonb_agg(jsonb_build_array(u.id, u.failing_since)) INTO answer FROM updated u
  WHERE u.failing_since <= now() - make_interval(secs => disable_seconds) AND u.status = 'enabled';
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
-- been recorded by a call whose answer was lost: if so, nothing is written.
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
  all_good boolean;
  failing jsonb;
BEGIN
  SELECT array_agg(DISTINCT o.delivery_id), min(o.created_at), max(o.created_at),
    array_agg(o.attempt_id) FILTER (WHERE o.doubtful), array_agg(o.attempt_at) FILTER (WHERE o.doubtful)
  INTO ids, first_at, last_at, doubtful, doubtful_at
  FROM json_to_recordset(outcomes) AS o (
    delivery_id text, created_at timestamptz, attempt_id text, attempt_at timestamptz, doubtful boolean
  );
  IF doubtful IS NOT NULL THEN
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
    bool_and(k.outcome = 'success') FILTER (WHERE NOT (k.is_written OR k.resent OR k.by_us)),
    array_agg(k.endpoint_id) FILTER (WHERE k.moves AND k.status = 'pending'),
    coalesce(array_agg(k.n), '{}')
  INTO answer, counted, all_good, retried, seen
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
  IF counted IS NOT NULL THEN
    failing := endpoint_tallies(outcomes, counted, all_good, disable_seconds);
    IF failing IS NOT NULL THEN
      answer := answer || jsonb_build_object('failing', failing);
    END IF;
  END IF;
  RETURN answer;
END
$$;
"""

DRAIN_ROUND = """
-- One round of a drain: record what has ended, and claim what is due. Either may be NULL.
--
-- outcomes: see record_outcomes. asked: an object.
--   crew: as which this round is stamped; left out: it is not
--   token, lease_seconds: of the leases
--   low_water, walking, after, most_rows, most_endpoints: where to look, and at how many (look_for_due); the first three
--     may be left out
--   granted, limited: what was decided after the last look (take_due); left out: look
--   rooms: by lane, the room of an endpoint that this drain does not know; known: by endpoint, {lane, fast, new, slow}:
--     its rooms, and `slow` when it hangs, `fast` when it has just answered; left out: only look
--   free: by lane, how many rows may be taken without sharing; a lane that is left out gets nothing
--   answering: endpoints that have just answered; they are looked at, however many others there are
--   alone: whether a row that has lost claims may be taken; `only`: nothing else
--
-- Answers one row whose note is an object, then one for each row taken. note: now, recorded (see record_outcomes); after,
-- where the next walk begins; low,
-- complete, walked (look_for_due); left: whether rows are due for which there was no room; ended: endpoints that are disabled or deleted and have something due; wait (take_due);
-- asking: the others, when sharing the places among them is for app/core/webhook/fairness.py to decide: then nothing is
-- taken. As long as every endpoint can have as many rows as it has room for, there is nothing to share.
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
  look record;
  share record;
  taking record;
  endpoint_ids text[] := ARRAY(SELECT jsonb_array_elements_text(asked -> 'among'));
  taken due[];
  suspicious boolean := true;
  first_at timestamptz;
  last_at timestamptz;
BEGIN
  IF outcomes IS NOT NULL THEN
    said := said || jsonb_build_object('recorded', record_outcomes(outcomes, disable_seconds));
  END IF;
  IF asked IS NULL THEN
    RETURN QUERY SELECT said, NULL, NULL::timestamptz, NULL, NULL, NULL, NULL, NULL::timestamptz, NULL::int,
      NULL::timestamptz, NULL::int, NULL::int, NULL, NULL, NULL::bytea, NULL::bytea[], NULL::bytea;
    RETURN;
  END IF;
  -- A stamp that is locked is being written; one of the future is from before the clock was set back.
  IF asked ? 'crew' THEN
    UPDATE drain_rounds r SET stamped_at = now() FROM (
      SELECT crew FROM drain_rounds
      WHERE crew = asked ->> 'crew'
        AND stamped_at NOT BETWEEN now() - interval '1 second' AND now() + interval '10 seconds'
      FOR UPDATE SKIP LOCKED
    ) AS free WHERE r.crew = free.crew;
  END IF;

  IF granted IS NULL THEN
    look := look_for_due(
      low_water, coalesce((asked ->> 'walking')::boolean, false), coalesce(asked ->> 'after', ''),
      (asked ->> 'most_rows')::int, (asked ->> 'most_endpoints')::int,
      ARRAY(SELECT jsonb_array_elements_text(asked -> 'answering'))
    );
    share := share_places(look.asking, look.counts, asked -> 'rooms', asked -> 'known', asked -> 'free');
    said := said || jsonb_build_object('low', look.low, 'after', look.stopped_at, 'complete', look.complete, 'walked', look.walked,
      'ended', share.ended,
      'left', look.walked OR look.counts IS NOT NULL AND (SELECT sum(c) FROM unnest(look.counts) AS c)
        > coalesce((SELECT sum(g.value::int) FROM jsonb_each_text(share.granted) AS g), 0));
    endpoint_ids := share.enabled;
    suspicious := look.suspicious;
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

  RETURN QUERY SELECT said, NULL, NULL::timestamptz, NULL, NULL, NULL, NULL, NULL::timestamptz, NULL::int,
    NULL::timestamptz, NULL::int, NULL::int, NULL, NULL, NULL::bytea, NULL::bytea[], NULL::bytea;
  IF taken IS NOT NULL THEN
    SELECT min(t.event_created_at), max(t.event_created_at) INTO first_at, last_at FROM unnest(taken) AS t;
    RETURN QUERY
      SELECT NULL::jsonb, t.delivery_id, t.created_at, t.workspace_id, t.endpoint_id, t.event_id, t.trigger,
        t.window_started_at, t.window_attempts, t.deadline_at, t.claims - 1 - t.attempt_count,
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

# What drains call, the ones that others use first.
FUNCTIONS = {
    "gcra": GCRA,
    "endpoint_lane": ENDPOINT_LANE,
    "walk_due": WALK_DUE,
    "look_for_due": LOOK_FOR_DUE,
    "share_places": SHARE_PLACES,
    "take_due": TAKE_DUE,
    "take_suspicious": TAKE_SUSPICIOUS,
    "endpoint_tallies": ENDPOINT_TALLIES,
    "record_outcomes": RECORD_OUTCOMES,
    "drain_round": DRAIN_ROUND,
}


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
    # Past SQLAlchemy, which would read the colons of casts as parameters.
    for text in FUNCTIONS.values():
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
