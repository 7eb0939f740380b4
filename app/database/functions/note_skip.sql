-- Note that a delivery has left its lane without success, for the receiver to be told (lane_place), and forget what it is
-- told no more: the lane's next success forgets all of them in one statement, for which everybody's deliveries wait.
CREATE OR REPLACE FUNCTION note_skip(endpoint text, stream bigint, skipped_seq bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
  INSERT INTO lane_skips (endpoint_id, stream_id, seq, skipped_at) VALUES (endpoint, stream, skipped_seq, now())
  ON CONFLICT DO NOTHING;
  DELETE FROM lane_skips s WHERE s.endpoint_id = endpoint AND s.stream_id = stream AND s.seq <= (
    SELECT o.seq FROM lane_skips o WHERE o.endpoint_id = endpoint AND o.stream_id = stream
    ORDER BY o.seq DESC OFFSET 100 LIMIT 1
  );
END
$$;
