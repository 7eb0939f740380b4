-- Record one outcome in the plain case, as record_outcomes does for many: the same changes by short statements,
-- which cost half of what its one query does; most events come alone. That is an outcome that is neither in doubt nor
-- followed by another attempt, of a pending delivery that nobody else has locked, for the drain that holds its lease or
-- for a success (in a lane: if nobody else sends it now).
--
-- Answers as record_outcomes does; NULL when it is not such an outcome: then nothing has been changed.
CREATE OR REPLACE FUNCTION record_one(given json, disable_seconds int) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  o record;
  attempts_before int;
  token uuid;
  is_in_turn boolean;  -- of a lane, and somebody sends it now
  answer jsonb := '{}';
  failing jsonb;
BEGIN
  SELECT * INTO o FROM json_to_record(given) AS g (
    n int, attempt_id text, attempt_at timestamptz, delivery_id text, created_at timestamptz, workspace_id text,
    endpoint_id text, lease_token uuid, trigger text, started_at timestamptz, duration_ms int, outcome text, error text,
    status_code int, remote_address text, response_headers jsonb, response_body text,
    resent boolean, by_us boolean, doubtful boolean, status text, reason text, due_at timestamptz,
    phases_ms int[], reused boolean,
    batch_id text, batch_size int, batch_position int, batch_most int, uncounted boolean
  );
  IF o.resent OR o.doubtful THEN
    RETURN NULL;
  END IF;
  SELECT d.attempt_count INTO attempts_before FROM deliveries d
  WHERE d.id = o.delivery_id AND d.created_at = o.created_at AND d.status = 'pending' FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  SELECT q.lease_token, (q.stream_id IS NOT NULL AND q.leased_until > now()) IS TRUE INTO token, is_in_turn
  FROM due q WHERE q.delivery_id = o.delivery_id FOR UPDATE SKIP LOCKED;
  IF NOT FOUND OR (token = o.lease_token OR o.outcome = 'success' AND NOT is_in_turn) IS NOT TRUE THEN
    RETURN NULL;
  END IF;

  UPDATE deliveries d SET
    attempt_count = d.attempt_count + 1,
    -- A person's attempt in the middle of a window does not use up one of the schedule.
    window_attempts = d.window_attempts
      + CASE WHEN (d.trigger <> 'manual' OR d.window_attempts = 0) AND o.uncounted IS NOT TRUE THEN 1 ELSE 0 END,
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
      window_attempts = q.window_attempts
        + CASE WHEN (q.trigger <> 'manual' OR q.window_attempts = 0) AND o.uncounted IS NOT TRUE THEN 1 ELSE 0 END,
      batch_most = coalesce(o.batch_most, q.batch_most),
      -- What was to wait behind others of its stream does not when its endpoint keeps order no more.
      due_at = CASE WHEN o.due_at >= '9998-01-01 00:00:00+00' AND q.stream_id IS NULL THEN now() ELSE o.due_at END,
      trigger = 'schedule', leased_until = NULL, lease_token = NULL
    WHERE q.delivery_id = o.delivery_id;
    IF o.due_at >= '9998-01-01 00:00:00+00' THEN  -- what was before it may have gone meanwhile, and found it being sent
      PERFORM open_lane(q.endpoint_id, q.stream_id) FROM due q
      WHERE q.delivery_id = o.delivery_id AND q.stream_id IS NOT NULL;
    END IF;
    IF NOT EXISTS (SELECT FROM endpoints e WHERE e.id = o.endpoint_id AND e.status = 'enabled') THEN
      answer := jsonb_build_object('unwanted', jsonb_build_array(o.endpoint_id));
    END IF;
  END IF;
  INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
    error, status_code, remote_address, response_headers, response_body, trigger,
    dns_ms, connect_ms, tls_ms, first_byte_ms, connection_reused, batch_id, batch_size, batch_position)
  VALUES (o.attempt_id, o.attempt_at, o.workspace_id, o.endpoint_id, o.delivery_id, attempts_before + 1, o.started_at,
    o.duration_ms, o.outcome, o.error, o.status_code, o.remote_address, o.response_headers,
    decode(o.response_body, 'base64'), o.trigger,
    o.phases_ms[1], o.phases_ms[2], o.phases_ms[3], o.phases_ms[4], o.reused,
    o.batch_id, o.batch_size, o.batch_position)
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
