-- Lease once more what is leased with a token: the answer to the call that did so was lost. Of these rows each is handed
-- out as it was then; its claim is not counted again. Those that were to travel behind the first of a lane are put away.
CREATE OR REPLACE FUNCTION take_again(low_water timestamptz, token uuid, lease interval) RETURNS due[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  taken due[];
  behind due[];
BEGIN
  WITH held AS MATERIALIZED (
    SELECT q.delivery_id FROM due q
    WHERE q.lease_token = token AND q.due_at >= low_water AND q.due_at <= now() ORDER BY q.due_at FOR UPDATE SKIP LOCKED
  ), leased AS (
    UPDATE due q SET leased_until = now() + lease
    WHERE q.delivery_id = ANY (ARRAY(SELECT h.delivery_id FROM held h)) RETURNING q.*
  )
  SELECT array_agg(l::due) INTO taken FROM leased l;
  IF EXISTS (SELECT FROM unnest(taken) AS t WHERE t.stream_id IS NOT NULL) THEN
    WITH held AS MATERIALIZED (
      SELECT f.delivery_id FROM unnest(taken) AS t CROSS JOIN LATERAL (
        SELECT q.delivery_id FROM due q
        WHERE q.endpoint_id = t.endpoint_id AND q.stream_id = t.stream_id AND q.seq > t.seq AND q.lease_token = token
        ORDER BY q.seq FOR UPDATE SKIP LOCKED
      ) AS f
    ), leased AS (
      UPDATE due q SET leased_until = now() + lease
      WHERE q.delivery_id = ANY (ARRAY(SELECT h.delivery_id FROM held h)) RETURNING q.*
    )
    SELECT array_agg(l::due) INTO behind FROM leased l;
  END IF;
  RETURN taken || behind;
END
$$;
