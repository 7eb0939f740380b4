-- Put deliveries that wait for their first attempt, or that wait at all when their endpoint begins to keep order, into
-- their lanes: endpoint and stream, in the order of the seqs. Of each lane only the first of them may be looked at; the
-- others are put away until they are first (leave_lane), unless they are being sent.
--
-- The caller holds the locks of the streams, or keeps everybody from accepting: nobody else makes deliveries of these
-- lanes. What is before the first of them is the lane's last one, if the endpoint has kept order since then.
CREATE OR REPLACE FUNCTION join_lanes(ids text[]) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  coming record;
BEGIN
  IF cardinality(ids) = 0 THEN
    RETURN;
  END IF;
  FOR coming IN
    SELECT q.delivery_id, q.endpoint_id, v.stream_id, v.seq,
      lag(v.seq) OVER (PARTITION BY q.endpoint_id, v.stream_id ORDER BY v.seq) AS before
    FROM (SELECT * FROM due WHERE delivery_id = ANY (ids) OFFSET 0) AS q
    JOIN events v ON v.id = q.event_id AND v.created_at = q.event_created_at
  LOOP
    UPDATE due q SET stream_id = coming.stream_id, seq = coming.seq,
      prev_seq = coalesce(coming.before, (
        SELECT l.tail_seq FROM lanes l JOIN endpoints e ON e.id = l.endpoint_id AND l.moved_at >= e.ordered_at
        WHERE l.endpoint_id = coming.endpoint_id AND l.stream_id = coming.stream_id AND l.tail_seq < coming.seq
      )),
      due_at = CASE WHEN coming.before IS NULL OR q.leased_until > now() THEN q.due_at ELSE '9998-01-01 00:00:00+00' END
    WHERE q.delivery_id = coming.delivery_id;
  END LOOP;
  INSERT INTO lanes AS l (endpoint_id, stream_id, tail_seq, moved_at)
  SELECT q.endpoint_id, q.stream_id, max(q.seq), clock_timestamp()
  FROM (SELECT * FROM due WHERE delivery_id = ANY (ids) OFFSET 0) AS q WHERE q.stream_id IS NOT NULL
  GROUP BY q.endpoint_id, q.stream_id ORDER BY q.endpoint_id, q.stream_id
  ON CONFLICT (endpoint_id, stream_id) DO UPDATE SET tail_seq = greatest(l.tail_seq, excluded.tail_seq),
    moved_at = excluded.moved_at;
END
$$;
