"""Makes what tells one history of the log from the next, and where a stream of both parts.

The functions are copies of app/database/functions as they were with this migration.
"""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"

CHECK_HISTORY = """
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
"""

BEGIN_HISTORY = """
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
"""

LAST_SHARED = """
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
"""


def upgrade() -> None:
    for statement in (CHECK_HISTORY, BEGIN_HISTORY, LAST_SHARED):
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    for name in ("check_history", "begin_history", "last_shared"):
        op.execute(f"DROP FUNCTION {name}")
