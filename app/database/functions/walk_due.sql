-- The next endpoints in id order that have a row due, `most` of them, after `last_id`.
--
-- It goes to the first row of the next endpoint, whose time tells whether anything of that is due. Without sorting, so
-- that each step jumps: its plans are made while next to nothing is due, and then kept. To read all that is due and sort
-- it is the cheapest then, and costs as much for each endpoint when thousands hang. One endpoint has its bounds twice:
-- with `=` the order by time alone would do, and the index on it read all that is due.
--
-- After four steps for each one that is wanted, most of those on the way have nothing due: on by due_endpoints.
CREATE OR REPLACE FUNCTION walk_due(low_water timestamptz, last_id text, most int) RETURNS text[]
LANGUAGE plpgsql VOLATILE
SET enable_sort = off
AS $$
DECLARE
  found_ids text[] := '{}';
  next_id text := last_id;
  first_at timestamptz;
  is_free boolean;
BEGIN
  FOR step IN 1 .. 4 * most LOOP
    SELECT q.endpoint_id, q.due_at, q.leased_until IS NULL OR q.leased_until <= now()
    INTO next_id, first_at, is_free FROM due q
    WHERE q.endpoint_id > next_id AND q.due_at >= low_water
    ORDER BY q.endpoint_id, q.due_at LIMIT 1;
    IF NOT FOUND THEN
      RETURN found_ids;
    END IF;
    CONTINUE WHEN first_at > now();
    IF NOT is_free THEN
      PERFORM FROM due q
      WHERE q.endpoint_id >= next_id AND q.endpoint_id <= next_id AND q.due_at >= low_water AND q.due_at <= now()
        AND (q.leased_until IS NULL OR q.leased_until <= now())
      ORDER BY q.endpoint_id, q.due_at LIMIT 1;
      CONTINUE WHEN NOT FOUND;
    END IF;
    found_ids := found_ids || next_id;
    IF cardinality(found_ids) = most THEN
      RETURN found_ids;
    END IF;
  END LOOP;
  RETURN found_ids || due_endpoints(low_water, next_id, most - cardinality(found_ids));
END
$$;
