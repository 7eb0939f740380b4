-- What the receiver is told of a delivery's place: its lane's delivery before it (prev), what has been set aside since
-- the lane's last success (skipped, the last hundred), and whether it comes late itself. A row that was set aside has a
-- seq and no stream.
CREATE OR REPLACE FUNCTION lane_place(row_taken due) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
  SELECT jsonb_build_object(
    'late', row_taken.stream_id IS NULL,
    'prev', row_taken.prev_seq,
    'skipped', (
      SELECT jsonb_agg(l.seq ORDER BY l.seq) FROM (
        SELECT s.seq FROM lane_skips s
        WHERE s.endpoint_id = row_taken.endpoint_id AND s.stream_id = row_taken.stream_id
        ORDER BY s.seq DESC LIMIT 100
      ) AS l
    )
  )
$$;
