-- The next endpoints in id order that have a row due, `most` of them, after `last_id`.
--
-- Without sorting, so that each step jumps: its plan is made while next to nothing is due, and then kept. To read all
-- that is due and sort it is the cheapest then, and costs as much for each endpoint when thousands hang.
CREATE OR REPLACE FUNCTION walk_due(low_water timestamptz, last_id text, most int) RETURNS text[]
LANGUAGE plpgsql VOLATILE
SET enable_sort = off
AS $$
DECLARE
  found_ids text[] := '{}';
  next_id text := last_id;
BEGIN
  WHILE cardinality(found_ids) < most LOOP
    SELECT q.endpoint_id INTO next_id FROM due q
    WHERE q.endpoint_id > next_id AND q.due_at >= low_water AND q.due_at <= now()
      AND (q.leased_until IS NULL OR q.leased_until <= now())
    ORDER BY q.endpoint_id, q.due_at LIMIT 1;
    EXIT WHEN NOT FOUND;
    found_ids := found_ids || next_id;
  END LOOP;
  RETURN found_ids;
END
$$;
