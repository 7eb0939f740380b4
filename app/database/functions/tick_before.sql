-- The newest tick that is known to be before an event: whoever reads the feed from there on reads that event. An array of
-- its id, epoch, mark, no and snapshot; NULL when there is none any more.
--
-- A tick is given the highest number first and takes its snapshot then, so the last one with a lower number may see the
-- event nevertheless. Those before it cannot.
CREATE OR REPLACE FUNCTION tick_before(stored_by xid8, numbered bigint) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
  SELECT jsonb_build_array(near.id, near.epoch, near.mark, near.no, near.snapshot::text)
  FROM (SELECT * FROM ticks t WHERE t.no < numbered ORDER BY t.no DESC, t.id DESC LIMIT 10) AS near
  WHERE NOT pg_visible_in_snapshot(stored_by, near.snapshot) ORDER BY near.no DESC, near.id DESC LIMIT 1
$$;
