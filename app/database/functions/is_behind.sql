-- Whether something waits in a lane before a place (a row's seq); false where there is no lane. In the snapshot of the
-- statement that asks. A function, so that no plan can turn it into a join with all that waits (see drain_round).
CREATE OR REPLACE FUNCTION is_behind(endpoint text, stream bigint, place bigint) RETURNS boolean
LANGUAGE plpgsql STABLE
SET enable_sort = off
AS $$
BEGIN
  RETURN (
    SELECT f.seq FROM due f WHERE f.endpoint_id = endpoint AND f.stream_id = stream AND f.seq < place
      AND f.seq >= lane_low(endpoint, stream)
    ORDER BY f.seq LIMIT 1
  ) IS NOT NULL;
END
$$;
