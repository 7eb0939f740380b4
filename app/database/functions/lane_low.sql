-- From which seq on a lane is looked at: all that was before has left it. Dead rows, which nobody can remove while some
-- session holds an old snapshot, are not walked through again and again.
CREATE OR REPLACE FUNCTION lane_low(endpoint text, stream bigint) RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
BEGIN
  RETURN coalesce((SELECT m.low_seq FROM lane_marks m WHERE m.endpoint_id = endpoint AND m.stream_id = stream), 0);
END
$$;
