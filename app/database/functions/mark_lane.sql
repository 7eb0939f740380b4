-- Note how far a lane has come, when a row of it has gone: not more than once a second, and not for a few rows. What comes
-- to a lane later comes behind all that is in it, so a row that is before the first of them now has left it for good.
-- Nobody waits for who notes the same.
CREATE OR REPLACE FUNCTION mark_lane(endpoint text, stream bigint, gone_seq bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  known record;
BEGIN
  SELECT m.low_seq, m.marked_at INTO known FROM lane_marks m WHERE m.endpoint_id = endpoint AND m.stream_id = stream;
  IF gone_seq < coalesce(known.low_seq, 0) + 64 OR known.marked_at > now() - interval '1 second'
    OR NOT pg_try_advisory_xact_lock(hashtext('twofold.lane_marks'), hashtext(endpoint || stream))
  THEN
    RETURN;
  END IF;
  INSERT INTO lane_marks AS m (endpoint_id, stream_id, low_seq, marked_at)
  SELECT endpoint, stream, coalesce(least(min(q.seq), gone_seq), gone_seq), now() FROM (
    SELECT f.seq FROM due f WHERE f.endpoint_id = endpoint AND f.stream_id = stream
      AND f.seq >= coalesce(known.low_seq, 0)
    ORDER BY f.seq LIMIT 1
  ) AS q
  ON CONFLICT (endpoint_id, stream_id) DO UPDATE SET low_seq = greatest(m.low_seq, excluded.low_seq),
    marked_at = excluded.marked_at;
END
$$;
