-- For how many milliseconds a call that waits until a time may wait for its next lock, which is set then. Set anew only
-- when some of it is used up: most locks are free. At least one: none at all would mean for ever.
CREATE OR REPLACE FUNCTION less_to_wait(last_milliseconds int, wait_until timestamptz) RETURNS int
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  milliseconds int := greatest(1, extract(epoch FROM wait_until - clock_timestamp()) * 1000);
BEGIN
  IF milliseconds < last_milliseconds - 20 OR milliseconds = 1 THEN
    PERFORM set_config('lock_timeout', milliseconds || 'ms', true);
    RETURN milliseconds;
  END IF;
  RETURN last_milliseconds;
END
$$;
