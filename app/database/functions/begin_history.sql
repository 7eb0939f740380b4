-- Begin a new history of the log: for whoever has restored a backup that PostgreSQL itself does not tell from a restart (a
-- copy of its files that was started without recovery.signal). To be called before the first event is accepted.
CREATE OR REPLACE FUNCTION begin_history() RETURNS int
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
  PERFORM pg_advisory_xact_lock(7305, 1);
  UPDATE epochs SET server = 'ended' WHERE id = (SELECT max(e.id) FROM epochs e);
  RETURN (make_tick(0)).epoch;
END
$$;
