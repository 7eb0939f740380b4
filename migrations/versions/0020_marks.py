"""Notes how far lanes have come, and with which transaction a history of the log begins, so that neither looks through
what has long been over.

The functions are copies of app/database/functions as they were with this migration.
"""

from __future__ import annotations

from alembic import context, op

revision = "0020"
down_revision = "0019"

LANE_LOW = """
-- From which seq on a lane is looked at: all that was before has left it. Dead rows, which nobody can remove while some
-- session holds an old snapshot, are not walked through again and again.
CREATE OR REPLACE FUNCTION lane_low(endpoint text, stream bigint) RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
BEGIN
  RETURN coalesce((SELECT m.low_seq FROM lane_marks m WHERE m.endpoint_id = endpoint AND m.stream_id = stream), 0);
END
$$;
"""

MARK_LANE = """
-- Note how far a lane has come, when a row of it has gone: not more than once a second, and not for a few rows. What comes
-- to a lane later comes behind all that is in it, so a row that is before the first of them now has left it for good.
-- Nobody waits for who notes the same.
CREATE OR REPLACE FUNCTION mark_lane(endpoint text, stream bigint, gone_seq bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  known record;
BEGIN
  SELECT m.low_seq, m.marked_at INTO known FROM lane_marks m WHERE m.endpoint_id = endpoint AND m.stream_id = stream;
  IF gone_seq < coalesce(known.low_seq, 0) + 64 OR known.marked_at > now() - interval '1 second'
    OR NOT pg_try_advisory_xact_lock(hashtext('twofold.lane_marks'), hashtext(endpoint || stream))
  THEN
    RETURN;
  END IF;
  INSERT INTO lane_marks AS m (endpoint_id, stream_id, low_seq, marked_at)
  SELECT endpoint, stream, coalesce(least(min(q.seq), gone_seq), gone_seq), now() FROM (
    SELECT f.seq FROM due f WHERE f.endpoint_id = endpoint AND f.stream_id = stream
      AND f.seq >= coalesce(known.low_seq, 0)
    ORDER BY f.seq LIMIT 1
  ) AS q
  ON CONFLICT (endpoint_id, stream_id) DO UPDATE SET low_seq = greatest(m.low_seq, excluded.low_seq),
    marked_at = excluded.marked_at;
END
$$;
"""

NOTE_SKIP = """
-- Note that a delivery has left its lane without success, for the receiver to be told (lane_place), and forget what it is
-- told no more: the lane's next success forgets all of them in one statement, for which everybody's deliveries wait.
CREATE OR REPLACE FUNCTION note_skip(endpoint text, stream bigint, skipped_seq bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
  INSERT INTO lane_skips (endpoint_id, stream_id, seq, skipped_at) VALUES (endpoint, stream, skipped_seq, now())
  ON CONFLICT DO NOTHING;
  DELETE FROM lane_skips s WHERE s.endpoint_id = endpoint AND s.stream_id = stream AND s.seq <= (
    SELECT o.seq FROM lane_skips o WHERE o.endpoint_id = endpoint AND o.stream_id = stream
    ORDER BY o.seq DESC OFFSET 100 LIMIT 1
  );
END
$$;
"""

LEAVE_LANE = """
-- A row of a lane has gone, however that came: the lane goes on, unless the row was put away and so not the first. What
-- ended there without success is told the receiver until its next success (lane_place).
CREATE OR REPLACE FUNCTION leave_lane() RETURNS trigger
LANGUAGE plpgsql
AS $$
DECLARE
  ended text;
BEGIN
  SELECT d.status INTO ended FROM deliveries d WHERE d.id = OLD.delivery_id AND d.created_at = OLD.created_at;
  IF ended = 'delivered' THEN
    DELETE FROM lane_skips s  -- one behind it may have ended before it, by the same answer
    WHERE s.endpoint_id = OLD.endpoint_id AND s.stream_id = OLD.stream_id AND s.seq < OLD.seq;
  ELSIF ended = 'failed' THEN
    PERFORM note_skip(OLD.endpoint_id, OLD.stream_id, OLD.seq);
  END IF;
  IF OLD.due_at < '9998-01-01 00:00:00+00' THEN
    PERFORM mark_lane(OLD.endpoint_id, OLD.stream_id, OLD.seq);
    PERFORM open_lane(OLD.endpoint_id, OLD.stream_id);
  END IF;
  RETURN NULL;
END
$$;
"""

OPEN_LANE = """
-- Let the first row of a lane that nobody has locked be looked at, if it was put away. It need not be the lane's first:
-- a claim takes no other, and lets that one out where it finds it put away. Where all are locked, whoever looks for lanes
-- whose first row is put away opens it later (app/delivery/lane_rows.py).
CREATE OR REPLACE FUNCTION open_lane(endpoint text, stream bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  first record;
BEGIN
  SELECT q.delivery_id, q.due_at INTO first FROM due q WHERE q.endpoint_id = endpoint AND q.stream_id = stream
    AND q.seq >= lane_low(endpoint, stream)
  ORDER BY q.seq LIMIT 1 FOR UPDATE SKIP LOCKED;
  IF first.due_at >= '9998-01-01 00:00:00+00' THEN
    -- A drain takes it in the same transaction, which knows one time only. Of one that takes long that time is past, and
    -- what became due long ago is looked for seldom.
    UPDATE due q SET due_at = CASE WHEN clock_timestamp() < now() + interval '1 second' THEN now() ELSE clock_timestamp() END
    WHERE q.delivery_id = first.delivery_id;
  END IF;
END
$$;
"""

PARK_WAITING = """
-- Put away rows of lanes that are due and not the first of their lane, until they are: those among an endpoint's `most`
-- oldest. How many. While they are put away their lane's first row cannot end, so that whoever ends it sees them and lets
-- the next one out. Where the first one is being ended now its lane stays as it is.
CREATE OR REPLACE FUNCTION park_waiting(endpoint_ids text[], low_water timestamptz, most int) RETURNS int
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  parked CONSTANT timestamptz := '9998-01-01 00:00:00+00';
  lane record;
  head record;
  changed int;
  total int := 0;
BEGIN
  FOR lane IN
    WITH oldest AS MATERIALIZED (
      SELECT o.* FROM unnest(endpoint_ids) AS g (id) CROSS JOIN LATERAL (
        SELECT q.delivery_id, q.endpoint_id, q.stream_id, q.seq FROM due q
        WHERE q.endpoint_id = g.id AND q.due_at >= low_water AND q.due_at <= now()
          AND (q.leased_until IS NULL OR q.leased_until <= now())
        ORDER BY q.due_at LIMIT most
      ) AS o
      WHERE EXISTS (
        SELECT FROM due f WHERE f.endpoint_id = o.endpoint_id AND f.stream_id = o.stream_id AND f.seq < o.seq
          AND f.seq >= lane_low(o.endpoint_id, o.stream_id)
      )
    ), locked AS MATERIALIZED (
      SELECT q.delivery_id, q.endpoint_id, q.stream_id FROM oldest o JOIN due q ON q.delivery_id = o.delivery_id
      WHERE q.due_at <= now() AND (q.leased_until IS NULL OR q.leased_until <= now()) FOR UPDATE OF q SKIP LOCKED
    )
    SELECT l.endpoint_id, l.stream_id, array_agg(l.delivery_id) AS ids FROM locked l
    WHERE l.stream_id IS NOT NULL GROUP BY l.endpoint_id, l.stream_id
    ORDER BY l.endpoint_id, l.stream_id
  LOOP
    SELECT q.delivery_id, q.seq, q.due_at INTO head FROM due q
    WHERE q.endpoint_id = lane.endpoint_id AND q.stream_id = lane.stream_id
      AND q.seq >= lane_low(lane.endpoint_id, lane.stream_id)
    ORDER BY q.seq LIMIT 1 FOR KEY SHARE SKIP LOCKED;
    UPDATE due q SET due_at = parked WHERE q.delivery_id = ANY (lane.ids) AND q.seq > head.seq;
    GET DIAGNOSTICS changed = ROW_COUNT;
    total := total + changed;
    IF changed > 0 AND head.due_at >= parked THEN
      -- Others may have locked it as this call has, for KEY SHARE: nobody waits for them.
      UPDATE due q SET due_at = now() WHERE q.delivery_id = (
        SELECT h.delivery_id FROM due h WHERE h.delivery_id = head.delivery_id AND h.due_at >= parked
        FOR NO KEY UPDATE SKIP LOCKED
      );
    END IF;
  END LOOP;
  RETURN total;
END
$$;
"""

SET_ASIDE = """
-- Take the first rows of lanes out of them, as far as they are that, not being sent and not locked; which those were.
-- They keep their schedule and their deadline, and arrive late; their lanes go on.
CREATE OR REPLACE FUNCTION set_aside(ids text[]) RETURNS text[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  head record;
  moved text[] := '{}';
BEGIN
  FOR head IN
    SELECT q.delivery_id, q.endpoint_id, q.stream_id, q.seq
    FROM due q JOIN deliveries d ON d.id = q.delivery_id AND d.created_at = q.created_at
    WHERE q.delivery_id = ANY (ids) AND q.stream_id IS NOT NULL
      AND (q.leased_until IS NULL OR q.leased_until <= now())
      AND NOT EXISTS (
        SELECT FROM due f WHERE f.endpoint_id = q.endpoint_id AND f.stream_id = q.stream_id AND f.seq < q.seq
          AND f.seq >= lane_low(q.endpoint_id, q.stream_id)
      )
    FOR UPDATE OF d, q SKIP LOCKED
  LOOP
    UPDATE due q SET stream_id = NULL, leased_until = NULL, lease_token = NULL, waited_seconds = NULL, counted_at = NULL,
      due_at = CASE WHEN q.due_at < '9998-01-01 00:00:00+00' THEN q.due_at ELSE now() END
    WHERE q.delivery_id = head.delivery_id;
    PERFORM note_skip(head.endpoint_id, head.stream_id, head.seq);
    PERFORM open_lane(head.endpoint_id, head.stream_id);
    moved := moved || head.delivery_id;
  END LOOP;
  RETURN moved;
END
$$;
"""

TAKE_DUE = """
-- Lease the oldest due rows of endpoints, at most as many of each as it was granted (granted: an object, endpoint ->
-- most). What another drain holds is passed over, and what has to travel alone. An endpoint with a rate limit gets what
-- that allows now; its row stays locked until this transaction ends, so that two drains never spend the same allowance.
-- Of a lane only the first row is taken (park_waiting puts the others away); what that leaves free is filled, as far as a
-- few looks can.
-- wait: seconds until a rate limit allows the next row that it held back, or until rows that could neither be taken nor
-- put away are worth another look; NULL when there is nothing of the kind.
CREATE OR REPLACE FUNCTION take_due(
  granted jsonb, limited boolean, low_water timestamptz, token uuid, lease interval, OUT taken due[], OUT wait float8
)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  ids text[];
  most int[];
  now_at float8 := extract(epoch FROM now());
  rate record;
  allowed record;
  place int;
  used int;
  some_taken due[];
  in_lanes boolean;
  behind text[];
  behind_at text[];
BEGIN
  SELECT array_agg(g.key), array_agg(g.value::int) INTO ids, most FROM jsonb_each_text(granted) AS g;
  IF limited THEN
    FOR rate IN
      SELECT a.id, a.place, e.rate_tat, e.rate_limit
      FROM unnest(ids) WITH ORDINALITY AS a (id, place)
      LEFT JOIN LATERAL (
        SELECT l.rate_tat, l.rate_limit FROM endpoints l WHERE l.id = a.id AND l.rate_limit IS NOT NULL
        FOR UPDATE SKIP LOCKED
      ) AS e ON true
      WHERE EXISTS (SELECT FROM endpoints x WHERE x.id = a.id AND x.rate_limit IS NOT NULL)
    LOOP
      IF rate.rate_limit IS NULL THEN  -- another drain holds it, and is claiming for it now
        most[rate.place] := 0;
        wait := least(wait, 0.1);
        CONTINUE;
      END IF;
      allowed := gcra(rate.rate_tat, now_at, rate.rate_limit, most[rate.place]);
      IF allowed.granted < most[rate.place] THEN
        most[rate.place] := allowed.granted;
        wait := least(wait, allowed.wait);
      END IF;
    END LOOP;
  END IF;

  FOR look IN 1..3 LOOP
    WITH picked AS MATERIALIZED (
      SELECT p.delivery_id FROM unnest(ids, most) AS g (endpoint_id, most) CROSS JOIN LATERAL (
        SELECT q.delivery_id FROM due q
        WHERE q.endpoint_id = g.endpoint_id AND q.due_at >= low_water AND q.due_at <= now()
          AND (q.leased_until IS NULL OR q.leased_until <= now()) AND q.claims - q.attempt_count < 2
        ORDER BY q.due_at LIMIT g.most FOR UPDATE SKIP LOCKED
      ) AS p
    ), leased AS (
      UPDATE due q SET leased_until = now() + lease, lease_token = token, claims = q.claims + 1
      FROM picked p WHERE q.delivery_id = p.delivery_id RETURNING q.*
    )
    SELECT array_agg(l::due), bool_or(l.stream_id IS NOT NULL) INTO some_taken, in_lanes FROM leased l;
    EXIT WHEN in_lanes IS NOT TRUE;
    -- A statement of its own, which sees all that was committed before these rows were locked.
    behind := ARRAY(
      SELECT t.delivery_id FROM unnest(some_taken) AS t WHERE t.stream_id IS NOT NULL AND EXISTS (
        SELECT FROM due f WHERE f.endpoint_id = t.endpoint_id AND f.stream_id = t.stream_id AND f.seq < t.seq
          AND f.seq >= lane_low(t.endpoint_id, t.stream_id)
      )
    );
    EXIT WHEN cardinality(behind) = 0;
    UPDATE due q SET leased_until = NULL, lease_token = NULL, claims = q.claims - 1 WHERE q.delivery_id = ANY (behind);
    behind_at := ARRAY(SELECT DISTINCT t.endpoint_id FROM unnest(some_taken) AS t WHERE t.delivery_id = ANY (behind));
    some_taken := ARRAY(SELECT t::due FROM unnest(some_taken) AS t WHERE t.delivery_id <> ALL (behind));
    taken := taken || some_taken;
    SELECT array_agg(g.most - (SELECT count(*) FROM unnest(some_taken) AS t WHERE t.endpoint_id = g.id)::int ORDER BY g.no)
    INTO most FROM unnest(ids, most) WITH ORDINALITY AS g (id, most, no);
    some_taken := NULL;
    IF park_waiting(behind_at, low_water, greatest(1000 / cardinality(behind_at), 8)) = 0 OR look = 3 THEN
      wait := least(wait, 0.02);
      EXIT;
    END IF;
  END LOOP;
  taken := nullif(taken || some_taken, '{}');

  IF limited THEN
    UPDATE endpoints e SET rate_tat = (gcra(e.rate_tat, now_at, e.rate_limit, c.used)).next_tat
    FROM (SELECT t.endpoint_id, count(*)::int AS used FROM unnest(taken) AS t GROUP BY t.endpoint_id) AS c
    WHERE e.id = c.endpoint_id AND e.rate_limit IS NOT NULL;
  END IF;
END
$$;
"""

TAKE_SUSPICIOUS = """
-- Lease one row that has lost claims, among the oldest due ones of some endpoints; it has to travel alone. Of a lane
-- only its first.
CREATE OR REPLACE FUNCTION take_suspicious(endpoint_ids text[], token uuid, lease interval) RETURNS due[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  taken due[];
BEGIN
  WITH picked AS MATERIALIZED (
    SELECT q.delivery_id FROM unnest(endpoint_ids) AS a (endpoint_id) CROSS JOIN LATERAL (
      SELECT o.delivery_id, o.claims - o.attempt_count AS lost FROM due o
      WHERE o.endpoint_id = a.endpoint_id AND o.due_at <= now() AND (o.leased_until IS NULL OR o.leased_until <= now())
      ORDER BY o.due_at LIMIT 32
    ) AS oldest JOIN due q ON q.delivery_id = oldest.delivery_id
    WHERE oldest.lost >= 2 AND q.due_at <= now() AND (q.leased_until IS NULL OR q.leased_until <= now())
      AND NOT EXISTS (
        SELECT FROM due f WHERE f.endpoint_id = q.endpoint_id AND f.stream_id = q.stream_id AND f.seq < q.seq
          AND f.seq >= lane_low(q.endpoint_id, q.stream_id)
      )
    LIMIT 1 FOR UPDATE OF q SKIP LOCKED
  ), leased AS (
    UPDATE due q SET leased_until = now() + lease, lease_token = token, claims = q.claims + 1
    FROM picked p WHERE q.delivery_id = p.delivery_id RETURNING q.*
  )
  SELECT array_agg(l::due) INTO taken FROM leased l;
  RETURN taken;
END
$$;
"""

MAKE_TICK = """
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
"""

TABLES = (
    """
    CREATE TABLE lane_marks (
      endpoint_id text NOT NULL,
      stream_id bigint NOT NULL,
      low_seq bigint NOT NULL,
      marked_at timestamptz NOT NULL,
      CONSTRAINT pk_lane_marks PRIMARY KEY (endpoint_id, stream_id)
    )
    """,
    "ALTER TABLE epochs ADD COLUMN first_xid xid8",
)
NEW = (LANE_LOW, MARK_LANE, NOTE_SKIP)
CHANGED = (LEAVE_LANE, OPEN_LANE, PARK_WAITING, SET_ASIDE, TAKE_DUE, TAKE_SUSPICIOUS, MAKE_TICK)


BEFORE = {  # the migrations that have the functions as they were
    "0012": ("MAKE_TICK",),
    "0017": ("LEAVE_LANE", "OPEN_LANE", "PARK_WAITING", "SET_ASIDE", "TAKE_DUE", "TAKE_SUSPICIOUS"),
}


def upgrade() -> None:
    for statement in (*TABLES, *NEW, *CHANGED):
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    bind = op.get_bind()
    for revision_before, names in BEFORE.items():
        module = context.script.get_revision(revision_before).module
        for name in names:
            bind.exec_driver_sql(getattr(module, name))
    for statement in (
        "DROP FUNCTION lane_low",
        "DROP FUNCTION mark_lane",
        "DROP FUNCTION note_skip",
        "DROP TABLE lane_marks",
        "ALTER TABLE epochs DROP COLUMN first_xid",
    ):
        bind.exec_driver_sql(statement)
