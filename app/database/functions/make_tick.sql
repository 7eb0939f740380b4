-- The newest tick, made now if events were stored since the last one and nobody else makes one at this moment.
--
-- A tick is a snapshot: it tells which transactions had ended. Its statement comes behind the lock, so a tick sees all
-- that the one before has seen. The number is read before the snapshot is taken: of every event with such a number the
-- transaction had its own number by then, so the snapshot either sees it, or names it as under way, or it is one of those
-- behind the last that had ended, which a snapshot does not name. There was none of these if the tick's own transaction,
-- which is in the row's xmin, got the first number behind. Hence nothing new can have come when the number is the same,
-- the last snapshot named none, and its tick followed at once.
--
-- least_milliseconds: between two ticks. A server with another identifier or timeline than the last one's has another
-- history: its epoch is written first, with the last tick and number of what it took over, and with the first
-- transaction that can store an event of its own: none is accepted before the epoch is written.
CREATE OR REPLACE FUNCTION make_tick(least_milliseconds int) RETURNS ticks
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  last ticks;
  numbered bigint;
  present epochs;
  server text;
  followed_at_once boolean;
BEGIN
  SELECT t.* INTO last FROM ticks t ORDER BY t.id DESC LIMIT 1;
  IF last.created_at BETWEEN clock_timestamp() - make_interval(secs => least_milliseconds / 1000.0) AND clock_timestamp()
    OR NOT pg_try_advisory_xact_lock(7305, 1)
  THEN
    RETURN last;
  END IF;
  server := (SELECT system_identifier FROM pg_control_system()) || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8);
  SELECT t.* INTO last FROM ticks t ORDER BY t.id DESC LIMIT 1;
  followed_at_once := (
    SELECT t.xmin::text::bigint = pg_snapshot_xmax(t.snapshot)::text::bigint & 4294967295 FROM ticks t WHERE t.id = last.id
  );
  SELECT e.* INTO present FROM epochs e ORDER BY e.id DESC LIMIT 1;
  numbered := (SELECT CASE WHEN s.is_called THEN s.last_value ELSE 0 END FROM event_numbers s);
  IF present.server IS DISTINCT FROM server THEN
    INSERT INTO epochs (id, server, last_tick, last_no, first_xid, created_at)
    SELECT coalesce(present.id + 1, 0), server, coalesce(last.id, 0),
      CASE WHEN present.id IS NULL THEN 0 ELSE numbered END, pg_snapshot_xmin(pg_current_snapshot()), clock_timestamp()
    RETURNING * INTO present;
  ELSIF last.no = numbered AND pg_snapshot_xmin(last.snapshot) = pg_snapshot_xmax(last.snapshot)
    AND last.epoch = present.id AND followed_at_once
  THEN
    RETURN last;
  END IF;
  INSERT INTO ticks (epoch, mark, no, snapshot, created_at)
  VALUES (present.id, floor(random() * 4e18)::bigint + 1, numbered, pg_current_snapshot(), clock_timestamp())
  RETURNING * INTO last;
  RETURN last;
END
$$;
