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
