-- Let the first row of a lane that nobody has locked be looked at, if it was put away. It need not be the lane's first:
-- a claim takes no other, and lets that one out where it finds it put away. Where all are locked, whoever looks for lanes
-- whose first row is put away opens it later (app/delivery/lane_rows.py).
CREATE OR REPLACE FUNCTION open_lane(endpoint text, stream bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET enable_sort = off  -- see drain_round
AS $$
DECLARE
  first record;
BEGIN
  SELECT q.delivery_id, q.due_at INTO first FROM due q WHERE q.endpoint_id = endpoint AND q.stream_id = stream
    AND q.seq >= lane_low(endpoint, stream)
  ORDER BY q.seq LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF first.due_at >= '9998-01-01 00:00:00+00' THEN
    -- A drain takes it in the same transaction, which knows one time only. Of one that takes long that time is past, and
    -- what became due long ago is looked for seldom.
    UPDATE due q SET due_at = CASE WHEN clock_timestamp() < now() + interval '1 second' THEN now() ELSE clock_timestamp() END
    WHERE q.delivery_id = first.delivery_id;
  END IF;
END
$$;
