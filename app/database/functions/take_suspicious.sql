-- Lease one row that has lost claims, among the oldest due ones of some endpoints; it has to travel alone. Of a lane
-- only its first.
CREATE OR REPLACE FUNCTION take_suspicious(endpoint_ids text[], token uuid, lease interval) RETURNS due[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  taken due[];
BEGIN
  WITH picked AS MATERIALIZED (
    SELECT q.delivery_id FROM due q WHERE q.delivery_id = ANY (ARRAY(
        SELECT oldest.delivery_id FROM unnest(endpoint_ids) AS a (endpoint_id) CROSS JOIN LATERAL (
          SELECT o.delivery_id, o.claims - o.attempt_count AS lost FROM due o
          WHERE (o.endpoint_id, o.due_at) >= (a.endpoint_id, '-infinity'::timestamptz)
            AND (o.endpoint_id, o.due_at) <= (a.endpoint_id, now()) AND (o.leased_until IS NULL OR o.leased_until <= now())
          ORDER BY o.endpoint_id, o.due_at LIMIT 32
        ) AS oldest WHERE oldest.lost >= 2
      ))
      AND greatest(q.due_at, q.leased_until) <= now()
      AND NOT is_behind(q.endpoint_id, q.stream_id, q.seq)
    LIMIT 1 FOR UPDATE SKIP LOCKED
  ), leased AS (
    UPDATE due q SET leased_until = now() + lease, lease_token = token, claims = q.claims + 1
    WHERE q.delivery_id = ANY (ARRAY(SELECT p.delivery_id FROM picked p)) RETURNING q.*
  )
  SELECT array_agg(l::due) INTO taken FROM leased l;
  RETURN taken;
END
$$;
