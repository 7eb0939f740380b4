-- Lease one row that has lost claims, among the oldest due ones of some endpoints; it has to travel alone. Of a lane
-- only its first.
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
      AND NOT EXISTS (
        SELECT FROM due f WHERE f.endpoint_id = q.endpoint_id AND f.stream_id = q.stream_id AND f.seq < q.seq
          AND f.seq >= lane_low(q.endpoint_id, q.stream_id)
      )
    LIMIT 1 FOR UPDATE OF q SKIP LOCKED
  ), leased AS (
    UPDATE due q SET leased_until = now() + lease, lease_token = token, claims = q.claims + 1
    FROM picked p WHERE q.delivery_id = p.delivery_id RETURNING q.*
  )
  SELECT array_agg(l::due) INTO taken FROM leased l;
  RETURN taken;
END
$$;
