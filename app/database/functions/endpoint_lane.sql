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
