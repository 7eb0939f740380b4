-- Which history of the log the present server goes on with, and since when the server runs. On another server than the
-- last one's a new history is written first. Whoever makes a tick at this moment is waited for: beside him make_tick
-- would answer with an older one.
CREATE OR REPLACE FUNCTION check_history(OUT epoch int, OUT started timestamptz)
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(7305, 1);
  epoch := (make_tick(0)).epoch;
  started := pg_postmaster_start_time();
END
$$;
