"""Makes accepting name the server whose history of the log was looked at, and finds where two histories part.

The functions are copies of app/database/functions as they were with this migration. A process of the release before
goes on: what it leaves out is not checked.
"""

from __future__ import annotations

from alembic import context, op

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

NEW = ("check_history", "begin_history", "last_shared")


def upgrade() -> None:
    # They take one more argument, which would make second ones of the same names.
    _run("DROP FUNCTION accept_one", "DROP FUNCTION accept_events", ACCEPT_EVENTS, ACCEPT_ONE)
    _run(CHECK_HISTORY, BEGIN_HISTORY, LAST_SHARED)


def downgrade() -> None:
    before = context.script.get_revision
    _run(*(f"DROP FUNCTION {name}" for name in (*NEW, "accept_one", "accept_events")))
    _run(before("0017").module.ACCEPT_EVENTS, before("0013").module.ACCEPT_ONE)


def _run(*statements: str) -> None:
    """Past SQLAlchemy, which would read the colons of casts as parameters."""
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)
