-- The ten letters of an id that say when its row was created, after the prefix (app/core/ids.py): the milliseconds
-- since 1970 in Crockford's base 32.
CREATE OR REPLACE FUNCTION id_time(moment timestamptz) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
DECLARE
  left_over bigint := (extract(epoch FROM moment) * 1000)::bigint;
  letters text := '';
BEGIN
  FOR i IN 1..10 LOOP
    letters := substr('0123456789abcdefghjkmnpqrstvwxyz', (left_over & 31)::int + 1, 1) || letters;
    left_over := left_over >> 5;
  END LOOP;
  RETURN letters;
END
$$;
