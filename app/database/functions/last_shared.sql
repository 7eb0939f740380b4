-- Up to which seq a stream is the same as in an earlier history, of which somebody has seen everything up to `seq`; at
-- most `seq`. epoch: of that history. Its numbers ended where the next history began: an event with a later number is
-- not what they saw under that seq. Numbers rise with a stream's seqs, so halving finds the place in some twenty reads.
-- An event that retention has dropped, or from before numbers, is as old as the next one that is kept.
CREATE OR REPLACE FUNCTION last_shared(stream bigint, seq bigint, epoch int) RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
#variable_conflict use_variable
DECLARE
  last_no bigint := (SELECT e.last_no FROM epochs e WHERE e.id > epoch ORDER BY e.id LIMIT 1);
  shared bigint := 0;
  past bigint := seq + 1;
  middle bigint := seq;
BEGIN
  IF last_no IS NULL THEN
    RETURN seq;
  END IF;
  WHILE shared < past - 1 LOOP
    IF coalesce((
      SELECT coalesce(e.no, 0) FROM events e WHERE e.stream_id = stream AND e.seq >= middle ORDER BY e.seq LIMIT 1
    ), last_no + 1) <= last_no THEN
      shared := middle;
    ELSE
      past := middle;
    END IF;
    middle := (shared + past) / 2;
  END LOOP;
  RETURN shared;
END
$$;
