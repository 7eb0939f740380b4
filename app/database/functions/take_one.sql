-- Lease the one row that is due, as take_due does for many: most events come alone. NULL when somebody else holds it, it
-- is not due any more, or has to travel alone.
CREATE OR REPLACE FUNCTION take_one(delivery text, token uuid, lease interval) RETURNS due[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  taken due;
BEGIN
  PERFORM FROM due q
  WHERE q.delivery_id = delivery AND greatest(q.due_at, q.leased_until) <= now()
    AND q.claims - q.attempt_count < 2
  FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  UPDATE due q SET leased_until = now() + lease, lease_token = token, claims = q.claims + 1
  WHERE q.delivery_id = delivery RETURNING q.* INTO taken;
  RETURN ARRAY[taken];
END
$$;
