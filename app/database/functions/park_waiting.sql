-- Put away rows of lanes that are due and not the first of their lane, until they are: those among an endpoint's `most`
-- oldest. How many. While they are put away their lane's first row cannot end, so that whoever ends it sees them and lets
-- the next one out. Where the first one is being ended now its lane stays as it is.
CREATE OR REPLACE FUNCTION park_waiting(endpoint_ids text[], low_water timestamptz, most int) RETURNS int
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  parked CONSTANT timestamptz := '9998-01-01 00:00:00+00';
  lane record;
  head record;
  changed int;
  total int := 0;
BEGIN
  FOR lane IN
    WITH oldest AS MATERIALIZED (
      SELECT o.* FROM unnest(endpoint_ids) AS g (id) CROSS JOIN LATERAL (
        SELECT q.delivery_id, q.endpoint_id, q.stream_id, q.seq FROM due q
        WHERE (q.endpoint_id, q.due_at) >= (g.id, low_water) AND (q.endpoint_id, q.due_at) <= (g.id, now())
          AND (q.leased_until IS NULL OR q.leased_until <= now())
        ORDER BY q.endpoint_id, q.due_at LIMIT most
      ) AS o
      WHERE is_behind(o.endpoint_id, o.stream_id, o.seq)
    ), locked AS MATERIALIZED (
      SELECT q.delivery_id, q.endpoint_id, q.stream_id FROM due q
      WHERE q.delivery_id = ANY (ARRAY(SELECT o.delivery_id FROM oldest o))
        AND greatest(q.due_at, q.leased_until) <= now() FOR UPDATE SKIP LOCKED
    )
    SELECT l.endpoint_id, l.stream_id, array_agg(l.delivery_id) AS ids FROM locked l
    WHERE l.stream_id IS NOT NULL GROUP BY l.endpoint_id, l.stream_id
    ORDER BY l.endpoint_id, l.stream_id
  LOOP
    SELECT q.delivery_id, q.seq, q.due_at INTO head FROM due q
    WHERE q.endpoint_id = lane.endpoint_id AND q.stream_id = lane.stream_id
      AND q.seq >= lane_low(lane.endpoint_id, lane.stream_id)
    ORDER BY q.seq LIMIT 1 FOR KEY SHARE SKIP LOCKED;
    UPDATE due q SET due_at = parked WHERE q.delivery_id = ANY (lane.ids) AND q.seq > head.seq;
    GET DIAGNOSTICS changed = ROW_COUNT;
    total := total + changed;
    IF changed > 0 AND head.due_at >= parked THEN
      -- Others may have locked it as this call has, for KEY SHARE: nobody waits for them.
      UPDATE due q SET due_at = now() WHERE q.delivery_id = (
        SELECT h.delivery_id FROM due h WHERE h.delivery_id = head.delivery_id AND h.due_at >= parked
        FOR NO KEY UPDATE SKIP LOCKED
      );
    END IF;
  END LOOP;
  RETURN total;
END
$$;
