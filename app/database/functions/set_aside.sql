-- Take the first rows of lanes out of them, as far as they are that, not being sent and not locked; which those were.
-- They keep their schedule and their deadline, and arrive late; their lanes go on.
CREATE OR REPLACE FUNCTION set_aside(ids text[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  head record;
  moved text[] := '{}';
BEGIN
  FOR head IN
    SELECT q.delivery_id, q.endpoint_id, q.stream_id, q.seq
    FROM due q JOIN deliveries d ON d.id = q.delivery_id AND d.created_at = q.created_at
    WHERE q.delivery_id = ANY (ids) AND num_nonnulls(q.stream_id) = 1
      AND (q.leased_until IS NULL OR q.leased_until <= now())
      AND NOT is_behind(q.endpoint_id, q.stream_id, q.seq)
    FOR UPDATE OF d, q SKIP LOCKED
  LOOP
    UPDATE due q SET stream_id = NULL, leased_until = NULL, lease_token = NULL, waited_seconds = NULL, counted_at = NULL,
      due_at = CASE WHEN q.due_at < '9998-01-01 00:00:00+00' THEN q.due_at ELSE now() END
    WHERE q.delivery_id = head.delivery_id;
    PERFORM note_skip(head.endpoint_id, head.stream_id, head.seq);
    PERFORM open_lane(head.endpoint_id, head.stream_id);
    moved := moved || head.delivery_id;
  END LOOP;
  RETURN moved;
END
$$;
