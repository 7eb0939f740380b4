-- Record what came of attempts, each an object of a JSON array (app/delivery/outcomes.py makes them): append them to the
-- log, move their deliveries on, bring their endpoints' health up to date. Waits for no lock: what somebody else has
-- locked is left as it is.
--
-- A delivery moves only for the drain that holds its lease, or for a success, but in a lane not while somebody else
-- sends it: the next one would go out beside it. What it becomes has been decided by
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
  put_away text[];
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
      resent boolean, by_us boolean, status text, reason text, due_at timestamptz, phases_ms int[], reused boolean,
      batch_id text, batch_size int, batch_position int, batch_most int, uncounted boolean
    )
  ), held AS MATERIALIZED (
    SELECT d.id, d.status, d.reason, d.attempt_count FROM deliveries d
    WHERE d.id = ANY (ids) AND d.created_at BETWEEN first_at AND last_at FOR UPDATE SKIP LOCKED
  ), owned AS MATERIALIZED (
    SELECT q.delivery_id, q.lease_token, (q.stream_id IS NOT NULL AND q.leased_until > now()) IS TRUE AS is_in_turn
    FROM due q WHERE q.delivery_id = ANY (ids) FOR UPDATE SKIP LOCKED
  ), known AS MATERIALIZED (
    SELECT g.*, h.status AS old_status, h.reason AS old_reason, h.attempt_count, g.attempt_id = ANY (written) AS is_written,
      h.status = 'pending' AND NOT g.resent AND NOT g.attempt_id = ANY (written)
        AND (q.lease_token = g.lease_token OR g.outcome = 'success' AND NOT q.is_in_turn) IS TRUE AS moves
    FROM given g JOIN held h ON h.id = g.delivery_id LEFT JOIN owned q ON q.delivery_id = g.delivery_id
    WHERE h.status <> 'pending' OR q.delivery_id IS NOT NULL
  ), moved AS MATERIALIZED (
    SELECT k.delivery_id, count(*) AS attempts, count(*) FILTER (WHERE k.resent) AS resent, bool_or(k.moves) AS moves,
      max(k.status) FILTER (WHERE k.moves) AS status, max(k.reason) FILTER (WHERE k.moves) AS reason,
      max(k.due_at) FILTER (WHERE k.moves) AS due_at, max(k.batch_most) FILTER (WHERE k.moves) AS batch_most,
      bool_and(k.uncounted IS NOT TRUE) FILTER (WHERE k.moves) AS counts
    FROM known k WHERE NOT k.is_written GROUP BY k.delivery_id
  ), changed AS (
    UPDATE deliveries d SET
      attempt_count = d.attempt_count + m.attempts,
      -- A person's attempt in the middle of a window does not use up one of the schedule.
      window_attempts = d.window_attempts
        + CASE WHEN m.moves AND m.counts AND (d.trigger <> 'manual' OR d.window_attempts = 0) THEN 1 ELSE 0 END,
      status = CASE WHEN m.moves THEN m.status ELSE d.status END,
      reason = CASE WHEN m.moves THEN m.reason ELSE d.reason END,
      trigger = CASE WHEN m.moves AND m.status = 'pending' THEN 'schedule' ELSE d.trigger END,
      finished_at = CASE WHEN m.moves AND m.status <> 'pending' THEN now() ELSE d.finished_at END
    FROM moved m WHERE d.id = m.delivery_id AND d.id = ANY (ids) AND d.created_at BETWEEN first_at AND last_at
  ), ended AS (
    DELETE FROM due q WHERE q.delivery_id = ANY (ARRAY(
      SELECT m.delivery_id FROM moved m WHERE m.moves AND m.status <> 'pending'
    ))
  ), kept AS (
    UPDATE due q SET
      attempt_count = q.attempt_count + m.attempts,
      claims = q.claims + m.resent,  -- there is one for each attempt, so that a lost one is seen
      window_attempts = q.window_attempts
        + CASE WHEN m.moves AND m.counts AND (q.trigger <> 'manual' OR q.window_attempts = 0) THEN 1 ELSE 0 END,
      batch_most = coalesce(m.batch_most, q.batch_most),
      -- What was to wait behind others of its stream does not when its endpoint keeps order no more.
      due_at = CASE WHEN m.moves AND m.due_at >= '9998-01-01 00:00:00+00' AND q.stream_id IS NULL THEN now()
        WHEN m.moves THEN m.due_at ELSE q.due_at END,
      trigger = CASE WHEN m.moves THEN 'schedule' ELSE q.trigger END,
      leased_until = CASE WHEN m.moves THEN NULL ELSE q.leased_until END,
      lease_token = CASE WHEN m.moves THEN NULL ELSE q.lease_token END
    FROM moved m
    WHERE q.delivery_id = m.delivery_id AND q.delivery_id = ANY (ids) AND NOT (m.moves AND m.status <> 'pending')
  ), logged AS (
    INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
      error, status_code, remote_address, response_headers, response_body, trigger,
      dns_ms, connect_ms, tls_ms, first_byte_ms, connection_reused, batch_id, batch_size, batch_position)
    SELECT k.attempt_id, k.attempt_at, k.workspace_id, k.endpoint_id, k.delivery_id,
      k.attempt_count + row_number() OVER (PARTITION BY k.delivery_id ORDER BY k.n), k.started_at, k.duration_ms,
      k.outcome, k.error, k.status_code, k.remote_address, k.response_headers, decode(k.response_body, 'base64'), k.trigger,
      k.phases_ms[1], k.phases_ms[2], k.phases_ms[3], k.phases_ms[4], k.reused,
      k.batch_id, k.batch_size, k.batch_position
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
    array_agg(k.delivery_id) FILTER (WHERE k.moves AND k.due_at >= '9998-01-01 00:00:00+00'),
    coalesce(array_agg(k.n), '{}')
  INTO answer, counted, told, all_good, retried, put_away, seen
  FROM known k;

  IF put_away IS NOT NULL THEN  -- what was before them may have gone meanwhile, and found them being sent
    PERFORM open_lane(l.endpoint_id, l.stream_id) FROM (
      SELECT DISTINCT q.endpoint_id, q.stream_id FROM (SELECT * FROM due WHERE delivery_id = ANY (put_away) OFFSET 0) AS q
      WHERE q.stream_id IS NOT NULL
    ) AS l;
  END IF;

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
