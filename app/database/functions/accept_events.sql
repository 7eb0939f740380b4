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
