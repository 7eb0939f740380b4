"""Makes lanes: deliveries of an endpoint that keeps order go out one after the other within each stream.

What waits in a lane says so in its row of `due`, and is put away there until it is the lane's first. No row is written
anew. The functions are copies of app/database/functions as they were with this migration. Processes of the release before
go on: what they call takes and answers what it did, and they keep lanes, because the functions do.
"""

from __future__ import annotations

from alembic import context, op

revision = "0017"
down_revision = "0016"

JOIN_LANES = """
-- Put deliveries that wait for their first attempt, or that wait at all when their endpoint begins to keep order, into
-- their lanes: endpoint and stream, in the order of the seqs. Of each lane only the first of them may be looked at; the
-- others are put away until they are first (leave_lane), unless they are being sent.
--
-- The caller holds the locks of the streams, or keeps everybody from accepting: nobody else makes deliveries of these
-- lanes. What is before the first of them is the lane's last one, if the endpoint has kept order since then.
CREATE OR REPLACE FUNCTION join_lanes(ids text[]) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
  IF cardinality(ids) = 0 THEN
    RETURN;
  END IF;
  WITH coming AS MATERIALIZED (
    SELECT q.delivery_id, q.endpoint_id, q.created_at, v.stream_id, v.seq,
      lag(v.seq) OVER (PARTITION BY q.endpoint_id, v.stream_id ORDER BY v.seq) AS before
    FROM unnest(ids) AS u (id) JOIN due q ON q.delivery_id = u.id
    JOIN events v ON v.id = q.event_id AND v.created_at = q.event_created_at
  )
  UPDATE due q SET stream_id = c.stream_id, seq = c.seq,
    prev_seq = coalesce(c.before, (
      SELECT l.tail_seq FROM lanes l JOIN endpoints e ON e.id = l.endpoint_id AND l.moved_at >= e.ordered_at
      WHERE l.endpoint_id = c.endpoint_id AND l.stream_id = c.stream_id AND l.tail_seq < c.seq
    )),
    due_at = CASE WHEN c.before IS NULL OR q.leased_until > now() THEN q.due_at ELSE '9998-01-01 00:00:00+00' END
  FROM coming c WHERE q.delivery_id = c.delivery_id;
  INSERT INTO lanes AS l (endpoint_id, stream_id, tail_seq, moved_at)
  SELECT q.endpoint_id, q.stream_id, max(q.seq), clock_timestamp()
  FROM unnest(ids) AS u (id) JOIN due q ON q.delivery_id = u.id WHERE q.stream_id IS NOT NULL
  GROUP BY q.endpoint_id, q.stream_id ORDER BY q.endpoint_id, q.stream_id
  ON CONFLICT (endpoint_id, stream_id) DO UPDATE SET tail_seq = greatest(l.tail_seq, excluded.tail_seq),
    moved_at = excluded.moved_at;
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
    DELETE FROM lane_skips s WHERE s.endpoint_id = OLD.endpoint_id AND s.stream_id = OLD.stream_id;
  ELSIF ended = 'failed' THEN
    INSERT INTO lane_skips (endpoint_id, stream_id, seq, skipped_at)
    VALUES (OLD.endpoint_id, OLD.stream_id, OLD.seq, now()) ON CONFLICT DO NOTHING;
  END IF;
  IF OLD.due_at < '9998-01-01 00:00:00+00' THEN
    PERFORM open_lane(OLD.endpoint_id, OLD.stream_id);
  END IF;
  RETURN NULL;
END
$$;
"""

LANE_PLACE = """
-- What the receiver is told of a delivery's place: its lane's delivery before it (prev), what has been set aside since
-- the lane's last success (skipped, the last hundred), and whether it comes late itself. A row that was set aside has a
-- seq and no stream.
CREATE OR REPLACE FUNCTION lane_place(row_taken due) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
  SELECT jsonb_build_object(
    'late', row_taken.stream_id IS NULL,
    'prev', row_taken.prev_seq,
    'skipped', (
      SELECT jsonb_agg(l.seq ORDER BY l.seq) FROM (
        SELECT s.seq FROM lane_skips s
        WHERE s.endpoint_id = row_taken.endpoint_id AND s.stream_id = row_taken.stream_id
        ORDER BY s.seq DESC LIMIT 100
      ) AS l
    )
  )
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
      )
    FOR UPDATE OF d, q SKIP LOCKED
  LOOP
    UPDATE due q SET stream_id = NULL, leased_until = NULL, lease_token = NULL, waited_seconds = NULL, counted_at = NULL,
      due_at = CASE WHEN q.due_at < '9998-01-01 00:00:00+00' THEN q.due_at ELSE now() END
    WHERE q.delivery_id = head.delivery_id;
    INSERT INTO lane_skips (endpoint_id, stream_id, seq, skipped_at)
    VALUES (head.endpoint_id, head.stream_id, head.seq, now()) ON CONFLICT DO NOTHING;
    PERFORM open_lane(head.endpoint_id, head.stream_id);
    moved := moved || head.delivery_id;
  END LOOP;
  RETURN moved;
END
$$;
"""

ACCEPT_EVENTS = """
-- Accept a group of events in this one statement: judge the callers, lock the streams, drop repeats, number, insert.
-- The rules are those of app/core/event/acceptance.py, which the tests hold this to. Arrays are numbered from 1.
--
-- workspaces, versions: of this group, and of their endpoints as the pairs were made with. callers: the key and the
-- name of the workspace with which a request came. streams, keys: each of the group once. events: in the order of
-- arrival; caller and key 0 mean none. heads, middles and tails are the envelope around the id, the time and the seq; a
-- time that the producer gave is in the middle already. event_late: whether an ended stream still takes the event.
-- event_channels: each the text of an array, NULL for none. pairs: the events and endpoints of which deliveries are made.
-- server_started: the server whose history of the log the caller knows (check_history), NULL for any; on another one
-- nothing is accepted, with SQLSTATE TF001.
--
-- verdicts: for each caller, '' or why its events are not accepted. stale: the endpoints (JSON) of the workspaces whose
-- version is another; nothing has been done then. outcomes: for each event accepted, repeat, conflict (another payload
-- has its key), or the code of a refusal; ids and seqs of those accepted; known_…: for each key, what the event is that
-- has it.
--
-- lock_milliseconds: for how long the call waits for locks, all of them together. Streams are made and locked one after
-- the other, each with what is left; when that is over, the call fails as one lock's time-out does.
CREATE OR REPLACE FUNCTION accept_events(
  lock_milliseconds int, skipping boolean, window_seconds int, most_open int,
  workspaces text[], versions bigint[],
  caller_digests bytea[], caller_workspaces int[], caller_references text[],
  stream_workspaces int[], stream_kinds text[], stream_names text[],
  key_streams int[], keys text[],
  event_callers int[], event_streams int[], event_keys int[], event_types text[], event_times timestamptz[],
  event_ends boolean[], event_late boolean[], event_refused boolean[], event_letters text[], event_digests bytea[],
  event_channels text[], heads bytea[], middles bytea[], tails bytea[],
  pair_events int[], pair_endpoints text[], pair_tests boolean[], pair_letters text[],
  server_started timestamptz DEFAULT NULL,
  OUT verdicts text[], OUT stale text, OUT moment timestamptz, OUT due int,
  OUT outcomes text[], OUT ids text[], OUT seqs bigint[], OUT stream_ids bigint[],
  OUT known_ids text[], OUT known_seqs bigint[], OUT known_types text[], OUT known_times timestamptz[],
  OUT known_created timestamptz[]
)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
#variable_conflict use_variable
DECLARE
  states text[] := array_fill(''::text, ARRAY[cardinality(workspaces)]);
  current_versions bigint[];
  wanted boolean[];
  last_seqs bigint[];
  ended boolean[];
  late_came boolean[];
  known_digests bytea[];
  changed boolean[];
  wait_until CONSTANT timestamptz := clock_timestamp() + make_interval(secs => lock_milliseconds / 1000.0);
  left_milliseconds int := lock_milliseconds;
  finding CURSOR FOR
    SELECT u.no, s.last_seq, s.ended_at IS NOT NULL AS has_ended, s.late_came
    FROM unnest(stream_ids) WITH ORDINALITY AS u (id, no) JOIN streams s ON s.id = u.id
    ORDER BY s.id FOR NO KEY UPDATE OF s;
  in_order boolean;
  found_one record;
  time_letters text;
  stamp bytea;
  accepted int := 0;
  keyed boolean := false;
  original record;
  stream_no int;
  key_no int;
BEGIN
  IF server_started <> pg_postmaster_start_time() THEN
    RAISE EXCEPTION 'the history of the log was not looked at on this server' USING ERRCODE = 'TF001';
  END IF;
  PERFORM set_config('lock_timeout', lock_milliseconds || 'ms', true);
  outcomes := array_fill(''::text, ARRAY[cardinality(event_streams)]);
  ids := array_fill(NULL::text, ARRAY[cardinality(event_streams)]);
  seqs := array_fill(0::bigint, ARRAY[cardinality(event_streams)]);
  known_ids := array_fill(''::text, ARRAY[cardinality(keys)]);
  known_seqs := array_fill(0::bigint, ARRAY[cardinality(keys)]);
  known_types := known_ids;
  known_times := array_fill(NULL::timestamptz, ARRAY[cardinality(keys)]);
  known_created := known_times;
  known_digests := array_fill(NULL::bytea, ARRAY[cardinality(keys)]);
  verdicts := '{}';
  due := 0;

  -- A statement of its own for each key, so that a revocation that has been answered is seen.
  FOR i IN 1..cardinality(caller_digests) LOOP
    verdicts[i] := judge_caller(
      caller_digests[i], 'publish', workspaces[caller_workspaces[i]], caller_references[i]
    );
  END LOOP;

  -- Keep the workspaces from being deleted, except those that somebody is deleting (or giving another uid) now: nobody
  -- waits for that.
  SELECT array_agg(held.endpoints_version ORDER BY u.no), bool_or(held.keeps_order) INTO current_versions, in_order
  FROM unnest(workspaces) WITH ORDINALITY AS u (id, no)
  LEFT JOIN (
    SELECT w.id, w.endpoints_version, w.keeps_order FROM workspaces w
    WHERE w.id = ANY (workspaces) ORDER BY w.id FOR KEY SHARE SKIP LOCKED
  ) held ON held.id = u.id;
  IF current_versions IS DISTINCT FROM versions THEN
    FOR i IN 1..cardinality(workspaces) LOOP
      IF current_versions[i] IS NULL THEN
        PERFORM FROM workspaces w WHERE w.id = workspaces[i];
        states[i] := CASE WHEN FOUND THEN 'changing' ELSE 'not_found' END;
      END IF;
    END LOOP;
    SELECT json_agg(json_build_array(u.id, u.present, (
      SELECT json_agg(endpoint_wants(e) ORDER BY e.id)
      FROM endpoints e WHERE e.workspace_id = u.id AND e.status = 'enabled'
    ))) INTO stale
    FROM unnest(workspaces, versions, current_versions) AS u (id, given, present) WHERE u.present <> u.given;
    IF stale IS NOT NULL THEN
      RETURN;
    END IF;
  END IF;

  -- The workspace's own streams ('_workspace') are made whatever else is open, and are not counted.
  --
  -- New streams first, in the order of their names, then locks, in the order of their ids. Whoever makes a stream waits
  -- only for others who are making it. Whoever waits for a lock waits for a row that he sees, and he sees no new stream
  -- before its maker is done. So nobody waits in a circle.
  SELECT array_agg(coalesce(s.id, 0) ORDER BY u.no) INTO stream_ids
  FROM unnest(stream_workspaces, stream_kinds, stream_names) WITH ORDINALITY AS u (workspace, kind, name, no)
  LEFT JOIN streams s
    ON s.workspace_id = workspaces[u.workspace] AND s.kind = u.kind AND s.external_id = u.name
    AND states[u.workspace] = '';
  IF 0 = ANY (stream_ids) THEN
    wanted := array_fill(false, ARRAY[cardinality(stream_ids)]);
    FOR i IN 1..cardinality(event_streams) LOOP
      stream_no := event_streams[i];
      IF NOT event_refused[i] AND stream_ids[stream_no] = 0 AND states[stream_workspaces[stream_no]] = ''
        AND (event_callers[i] = 0 OR verdicts[event_callers[i]] = '')
      THEN
        wanted[stream_no] := true;
      END IF;
    END LOOP;
    FOR found_one IN
      SELECT made.workspace_id, made.kind, made.name
      FROM (
        SELECT workspaces[u.workspace] AS workspace_id, u.kind, u.name,
          row_number() OVER (PARTITION BY u.workspace, u.kind = '_workspace' ORDER BY u.no) AS place
        FROM unnest(stream_workspaces, stream_kinds, stream_names, wanted) WITH ORDINALITY AS u (
          workspace, kind, name, is_wanted, no
        )
        WHERE u.is_wanted
      ) made
      JOIN (
        SELECT w.id, (SELECT count(*) FROM streams o WHERE o.workspace_id = w.id AND o.ended_at IS NULL)
          - (SELECT count(*) FROM streams o WHERE o.workspace_id = w.id AND o.kind = '_workspace') AS open
        FROM unnest(workspaces) WITH ORDINALITY AS w (id, no)
        WHERE w.no IN (
          SELECT u.workspace FROM unnest(stream_workspaces, wanted) AS u (workspace, is_wanted) WHERE u.is_wanted
        )
      ) room ON room.id = made.workspace_id
      WHERE made.kind = '_workspace' OR room.open + made.place <= most_open
      ORDER BY made.workspace_id, made.kind, made.name
    LOOP
      INSERT INTO streams (workspace_id, kind, external_id, created_at)
      VALUES (
        found_one.workspace_id, found_one.kind, found_one.name, date_trunc('milliseconds', clock_timestamp())
      )
      ON CONFLICT DO NOTHING;
      left_milliseconds := less_to_wait(left_milliseconds, wait_until);
    END LOOP;
    SELECT array_agg(CASE WHEN u.id > 0 THEN u.id ELSE coalesce(s.id, 0) END ORDER BY u.no) INTO stream_ids
    FROM unnest(stream_workspaces, stream_kinds, stream_names, stream_ids) WITH ORDINALITY AS u (
      workspace, kind, name, id, no
    )
    LEFT JOIN streams s
      ON u.id = 0 AND s.workspace_id = workspaces[u.workspace] AND s.kind = u.kind AND s.external_id = u.name
      AND states[u.workspace] = '';
  END IF;

  -- NO KEY: a token that refers to a stream can be minted meanwhile.
  last_seqs := array_fill(-1::bigint, ARRAY[cardinality(stream_ids)]);
  ended := array_fill(false, ARRAY[cardinality(stream_ids)]);
  changed := ended;
  late_came := ended;
  IF skipping THEN
    FOR found_one IN
      SELECT u.no, s.last_seq, s.ended_at IS NOT NULL AS has_ended, s.late_came
      FROM unnest(stream_ids) WITH ORDINALITY AS u (id, no) JOIN streams s ON s.id = u.id
      ORDER BY s.id FOR NO KEY UPDATE OF s SKIP LOCKED
    LOOP
      last_seqs[found_one.no] := found_one.last_seq;
      ended[found_one.no] := found_one.has_ended;
      late_came[found_one.no] := found_one.late_came;
    END LOOP;
  ELSE
    FOR found_one IN finding LOOP  -- a cursor's loop takes one row at a time
      last_seqs[found_one.no] := found_one.last_seq;
      ended[found_one.no] := found_one.has_ended;
      late_came[found_one.no] := found_one.late_came;
      left_milliseconds := less_to_wait(left_milliseconds, wait_until);
    END LOOP;
  END IF;

  -- After the locks are held, so that within a stream created_at never runs against seq; in milliseconds, because that
  -- is what ids carry.
  moment := date_trunc('milliseconds', clock_timestamp());
  time_letters := id_time(moment);

  -- The events that took these idempotency keys. A key whose event retention has dropped is free again.
  IF cardinality(keys) > 0 THEN
    FOR found_one IN
      SELECT u.no, k.event_id, k.created_at, k.digest
      FROM unnest(key_streams, keys) WITH ORDINALITY AS u (stream, key, no)
      JOIN event_keys k ON k.stream_id = stream_ids[u.stream] AND k.key = u.key
    LOOP
      SELECT e.seq, e.type, e.occurred_at INTO original
      FROM events e WHERE e.id = found_one.event_id AND e.created_at = found_one.created_at;
      IF FOUND THEN
        known_ids[found_one.no] := found_one.event_id;
        known_seqs[found_one.no] := original.seq;
        known_types[found_one.no] := original.type;
        known_times[found_one.no] := original.occurred_at;
        known_created[found_one.no] := found_one.created_at;
        known_digests[found_one.no] := found_one.digest;
      END IF;
    END LOOP;
  END IF;

  FOR i IN 1..cardinality(event_streams) LOOP
    stream_no := event_streams[i];
    key_no := event_keys[i];
    IF event_callers[i] > 0 AND verdicts[event_callers[i]] <> '' THEN
      outcomes[i] := verdicts[event_callers[i]];
    ELSIF states[stream_workspaces[stream_no]] <> '' THEN
      outcomes[i] := states[stream_workspaces[stream_no]];
    ELSIF last_seqs[stream_no] < 0 AND stream_ids[stream_no] > 0 THEN
      outcomes[i] := 'locked';
    ELSIF key_no > 0 AND known_ids[key_no] <> '' THEN
      -- A key whose digest is not known is older than digests: whatever comes is its repeat.
      outcomes[i] := CASE WHEN known_digests[key_no] <> event_digests[i] THEN 'conflict' ELSE 'repeat' END;
    ELSIF ended[stream_no] AND NOT event_late[i] THEN
      outcomes[i] := 'stream_ended';
    ELSIF event_refused[i] THEN
      outcomes[i] := 'schema_mismatch';
    ELSIF last_seqs[stream_no] < 0 THEN
      outcomes[i] := 'too_many';
    ELSE
      outcomes[i] := 'accepted';
      accepted := accepted + 1;
      last_seqs[stream_no] := last_seqs[stream_no] + 1;
      ended[stream_no] := ended[stream_no] OR event_ends[i];
      late_came[stream_no] := late_came[stream_no] OR event_late[i];
      changed[stream_no] := true;
      ids[i] := 'evt_' || time_letters || event_letters[i];
      seqs[i] := last_seqs[stream_no];
      IF key_no > 0 THEN
        keyed := true;
        known_ids[key_no] := ids[i];
        known_seqs[key_no] := seqs[i];
        known_types[key_no] := event_types[i];
        known_times[key_no] := coalesce(event_times[i], moment);
        known_created[key_no] := moment;
        known_digests[key_no] := event_digests[i];
      END IF;
    END IF;
  END LOOP;
  IF accepted = 0 THEN
    RETURN;
  END IF;

  stamp := convert_to(to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'UTF8');
  INSERT INTO events (id, created_at, workspace_id, stream_id, seq, type, occurred_at, body, channels)
  SELECT a.id, moment, workspaces[stream_workspaces[a.stream]], stream_ids[a.stream], a.seq, a.type,
    coalesce(a.occurred_at, moment),
    '{"id":"'::bytea || convert_to(a.id, 'UTF8') || a.head || CASE WHEN a.occurred_at IS NULL THEN stamp ELSE '' END
      || a.middle || convert_to(a.seq::text, 'UTF8') || a.tail,
    a.channels::text[]
  FROM unnest(ids, seqs, event_streams, event_types, event_times, heads, middles, tails, event_channels) AS a (
    id, seq, stream, type, occurred_at, head, middle, tail, channels
  )
  WHERE a.id IS NOT NULL;

  IF keyed THEN
    INSERT INTO event_keys (stream_id, key, event_id, created_at, digest)
    SELECT stream_ids[a.stream], keys[a.key], a.id, moment, a.digest
    FROM unnest(ids, event_streams, event_keys, event_digests) AS a (id, stream, key, digest)
    WHERE a.id IS NOT NULL AND a.key > 0
    ON CONFLICT (stream_id, key) DO UPDATE
      SET event_id = excluded.event_id, created_at = excluded.created_at, digest = excluded.digest;
  END IF;

  UPDATE streams SET last_seq = u.last_seq, late_came = u.late_came,
    ended_at = CASE WHEN u.has_ended THEN coalesce(streams.ended_at, moment) END
  FROM unnest(stream_ids, last_seqs, ended, late_came, changed) AS u (id, last_seq, has_ended, late_came, has_changed)
  WHERE streams.id = u.id AND u.has_changed;

  IF cardinality(pair_events) > 0 THEN
    WITH made AS (
      INSERT INTO deliveries (id, created_at, workspace_id, endpoint_id, event_id, event_created_at, event_type,
        trigger, window_started_at, deadline_at)
      SELECT 'dlv_' || time_letters || p.letters, moment, workspaces[stream_workspaces[event_streams[p.event]]],
        p.endpoint_id, ids[p.event], moment, event_types[p.event], CASE WHEN p.is_test THEN 'test' ELSE 'schedule' END,
        moment, moment + make_interval(secs => window_seconds)
      FROM unnest(pair_events, pair_endpoints, pair_tests, pair_letters) AS p (event, endpoint_id, is_test, letters)
      WHERE ids[p.event] IS NOT NULL
      RETURNING *
    )
    INSERT INTO due (delivery_id, created_at, workspace_id, endpoint_id, event_id, event_created_at, trigger, due_at,
      window_started_at, deadline_at)
    SELECT m.id, m.created_at, m.workspace_id, m.endpoint_id, m.event_id, m.event_created_at, m.trigger,
      m.window_started_at, m.window_started_at, m.deadline_at
    FROM made m;
    GET DIAGNOSTICS due = ROW_COUNT;
    IF in_order THEN
      PERFORM join_lanes(ARRAY(
        SELECT 'dlv_' || time_letters || p.letters
        FROM unnest(pair_events, pair_endpoints, pair_tests, pair_letters) AS p (event, endpoint_id, is_test, letters)
        JOIN endpoints e ON e.id = p.endpoint_id AND e.ordering IS NOT NULL
        WHERE ids[p.event] IS NOT NULL AND NOT p.is_test
      ));
    END IF;
  END IF;
END
$$;
"""

ACCEPT_ONE = """
-- Accept one event in the plain case, as accept_events does for many: the same changes by short statements,
-- which cost half of what its queries do; most events come alone. That is an event whose caller may publish it, whose
-- endpoints are those of the version that is given, none of which keeps order, whose stream is open or new, and whose key
-- is new. Any other one is left to accept_events, in the same call.
--
-- The arguments are the members of accept_events' arrays: without a caller or a key there is NULL. An event that ends
-- its stream, or may come late, or is refused, is not given here. endpoints, endpoint_letters: of its deliveries.
--
-- Answers as accept_events does.
CREATE OR REPLACE FUNCTION accept_one(
  lock_milliseconds int, window_seconds int, most_open int,
  workspace text, version bigint, caller_digest bytea, caller_reference text,
  stream_kind text, stream_name text, event_key text,
  event_type text, event_time timestamptz, letters text, event_digest bytea, event_channels text,
  head bytea, middle bytea, tail bytea, endpoints text[], endpoint_letters text[],
  server_started timestamptz DEFAULT NULL,
  OUT verdicts text[], OUT stale text, OUT moment timestamptz, OUT due int,
  OUT outcomes text[], OUT ids text[], OUT seqs bigint[], OUT stream_ids bigint[],
  OUT known_ids text[], OUT known_seqs bigint[], OUT known_types text[], OUT known_times timestamptz[],
  OUT known_created timestamptz[]
)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
#variable_conflict use_variable
DECLARE
  nothing text := set_config('lock_timeout', lock_milliseconds || 'ms', true);
  is_plain boolean := judge_caller(caller_digest, 'publish', workspace, caller_reference) = '';
  current_version bigint;
  in_order boolean;
  its_stream bigint;
  its_seq bigint;
  its_id text;
  time_letters text;
BEGIN
  IF server_started <> pg_postmaster_start_time() THEN
    RAISE EXCEPTION 'the history of the log was not looked at on this server' USING ERRCODE = 'TF001';
  END IF;
  IF is_plain THEN  -- keep the workspace from being deleted
    SELECT w.endpoints_version, w.keeps_order INTO current_version, in_order
    FROM workspaces w WHERE w.id = workspace FOR KEY SHARE SKIP LOCKED;
    is_plain := current_version IS NOT DISTINCT FROM version AND in_order IS NOT TRUE;
  END IF;
  IF is_plain AND event_key IS NOT NULL THEN  -- locked first, so that a repeat that is being committed is seen
    SELECT s.id INTO its_stream FROM streams s
    WHERE s.workspace_id = workspace AND s.kind = stream_kind AND s.external_id = stream_name FOR NO KEY UPDATE;
    is_plain := its_stream IS NULL
      OR NOT EXISTS (SELECT FROM event_keys k WHERE k.stream_id = its_stream AND k.key = event_key);
  END IF;
  IF is_plain AND (event_key IS NULL OR its_stream IS NOT NULL) THEN
    UPDATE streams s SET last_seq = s.last_seq + 1
    WHERE s.workspace_id = workspace AND s.kind = stream_kind AND s.external_id = stream_name AND s.ended_at IS NULL
    RETURNING s.id, s.last_seq INTO its_stream, its_seq;
  END IF;
  IF is_plain AND its_seq IS NULL THEN  -- an ended stream is left to accept_events before all open ones are counted
    is_plain := NOT EXISTS (SELECT FROM streams s
      WHERE s.workspace_id = workspace AND s.kind = stream_kind AND s.external_id = stream_name);
  END IF;
  IF is_plain AND its_seq IS NULL THEN  -- there is no such stream, unless it was made meanwhile
    INSERT INTO streams (workspace_id, kind, external_id, created_at, last_seq)
    SELECT workspace, stream_kind, stream_name, date_trunc('milliseconds', clock_timestamp()), 1
    WHERE stream_kind = '_workspace'
      OR (SELECT count(*) FROM streams o WHERE o.workspace_id = workspace AND o.ended_at IS NULL)
        - (SELECT count(*) FROM streams o WHERE o.workspace_id = workspace AND o.kind = '_workspace') < most_open
    ON CONFLICT DO NOTHING
    RETURNING id, last_seq INTO its_stream, its_seq;
    is_plain := FOUND;
  END IF;
  IF NOT is_plain THEN  -- nothing has been changed
    SELECT a.* INTO verdicts, stale, moment, due, outcomes, ids, seqs, stream_ids,
      known_ids, known_seqs, known_types, known_times, known_created
    FROM accept_events(
      lock_milliseconds, false, window_seconds, most_open, ARRAY[workspace], ARRAY[version],
      array_remove(ARRAY[caller_digest], NULL), CASE WHEN caller_digest IS NULL THEN '{}' ELSE ARRAY[1] END,
      array_remove(ARRAY[caller_reference], NULL), ARRAY[1], ARRAY[stream_kind], ARRAY[stream_name],
      CASE WHEN event_key IS NULL THEN '{}' ELSE ARRAY[1] END, array_remove(ARRAY[event_key], NULL),
      ARRAY[(caller_digest IS NOT NULL)::int], ARRAY[1], ARRAY[(event_key IS NOT NULL)::int],
      ARRAY[event_type], ARRAY[event_time], ARRAY[false], ARRAY[false], ARRAY[false], ARRAY[letters], ARRAY[event_digest],
      ARRAY[event_channels], ARRAY[head], ARRAY[middle], ARRAY[tail],
      array_fill(1, ARRAY[cardinality(endpoints)]), endpoints, array_fill(false, ARRAY[cardinality(endpoints)]),
      endpoint_letters
    ) AS a;
    RETURN;
  END IF;

  -- After the lock is held, as there.
  moment := date_trunc('milliseconds', clock_timestamp());
  time_letters := id_time(moment);
  its_id := 'evt_' || time_letters || letters;
  INSERT INTO events (id, created_at, workspace_id, stream_id, seq, type, occurred_at, body, channels)
  VALUES (
    its_id, moment, workspace, its_stream, its_seq, event_type, coalesce(event_time, moment),
    '{"id":"'::bytea || convert_to(its_id, 'UTF8') || head
      || CASE WHEN event_time IS NULL
        THEN convert_to(to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'UTF8') ELSE '' END
      || middle || convert_to(its_seq::text, 'UTF8') || tail,
    event_channels::text[]
  );
  IF event_key IS NOT NULL THEN
    INSERT INTO event_keys (stream_id, key, event_id, created_at, digest)
    VALUES (its_stream, event_key, its_id, moment, event_digest);
  END IF;
  due := cardinality(endpoints);
  FOR i IN 1..due LOOP
    INSERT INTO deliveries (id, created_at, workspace_id, endpoint_id, event_id, event_created_at, event_type,
      trigger, window_started_at, deadline_at)
    VALUES ('dlv_' || time_letters || endpoint_letters[i], moment, workspace, endpoints[i], its_id, moment, event_type,
      'schedule', moment, moment + make_interval(secs => window_seconds));
    INSERT INTO due (delivery_id, created_at, workspace_id, endpoint_id, event_id, event_created_at, trigger, due_at,
      window_started_at, deadline_at)
    VALUES ('dlv_' || time_letters || endpoint_letters[i], moment, workspace, endpoints[i], its_id, moment,
      'schedule', moment, moment, moment + make_interval(secs => window_seconds));
  END LOOP;
  verdicts := '{""}';
  outcomes := '{accepted}';
  ids := ARRAY[its_id];
  seqs := ARRAY[its_seq];
  stream_ids := ARRAY[its_stream];
END
$$;
"""

DRAIN_ROUND = """
-- One round of a drain: record what has ended, and claim what is due. Either may be NULL.
--
-- outcomes: see record_outcomes. asked: an object.
--   crew: as which this round is stamped; left out: it is not. mark, all_seconds: what is written down with the stamp,
--     for drains and pulses that begin: the time of the oldest row, and how often everything is looked at
--   token, lease_seconds: of the leases
--   again: a call with this token was not answered: what it has leased is handed out, and otherwise nothing
--   low_water, walking, after, most_rows, most_endpoints: where to look, and at how many (look_for_due); the first three
--     may be left out. fresh: instead of low_water, from so many seconds below the mark that was written down last
--   granted, limited: what was decided after the last look (take_due); left out: look
--   rooms: by lane, the room of an endpoint that this drain does not know; known: by endpoint, {lane, fast, new, slow}:
--     its rooms, and `slow` when it hangs, `fast` when it has just answered; left out: only look
--   free: by lane, how many rows may be taken without sharing; a lane that is left out gets nothing
--   answering: endpoints that have just answered; they are looked at, however many others there are
--   alone: whether a row that has lost claims may be taken; `only`: nothing else
--
-- Answers one row whose note is an object, then one for each row taken, whose note is an object of the timeout_seconds and
-- retry_delays_seconds of its endpoint, if it has its own, of a tick before the event, if it wants that (tick_before),
-- and of its `lane` (lane_place), if it has one. The first note: now, recorded (see record_outcomes); after,
-- where the next walk begins; low, complete, walked (look_for_due); all_seconds, when `fresh` has found a mark; left:
-- whether rows are due for which there was no room; ended: endpoints that are disabled or deleted and have something
-- due; wait (take_due); asking: the others, when sharing the places among them is for app/core/webhook/fairness.py to
-- decide: then nothing is taken. As long as every endpoint can have as many rows as it has room for, there is nothing
-- to share.
--
-- Times that no datetime can hold, of a row that is damaged, are answered as ones that it can: a deadline as now, so
-- that this attempt is the last.
CREATE OR REPLACE FUNCTION drain_round(outcomes json, disable_seconds int, asked jsonb)
RETURNS TABLE (
  note jsonb, delivery_id text, created_at timestamptz, workspace_id text, endpoint_id text, event_id text, trigger text,
  window_started_at timestamptz, window_attempts int, deadline_at timestamptz, lost_claims int,
  consecutive_failures int, last_outcome text, url text, sealed_headers bytea, secrets bytea[], body bytea
)
LANGUAGE plpgsql VOLATILE
SET plan_cache_mode = force_generic_plan
SET jit = off
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET lock_timeout = '2s'
AS $$
#variable_conflict use_column
DECLARE
  said jsonb := jsonb_build_object('now', now());
  low_water timestamptz := coalesce((asked ->> 'low_water')::timestamptz, '-infinity');
  token uuid := asked ->> 'token';
  lease interval := make_interval(secs => (asked ->> 'lease_seconds')::float8);
  granted jsonb := asked -> 'granted';
  limited boolean := (asked ->> 'limited')::boolean;
  alone text := asked ->> 'alone';
  written record;
  look record;
  share record;
  taking record;
  answering text[] := '{}';
  endpoint_ids text[];
  taken due[];
  suspicious boolean := true;
  are_left boolean;
  only_one text;
  first_at timestamptz;
  last_at timestamptz;
  earliest CONSTANT timestamptz := '1970-01-01 00:00:00+00';
  latest CONSTANT timestamptz := '9999-01-01 00:00:00+00';
BEGIN
  IF outcomes IS NOT NULL THEN
    said := said || jsonb_build_object('recorded', record_outcomes(outcomes, disable_seconds));
  END IF;
  IF asked IS NULL THEN
    note := said;
    RETURN NEXT;
    RETURN;
  END IF;
  -- A stamp that is locked is being written; one of the future is from before the clock was set back.
  IF asked ? 'crew' THEN
    UPDATE drain_rounds r SET stamped_at = now(), low_water = coalesce((asked ->> 'mark')::timestamptz, r.low_water),
      all_seconds = coalesce((asked ->> 'all_seconds')::float8, r.all_seconds)
    FROM (
      SELECT crew FROM drain_rounds
      WHERE crew = asked ->> 'crew'
        AND stamped_at NOT BETWEEN now() - interval '1 second' AND now() + interval '10 seconds'
      FOR UPDATE SKIP LOCKED
    ) AS free WHERE r.crew = free.crew;
  END IF;

  IF asked ? 'fresh' THEN
    SELECT least(r.low_water, now()) - make_interval(secs => (asked ->> 'fresh')::float8) AS low, r.all_seconds
    INTO written
    FROM drain_rounds r WHERE r.low_water IS NOT NULL ORDER BY r.stamped_at DESC LIMIT 1;
    IF FOUND THEN
      low_water := written.low;
      said := said || jsonb_build_object('all_seconds', written.all_seconds);
    END IF;
  END IF;
  IF asked ? 'again' THEN
    taken := take_again(low_water, token, lease);
  END IF;

  IF taken IS NOT NULL THEN
    granted := '{}';
  ELSIF granted IS NOT NULL THEN
    endpoint_ids := ARRAY(SELECT jsonb_array_elements_text(asked -> 'among'));
  ELSE
    -- Each query costs more than all else of a round that finds nothing: none here that is not needed.
    IF asked -> 'answering' <> '[]' THEN
      answering := ARRAY(SELECT jsonb_array_elements_text(asked -> 'answering'));
    END IF;
    look := look_for_due(
      low_water, coalesce((asked ->> 'walking')::boolean, false), coalesce(asked ->> 'after', ''),
      (asked ->> 'most_rows')::int, (asked ->> 'most_endpoints')::int, answering
    );
    share := share_places(
      look.asking, look.counts,
      -- Whoever decides himself is told of all who ask.
      CASE WHEN NOT (look.walked AND NOT look.complete OR alone IS NOT DISTINCT FROM 'only') THEN asked -> 'rooms' END,
      asked -> 'known', asked -> 'free'
    );
    endpoint_ids := share.enabled;
    suspicious := look.suspicious;
    are_left := look.walked;
    IF look.counts IS NOT NULL AND NOT are_left THEN
      are_left := (SELECT sum(c) FROM unnest(look.counts) AS c)
        > coalesce((SELECT sum(g.value::int) FROM jsonb_each_text(share.granted) AS g), 0);
    END IF;
    said := said || jsonb_build_object(
      'low', CASE WHEN look.low IS NOT NULL THEN greatest(look.low, earliest) END, 'after', look.stopped_at,
      'complete', look.complete, 'walked', look.walked, 'ended', share.ended, 'left', are_left
    );
    IF share.granted IS NULL THEN
      suspicious := false;  -- not before whoever shares has asked for it
      said := said || jsonb_build_object('asking', share.asking);
    ELSE
      granted := share.granted;
      limited := share.limited;
      only_one := look.only_one;
    END IF;
  END IF;
  IF granted <> '{}' AND NOT limited AND only_one IS NOT NULL THEN
    taken := take_one(only_one, token, lease);
  ELSIF granted <> '{}' THEN
    taking := take_due(granted, limited, low_water, token, lease);
    taken := taking.taken;
    said := said || jsonb_build_object('wait', taking.wait);
  END IF;
  IF taken IS NULL AND alone IS NOT NULL AND suspicious AND cardinality(endpoint_ids) > 0 THEN
    taken := take_suspicious(endpoint_ids, token, lease);
  END IF;

  note := said;
  RETURN NEXT;
  IF taken IS NOT NULL THEN
    first_at := taken[1].event_created_at;
    last_at := first_at;
    IF cardinality(taken) > 1 THEN
      SELECT min(t.event_created_at), max(t.event_created_at) INTO first_at, last_at FROM unnest(taken) AS t;
    END IF;
    RETURN QUERY
      SELECT CASE
          WHEN e.timeout_seconds IS NOT NULL OR e.retry_delays_seconds IS NOT NULL OR e.feed_cursor OR t.seq IS NOT NULL
          THEN jsonb_build_object(
            'timeout_seconds', e.timeout_seconds, 'retry_delays_seconds', e.retry_delays_seconds,
            'tick', CASE WHEN e.feed_cursor THEN tick_before(v.xid, v.no) END,
            'lane', CASE WHEN t.seq IS NOT NULL THEN lane_place(t) END
          )
        END,
        t.delivery_id, greatest(least(t.created_at, latest), earliest), t.workspace_id, t.endpoint_id,
        t.event_id, t.trigger, greatest(least(t.window_started_at, now()), earliest), t.window_attempts,
        CASE WHEN t.deadline_at >= earliest AND t.deadline_at < latest THEN t.deadline_at ELSE now() END,
        t.claims - 1 - t.attempt_count,
        e.consecutive_failures, e.last_outcome, e.url, e.sealed_headers,
        ARRAY(
          SELECT s.sealed FROM endpoint_secrets s
          WHERE s.endpoint_id = e.id AND (s.expires_at IS NULL OR s.expires_at > now()) ORDER BY s.id DESC
        ), v.body
      FROM unnest(taken) AS t
      JOIN endpoints e ON e.id = t.endpoint_id  -- one deleted this moment: cancelled when the lease ends
      LEFT JOIN events v ON v.id = t.event_id AND v.created_at = t.event_created_at
        AND v.created_at BETWEEN first_at AND last_at
      ORDER BY t.due_at;
  END IF;
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

RECORD_ONE = """
-- Record one outcome in the plain case, as record_outcomes does for many: the same changes by short statements,
-- which cost half of what its one query does; most events come alone. That is an outcome that is neither in doubt nor
-- followed by another attempt, of a pending delivery that nobody else has locked, for the drain that holds its lease or
-- for a success (in a lane: if nobody else sends it now).
--
-- Answers as record_outcomes does; NULL when it is not such an outcome: then nothing has been changed.
CREATE OR REPLACE FUNCTION record_one(given json, disable_seconds int) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  o record;
  attempts_before int;
  token uuid;
  is_in_turn boolean;  -- of a lane, and somebody sends it now
  answer jsonb := '{}';
  failing jsonb;
BEGIN
  SELECT * INTO o FROM json_to_record(given) AS g (
    n int, attempt_id text, attempt_at timestamptz, delivery_id text, created_at timestamptz, workspace_id text,
    endpoint_id text, lease_token uuid, trigger text, started_at timestamptz, duration_ms int, outcome text, error text,
    status_code int, remote_address text, response_headers jsonb, response_body text,
    resent boolean, by_us boolean, doubtful boolean, status text, reason text, due_at timestamptz,
    phases_ms int[], reused boolean
  );
  IF o.resent OR o.doubtful THEN
    RETURN NULL;
  END IF;
  SELECT d.attempt_count INTO attempts_before FROM deliveries d
  WHERE d.id = o.delivery_id AND d.created_at = o.created_at AND d.status = 'pending' FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  SELECT q.lease_token, (q.stream_id IS NOT NULL AND q.leased_until > now()) IS TRUE INTO token, is_in_turn
  FROM due q WHERE q.delivery_id = o.delivery_id FOR UPDATE SKIP LOCKED;
  IF NOT FOUND OR (token = o.lease_token OR o.outcome = 'success' AND NOT is_in_turn) IS NOT TRUE THEN
    RETURN NULL;
  END IF;

  UPDATE deliveries d SET
    attempt_count = d.attempt_count + 1,
    -- A person's attempt in the middle of a window does not use up one of the schedule.
    window_attempts = d.window_attempts + CASE WHEN d.trigger <> 'manual' OR d.window_attempts = 0 THEN 1 ELSE 0 END,
    status = o.status,
    reason = o.reason,
    trigger = CASE WHEN o.status = 'pending' THEN 'schedule' ELSE d.trigger END,
    finished_at = CASE WHEN o.status <> 'pending' THEN now() ELSE d.finished_at END
  WHERE d.id = o.delivery_id AND d.created_at = o.created_at;
  IF o.status <> 'pending' THEN
    DELETE FROM due q WHERE q.delivery_id = o.delivery_id;
  ELSE
    UPDATE due q SET
      attempt_count = q.attempt_count + 1,
      window_attempts = q.window_attempts + CASE WHEN q.trigger <> 'manual' OR q.window_attempts = 0 THEN 1 ELSE 0 END,
      due_at = o.due_at, trigger = 'schedule', leased_until = NULL, lease_token = NULL
    WHERE q.delivery_id = o.delivery_id;
    IF NOT EXISTS (SELECT FROM endpoints e WHERE e.id = o.endpoint_id AND e.status = 'enabled') THEN
      answer := jsonb_build_object('unwanted', jsonb_build_array(o.endpoint_id));
    END IF;
  END IF;
  INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
    error, status_code, remote_address, response_headers, response_body, trigger,
    dns_ms, connect_ms, tls_ms, first_byte_ms, connection_reused)
  VALUES (o.attempt_id, o.attempt_at, o.workspace_id, o.endpoint_id, o.delivery_id, attempts_before + 1, o.started_at,
    o.duration_ms, o.outcome, o.error, o.status_code, o.remote_address, o.response_headers,
    decode(o.response_body, 'base64'), o.trigger,
    o.phases_ms[1], o.phases_ms[2], o.phases_ms[3], o.phases_ms[4], o.reused)
  ON CONFLICT (id, created_at) DO NOTHING;

  -- A success of an endpoint that was healthy changes nothing.
  IF NOT o.by_us AND (o.outcome <> 'success' OR EXISTS (
    SELECT FROM endpoints e
    WHERE e.id = o.endpoint_id AND (e.consecutive_failures <> 0 OR e.last_outcome IS DISTINCT FROM 'success')
  )) THEN
    failing := endpoint_tallies(json_build_array(given), ARRAY[o.n], o.outcome = 'success', disable_seconds);
    IF failing IS NOT NULL THEN
      answer := answer || jsonb_build_object('failing', failing);
    END IF;
  END IF;
  RETURN answer;
END
$$;
"""

RECORD_OUTCOMES = """
-- Record what came of attempts, each an object of a JSON array (app/delivery/outcomes.py makes them): append them to the
-- log, move their deliveries on, bring their endpoints' health up to date. Waits for no lock: what somebody else has
-- locked is left as it is.
--
-- A delivery moves only for the drain that holds its lease, or for a success, but in a lane not while somebody else
-- sends it: the next one would go out beside it. What it becomes has been decided by
-- app/core/webhook/retry.py. Of one delivery there is at most one outcome that is not `resent`. `doubtful` ones may have
-- been recorded by a call whose answer was lost: if so, nothing is written. That call may be at its COMMIT still, so
-- whether it has recorded them is read after their deliveries are locked, by a statement that sees what it committed.
--
-- Answers an object. odd: [n, status, reason] of what did not move its delivery as decided, and how that stands.
-- left: the n of those with which nothing was done; locked: those of them that somebody else has locked, the others are
-- gone with their workspace. unwanted: endpoints that are disabled or deleted and have a delivery that is still
-- pending. failing: [endpoint, since] of those that have failed for longer than disable_seconds.
CREATE OR REPLACE FUNCTION record_outcomes(outcomes json, disable_seconds int) RETURNS jsonb
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  answer jsonb;
  ids text[];
  first_at timestamptz;
  last_at timestamptz;
  seen int[];
  retried text[];
  doubtful text[];
  doubtful_at timestamptz[];
  written text[] := '{}';
  counted int[];
  told text[];
  all_good boolean;
  failing jsonb;
BEGIN
  IF json_array_length(outcomes) = 1 THEN
    answer := record_one(outcomes -> 0, disable_seconds);
    IF answer IS NOT NULL THEN
      RETURN answer;
    END IF;
  END IF;
  SELECT array_agg(DISTINCT o.delivery_id), min(o.created_at), max(o.created_at),
    array_agg(o.attempt_id) FILTER (WHERE o.doubtful), array_agg(o.attempt_at) FILTER (WHERE o.doubtful)
  INTO ids, first_at, last_at, doubtful, doubtful_at
  FROM json_to_recordset(outcomes) AS o (
    delivery_id text, created_at timestamptz, attempt_id text, attempt_at timestamptz, doubtful boolean
  );
  IF doubtful IS NOT NULL THEN
    ids := ARRAY(  -- what somebody holds now stays as it is, though he let it go before the next statement
      SELECT d.id FROM deliveries d
      WHERE d.id = ANY (ids) AND d.created_at BETWEEN first_at AND last_at FOR UPDATE SKIP LOCKED
    );
    SELECT coalesce(array_agg(a.id), '{}') INTO written FROM attempts a
    WHERE a.id = ANY (doubtful) AND a.created_at = ANY (doubtful_at);
  END IF;

  WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(outcomes) AS o (
      n int, attempt_id text, attempt_at timestamptz, delivery_id text, workspace_id text, endpoint_id text,
      lease_token uuid, trigger text, started_at timestamptz, duration_ms int, outcome text, error text,
      status_code int, remote_address text, response_headers jsonb, response_body text,
      resent boolean, by_us boolean, status text, reason text, due_at timestamptz, phases_ms int[], reused boolean
    )
  ), held AS MATERIALIZED (
    SELECT d.id, d.status, d.reason, d.attempt_count FROM deliveries d
    WHERE d.id = ANY (ids) AND d.created_at BETWEEN first_at AND last_at FOR UPDATE SKIP LOCKED
  ), owned AS MATERIALIZED (
    SELECT q.delivery_id, q.lease_token, (q.stream_id IS NOT NULL AND q.leased_until > now()) IS TRUE AS is_in_turn
    FROM due q WHERE q.delivery_id = ANY (ids) FOR UPDATE SKIP LOCKED
  ), known AS MATERIALIZED (
    SELECT g.*, h.status AS old_status, h.reason AS old_reason, h.attempt_count, g.attempt_id = ANY (written) AS is_written,
      h.status = 'pending' AND NOT g.resent AND NOT g.attempt_id = ANY (written)
        AND (q.lease_token = g.lease_token OR g.outcome = 'success' AND NOT q.is_in_turn) IS TRUE AS moves
    FROM given g JOIN held h ON h.id = g.delivery_id LEFT JOIN owned q ON q.delivery_id = g.delivery_id
    WHERE h.status <> 'pending' OR q.delivery_id IS NOT NULL
  ), moved AS MATERIALIZED (
    SELECT k.delivery_id, count(*) AS attempts, count(*) FILTER (WHERE k.resent) AS resent, bool_or(k.moves) AS moves,
      max(k.status) FILTER (WHERE k.moves) AS status, max(k.reason) FILTER (WHERE k.moves) AS reason,
      max(k.due_at) FILTER (WHERE k.moves) AS due_at
    FROM known k WHERE NOT k.is_written GROUP BY k.delivery_id
  ), changed AS (
    UPDATE deliveries d SET
      attempt_count = d.attempt_count + m.attempts,
      -- A person's attempt in the middle of a window does not use up one of the schedule.
      window_attempts = d.window_attempts
        + CASE WHEN m.moves AND (d.trigger <> 'manual' OR d.window_attempts = 0) THEN 1 ELSE 0 END,
      status = CASE WHEN m.moves THEN m.status ELSE d.status END,
      reason = CASE WHEN m.moves THEN m.reason ELSE d.reason END,
      trigger = CASE WHEN m.moves AND m.status = 'pending' THEN 'schedule' ELSE d.trigger END,
      finished_at = CASE WHEN m.moves AND m.status <> 'pending' THEN now() ELSE d.finished_at END
    FROM moved m WHERE d.id = m.delivery_id AND d.id = ANY (ids) AND d.created_at BETWEEN first_at AND last_at
  ), ended AS (
    DELETE FROM due q USING moved m
    WHERE q.delivery_id = m.delivery_id AND q.delivery_id = ANY (ids) AND m.moves AND m.status <> 'pending'
  ), kept AS (
    UPDATE due q SET
      attempt_count = q.attempt_count + m.attempts,
      claims = q.claims + m.resent,  -- there is one for each attempt, so that a lost one is seen
      window_attempts = q.window_attempts
        + CASE WHEN m.moves AND (q.trigger <> 'manual' OR q.window_attempts = 0) THEN 1 ELSE 0 END,
      due_at = CASE WHEN m.moves THEN m.due_at ELSE q.due_at END,
      trigger = CASE WHEN m.moves THEN 'schedule' ELSE q.trigger END,
      leased_until = CASE WHEN m.moves THEN NULL ELSE q.leased_until END,
      lease_token = CASE WHEN m.moves THEN NULL ELSE q.lease_token END
    FROM moved m
    WHERE q.delivery_id = m.delivery_id AND q.delivery_id = ANY (ids) AND NOT (m.moves AND m.status <> 'pending')
  ), logged AS (
    INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
      error, status_code, remote_address, response_headers, response_body, trigger,
      dns_ms, connect_ms, tls_ms, first_byte_ms, connection_reused)
    SELECT k.attempt_id, k.attempt_at, k.workspace_id, k.endpoint_id, k.delivery_id,
      k.attempt_count + row_number() OVER (PARTITION BY k.delivery_id ORDER BY k.n), k.started_at, k.duration_ms,
      k.outcome, k.error, k.status_code, k.remote_address, k.response_headers, decode(k.response_body, 'base64'), k.trigger,
      k.phases_ms[1], k.phases_ms[2], k.phases_ms[3], k.phases_ms[4], k.reused
    FROM known k WHERE NOT k.is_written
    ON CONFLICT (id, created_at) DO NOTHING
  )
  SELECT
    jsonb_build_object('odd', jsonb_agg(jsonb_build_array(k.n, k.old_status, k.old_reason))
      FILTER (WHERE NOT k.moves AND NOT k.resent)),
    array_agg(k.n) FILTER (WHERE NOT (k.is_written OR k.resent OR k.by_us)),
    array_agg(k.endpoint_id) FILTER (WHERE NOT (k.is_written OR k.resent OR k.by_us)),
    bool_and(k.outcome = 'success') FILTER (WHERE NOT (k.is_written OR k.resent OR k.by_us)),
    array_agg(k.endpoint_id) FILTER (WHERE k.moves AND k.status = 'pending'),
    coalesce(array_agg(k.n), '{}')
  INTO answer, counted, told, all_good, retried, seen
  FROM known k;

  IF cardinality(seen) < json_array_length(outcomes) THEN
    answer := answer || jsonb_build_object('left', (
      SELECT jsonb_agg(o.n) FROM json_to_recordset(outcomes) AS o (n int) WHERE o.n <> ALL (seen)
    ), 'locked', (
      SELECT jsonb_agg(o.n) FROM json_to_recordset(outcomes) AS o (n int, delivery_id text, created_at timestamptz)
      JOIN deliveries d ON d.id = o.delivery_id AND d.created_at = o.created_at
      WHERE o.n <> ALL (seen) AND d.created_at BETWEEN first_at AND last_at
        -- A pending one without a row in `due` cannot be: its outcome would be given back for ever.
        AND (d.status <> 'pending' OR EXISTS (SELECT FROM due q WHERE q.delivery_id = d.id))
    ));
  END IF;
  IF retried IS NOT NULL THEN
    answer := answer || jsonb_build_object('unwanted', (
      SELECT jsonb_agg(DISTINCT r.id) FROM unnest(retried) AS r (id)
      WHERE NOT EXISTS (SELECT FROM endpoints e WHERE e.id = r.id AND e.status = 'enabled')
    ));
  END IF;
  -- Successes of endpoints that were healthy change nothing.
  IF counted IS NOT NULL AND NOT (all_good AND NOT EXISTS (
    SELECT FROM endpoints e
    WHERE e.id = ANY (told) AND (e.consecutive_failures <> 0 OR e.last_outcome IS DISTINCT FROM 'success')
  )) THEN
    failing := endpoint_tallies(outcomes, counted, all_good, disable_seconds);
    IF failing IS NOT NULL THEN
      answer := answer || jsonb_build_object('failing', failing);
    END IF;
  END IF;
  RETURN answer;
END
$$;
"""

READ_DELIVERY = """
-- One delivery with its latest attempts, each in a row, if the caller may see it: by verdict (judge_caller). A delivery
-- without attempts is one row; one that is not there, or not to be seen, is a row without an id. made_at: its time, which
-- its id holds and by which its partition is found. No attempt was made before that, but clocks may differ a little.
--
-- A function, so that the statement is planned once for each connection: its custom plans look so much cheaper, because
-- they name partitions, that PostgreSQL would make one for each read, which costs more than the read.
CREATE OR REPLACE FUNCTION read_delivery(
  secret_digest bytea, workspace text, reference text, delivery text, made_at timestamptz, most int
)
RETURNS TABLE (
  verdict text, id text, workspace_id text, event_id text, endpoint_id text, event_type text, status text, reason text,
  attempt_count int,
  created_at timestamptz, deadline_at timestamptz, finished_at timestamptz, due_at timestamptz, sending boolean,
  attempt_id text, number int, started_at timestamptz, duration_ms int, outcome text, error text, status_code int,
  remote_address text, trigger text, response_headers text, response_body bytea,
  dns_ms int, connect_ms int, tls_ms int, first_byte_ms int, connection_reused boolean
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
BEGIN
  verdict := judge_caller(secret_digest, 'operate', workspace, reference);
  IF verdict = '' THEN
    RETURN QUERY
      SELECT '', d.id, d.workspace_id, d.event_id, d.endpoint_id, d.event_type, d.status, d.reason, d.attempt_count, d.created_at,
        d.deadline_at, d.finished_at, CASE WHEN q.due_at < '9998-01-01 00:00:00+00' THEN greatest(q.due_at, q.leased_until) END,
        coalesce(q.leased_until > now(), false),
        a.id, a.number, a.started_at, a.duration_ms, a.outcome, a.error, a.status_code, a.remote_address, a.trigger,
        a.response_headers::text, a.response_body,
        a.dns_ms, a.connect_ms, a.tls_ms, a.first_byte_ms, a.connection_reused
      FROM deliveries d
      LEFT JOIN due q ON q.delivery_id = d.id AND q.created_at = d.created_at
      LEFT JOIN LATERAL (
        SELECT * FROM attempts t WHERE t.delivery_id = delivery AND t.created_at >= made_at - interval '1 minute'
          AND t.created_at <= now() + interval '1 minute'  -- the partitions of the coming weeks are left out
        ORDER BY t.number DESC, t.id DESC LIMIT most
      ) AS a ON true
      WHERE d.id = delivery AND d.created_at = made_at AND d.workspace_id = workspace
      ORDER BY a.number DESC, a.id DESC;
    IF FOUND THEN
      RETURN;
    END IF;
  END IF;
  RETURN NEXT;
END
$$;
"""

LOOK_FOR_DUE = """
-- Which endpoints have something due, and what that says of each: rows of a JSON array, without those that were looked
-- at before.
--
-- Two ways. While little is due, the rows themselves are read in the order of their time, from `low_water` on: all that
-- has ended lies below, and dead rows, which nobody can remove while some session holds an old snapshot, are not walked
-- through. When more is due than that reads, or `walking`, it goes from endpoint to endpoint in the order of their ids,
-- from `after` on: each step jumps over all other rows of the last one.
--
-- answering: endpoints that are looked at in any case: what they get is over soon.
--
-- complete: whether these are all. stopped_at: the endpoint after which the next walk begins. low: the time of the first
-- row, sent or not; NULL when there is none.
-- asking: by endpoint, rows (NULL: unknown, at least one), suspicious: whether one of them has lost claims.
-- only_one: the delivery, when there is one row, it is free, and it is in no lane.
CREATE OR REPLACE FUNCTION look_for_due(
  low_water timestamptz, walking boolean, after text, most_rows int, most_endpoints int, answering text[],
  OUT complete boolean, OUT low timestamptz, OUT walked boolean, OUT stopped_at text,
  OUT asking text[], OUT counts int[], OUT suspicious boolean, OUT only_one text
)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  first due[];
  from_start text[];
BEGIN
  walked := walking;
  IF NOT walking THEN
    -- Most events come alone, and most rounds find nothing: a fifth of what the query for many costs.
    first := ARRAY(SELECT q FROM due q WHERE q.due_at >= low_water AND q.due_at <= now() ORDER BY q.due_at LIMIT 2);
    IF cardinality(first) < least(2, most_rows) THEN
      complete := true;
      low := first[1].due_at;
      IF first[1].leased_until > now() IS NOT TRUE AND cardinality(first) = 1 THEN
        asking := ARRAY[first[1].endpoint_id];
        counts := '{1}';
        suspicious := first[1].claims - first[1].attempt_count >= 2;
        only_one := CASE WHEN first[1].stream_id IS NULL THEN first[1].delivery_id END;
      END IF;
      RETURN;
    END IF;
    SELECT array_agg(w.endpoint_id) FILTER (WHERE w.free > 0), array_agg(w.free) FILTER (WHERE w.free > 0),
      bool_or(w.suspicious), min(w.low), coalesce(sum(w.seen), 0) < most_rows
    INTO asking, counts, suspicious, low, complete
    FROM (
      SELECT q.endpoint_id, count(*) AS seen, min(q.due_at) AS low,
        count(*) FILTER (WHERE q.leased_until IS NULL OR q.leased_until <= now())::int AS free,
        bool_or(q.claims - q.attempt_count >= 2 AND (q.leased_until IS NULL OR q.leased_until <= now())) AS suspicious
      FROM (
        SELECT * FROM due WHERE due_at >= low_water AND due_at <= now() ORDER BY due_at LIMIT most_rows
      ) AS q
      GROUP BY q.endpoint_id
    ) AS w;
    IF complete THEN
      RETURN;
    END IF;
    walked := true;
  ELSE
    SELECT q.due_at INTO low FROM due q WHERE q.due_at >= low_water AND q.due_at <= now() ORDER BY q.due_at LIMIT 1;
  END IF;

  suspicious := true;  -- nobody has looked
  asking := walk_due(low_water, after, most_endpoints);
  complete := cardinality(asking) < most_endpoints;
  IF complete AND after <> '' THEN  -- the end is reached: on from the start, up to the first one of this walk
    from_start := walk_due(low_water, '', most_endpoints - cardinality(asking));
    complete := from_start && asking OR cardinality(asking) + cardinality(from_start) < most_endpoints;
    asking := asking || ARRAY(SELECT f.id FROM unnest(from_start) AS f (id) WHERE f.id <> ALL (asking));
  END IF;
  IF NOT complete THEN
    stopped_at := asking[cardinality(asking)];
    asking := asking || ARRAY(
      SELECT a.id FROM unnest(answering) AS a (id) WHERE a.id <> ALL (asking) AND EXISTS (
        SELECT FROM due q WHERE q.endpoint_id = a.id AND q.due_at >= low_water AND q.due_at <= now()
          AND (q.leased_until IS NULL OR q.leased_until <= now())
      )
    );
  END IF;
  counts := array_fill(NULL::int, ARRAY[cardinality(asking)]);
END
$$;
"""

COLUMNS = (
    "ALTER TABLE workspaces ADD COLUMN keeps_order boolean NOT NULL DEFAULT false",
    "ALTER TABLE endpoints ADD COLUMN ordering text, ADD COLUMN order_patience_seconds int, ADD COLUMN ordered_at timestamptz,"
    " ADD CONSTRAINT ck_endpoints_ordering CHECK (ordering = 'stream')",
    "ALTER TABLE due ADD COLUMN stream_id bigint, ADD COLUMN seq bigint, ADD COLUMN prev_seq bigint,"
    " ADD COLUMN waited_seconds float8, ADD COLUMN counted_at timestamptz",
    "ALTER TABLE endpoint_notices ADD COLUMN skipped int NOT NULL DEFAULT 0,"
    " ADD COLUMN skipped_ids text[] NOT NULL DEFAULT '{}', ADD COLUMN skipped_since timestamptz,"
    " ADD COLUMN skipped_told_at timestamptz",
)
TABLES = (
    """
    CREATE TABLE lanes (
      endpoint_id text NOT NULL,
      stream_id bigint NOT NULL,
      tail_seq bigint NOT NULL,
      moved_at timestamptz NOT NULL,
      CONSTRAINT pk_lanes PRIMARY KEY (endpoint_id, stream_id)
    ) WITH (fillfactor = 70)
    """,
    """
    CREATE TABLE lane_skips (
      endpoint_id text NOT NULL,
      stream_id bigint NOT NULL,
      seq bigint NOT NULL,
      skipped_at timestamptz NOT NULL,
      CONSTRAINT pk_lane_skips PRIMARY KEY (endpoint_id, stream_id, seq)
    )
    """,
    "CREATE INDEX ix_due_lane ON due (endpoint_id, stream_id, seq) WHERE stream_id IS NOT NULL",
    "DROP INDEX ix_endpoint_notices_open",
    "CREATE INDEX ix_endpoint_notices_open ON endpoint_notices (endpoint_id)"
    " WHERE told <> 'ok' OR exhausted > 0 OR skipped > 0",
    # Only the first row of a lane can have been attempted and wait there.
    "CREATE INDEX ix_due_blocked ON due (endpoint_id, counted_at) WHERE stream_id IS NOT NULL AND attempt_count > 0",
)
TRIGGER = """
CREATE TRIGGER due_leaves_lane AFTER DELETE ON due FOR EACH ROW WHEN (OLD.stream_id IS NOT NULL)
EXECUTE FUNCTION leave_lane()
"""
NEW = (JOIN_LANES, PARK_WAITING, OPEN_LANE, LEAVE_LANE, LANE_PLACE, SET_ASIDE)
CHANGED = (
    ACCEPT_EVENTS,
    ACCEPT_ONE,
    DRAIN_ROUND,
    TAKE_DUE,
    TAKE_SUSPICIOUS,
    RECORD_ONE,
    RECORD_OUTCOMES,
    READ_DELIVERY,
    LOOK_FOR_DUE,
)

UNDONE = (
    "DROP INDEX ix_endpoint_notices_open",
    "CREATE INDEX ix_endpoint_notices_open ON endpoint_notices (endpoint_id) WHERE told <> 'ok' OR exhausted > 0",
    "DROP TABLE lane_skips",
    "DROP TABLE lanes",
    "ALTER TABLE endpoint_notices DROP COLUMN skipped, DROP COLUMN skipped_ids, DROP COLUMN skipped_since,"
    " DROP COLUMN skipped_told_at",
    "ALTER TABLE due DROP COLUMN stream_id, DROP COLUMN seq, DROP COLUMN prev_seq, DROP COLUMN waited_seconds,"
    " DROP COLUMN counted_at",
    "ALTER TABLE endpoints DROP COLUMN ordering, DROP COLUMN order_patience_seconds, DROP COLUMN ordered_at",
    "ALTER TABLE workspaces DROP COLUMN keeps_order",
)
BEFORE = {  # the migrations that have the functions as they were
    "0004": ("TAKE_DUE", "TAKE_SUSPICIOUS"),
    "0013": ("ACCEPT_EVENTS", "ACCEPT_ONE", "LOOK_FOR_DUE", "DRAIN_ROUND"),
}


def upgrade() -> None:
    for statement in (*COLUMNS, *TABLES, *NEW, TRIGGER, *CHANGED):
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    bind = op.get_bind()
    bind.exec_driver_sql("DROP TRIGGER due_leaves_lane ON due")
    # What was put away is due; nobody remembers its order.
    bind.exec_driver_sql("UPDATE due SET due_at = now() WHERE due_at >= '9998-01-01 00:00:00+00'")
    for revision_before, names in BEFORE.items():
        module = context.script.get_revision(revision_before).module
        for name in names:
            bind.exec_driver_sql(getattr(module, name))
    timing = context.script.get_revision("0014").module
    for name, pairs in timing.CHANGES.items():
        bind.exec_driver_sql(timing.text_of(name, pairs))
    for function in ("lane_place", "set_aside", "leave_lane", "open_lane", "park_waiting", "join_lanes"):
        bind.exec_driver_sql(f"DROP FUNCTION {function}")
    for statement in UNDONE:
        bind.exec_driver_sql(statement)
