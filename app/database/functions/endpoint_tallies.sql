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
