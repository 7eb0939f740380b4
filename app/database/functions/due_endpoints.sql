-- The next endpoints in id order that have a row due, `most` of them, after `last_id`: all that is due is read for it,
-- in one pass. For where thousands of endpoints wait for a later time, and few have anything due.
CREATE OR REPLACE FUNCTION due_endpoints(low_water timestamptz, last_id text, most int) RETURNS text[]
LANGUAGE sql VOLATILE
SET enable_sort = on
AS $$
WITH free AS MATERIALIZED (
  SELECT q.endpoint_id FROM due q
  WHERE q.due_at >= low_water AND q.due_at <= now() AND (q.leased_until IS NULL OR q.leased_until <= now())
)
SELECT ARRAY(SELECT DISTINCT f.endpoint_id FROM free f WHERE f.endpoint_id > last_id ORDER BY f.endpoint_id LIMIT most)
$$;
