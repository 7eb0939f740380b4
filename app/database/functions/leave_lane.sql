-- A row of a lane has gone, however that came: the lane goes on, unless the row was put away and so not the first. What
-- ended there without success is told the receiver until its next success (lane_place).
CREATE OR REPLACE FUNCTION leave_lane() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
  ended text;
BEGIN
  SELECT d.status INTO ended FROM deliveries d WHERE d.id = OLD.delivery_id AND d.created_at = OLD.created_at;
  IF ended = 'delivered' THEN
    DELETE FROM lane_skips s  -- one behind it may have ended before it, by the same answer
    WHERE s.endpoint_id = OLD.endpoint_id AND s.stream_id = OLD.stream_id AND s.seq < OLD.seq;
  ELSIF ended = 'failed' THEN
    PERFORM note_skip(OLD.endpoint_id, OLD.stream_id, OLD.seq);
  END IF;
  IF OLD.due_at < '9998-01-01 00:00:00+00' THEN
    PERFORM mark_lane(OLD.endpoint_id, OLD.stream_id, OLD.seq);
    PERFORM open_lane(OLD.endpoint_id, OLD.stream_id);
  END IF;
  RETURN NULL;
END
$$;
