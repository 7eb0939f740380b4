"""Has what comes alone take short statements: functions for one event and for one row that is due.

The functions are copies of app/database/functions as they were with this migration. Drains and web processes of the
release before go on beside them: what they call takes what it took.
"""

from __future__ import annotations

from alembic import context, op

revision = "0013"
down_revision = "0012"

EARLIEST, LATEST = "1970-01-01 00:00:00+00", "9999-01-01 00:00:00+00"
COLUMNS = ("created_at", "event_created_at", "due_at", "leased_until", "window_started_at", "deadline_at")

LESS_TO_WAIT = """
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
"""

ACCEPT_ONE = """
-- Accept one event in whose way nothing stands, as accept_events does for many: the same changes by short statements,
-- which cost half of what its queries do; most events come alone. That is an event whose caller may publish it, whose
-- endpoints are those of the version that is given, whose stream is open or new, and whose key is new. Any other one is
-- left to accept_events, in the same call.
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
  its_stream bigint;
  its_seq bigint;
  its_id text;
  time_letters text;
BEGIN
  IF server_started <> pg_postmaster_start_time() THEN
    RAISE EXCEPTION 'the history of the log was not looked at on this server' USING ERRCODE = 'TF001';
  END IF;
  IF is_plain THEN  -- keep the workspace from being deleted
    SELECT w.endpoints_version INTO current_version FROM workspaces w WHERE w.id = workspace FOR KEY SHARE SKIP LOCKED;
    is_plain := current_version IS NOT DISTINCT FROM version;
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
  IF is_plain AND its_seq IS NULL THEN  -- there is no such stream, unless it has ended or was made meanwhile
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

DUE_IS_SOUND = """
-- Whether a row of `due` is one that a claim can answer: its times fit into a datetime, a lease has a token, no count is
-- negative. One function of the whole row and not a constraint for each column: PostgreSQL reads a constraint's
-- expression anew in each statement, which would cost a claim alone more than all else that it writes.
CREATE OR REPLACE FUNCTION due_is_sound(one due) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
  RETURN least(one.created_at, one.event_created_at, one.due_at, one.leased_until, one.window_started_at, one.deadline_at)
      >= '1970-01-01 00:00:00+00'
    AND greatest(one.created_at, one.event_created_at, one.due_at, one.leased_until, one.window_started_at, one.deadline_at)
      < '9999-01-01 00:00:00+00'
    AND (one.leased_until IS NULL) = (one.lease_token IS NULL)
    AND least(one.claims, one.attempt_count, one.window_attempts) >= 0;
END
$$;
"""

TAKE_ONE = """
-- Lease the one row that is due, as take_due does for many: most events come alone. NULL when somebody else holds it, it
-- is not due any more, or has to travel alone.
CREATE OR REPLACE FUNCTION take_one(delivery text, token uuid, lease interval) RETURNS due[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  taken due;
BEGIN
  PERFORM FROM due q
  WHERE q.delivery_id = delivery AND q.due_at <= now() AND (q.leased_until IS NULL OR q.leased_until <= now())
    AND q.claims - q.attempt_count < 2
  FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  UPDATE due q SET leased_until = now() + lease, lease_token = token, claims = q.claims + 1
  WHERE q.delivery_id = delivery RETURNING q.* INTO taken;
  RETURN ARRAY[taken];
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
  remote_address text, trigger text, response_headers text, response_body bytea
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
        d.deadline_at, d.finished_at, greatest(q.due_at, q.leased_until), coalesce(q.leased_until > now(), false),
        a.id, a.number, a.started_at, a.duration_ms, a.outcome, a.error, a.status_code, a.remote_address, a.trigger,
        a.response_headers::text, a.response_body
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
  SELECT array_agg(held.endpoints_version ORDER BY u.no) INTO current_versions
  FROM unnest(workspaces) WITH ORDINALITY AS u (id, no)
  LEFT JOIN (
    SELECT w.id, w.endpoints_version FROM workspaces w
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
  END IF;
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
-- only_one: the delivery, when there is one row and it is free.
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
        only_one := first[1].delivery_id;
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

SHARE_PLACES = """
-- Give each enabled endpoint that asks as many rows as it has and has room for, when the places of its lane suffice for
-- all who ask; else granted is NULL, and app/core/webhook/fairness.py has to decide. Lanes are those of its `lane`.
-- counts: rows of each, NULL: unknown. rooms, known, free: see drain_round.
-- asking: of each enabled one what decides, as an array of objects; may be NULL when granted is not. ended: those that are disabled or deleted.
CREATE OR REPLACE FUNCTION share_places(
  ids text[], counts int[], rooms jsonb, known jsonb, free jsonb,
  OUT granted jsonb, OUT limited boolean, OUT asking jsonb, OUT enabled text[], OUT ended text[]
)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  one record;
  its_lane text;
  wanted int;
BEGIN
  IF ids IS NULL OR cardinality(ids) = 0 THEN
    granted := '{}';
    RETURN;
  END IF;
  IF cardinality(ids) = 1 THEN  -- an event alone: the same with a look-up in place of a query, a fifth of its cost
    SELECT e.status, e.rate_limit, e.consecutive_failures, e.last_outcome INTO one FROM endpoints e WHERE e.id = ids[1];
    limited := false;
    IF one.status IS DISTINCT FROM 'enabled' THEN
      ended := ids;
      granted := CASE WHEN rooms IS NOT NULL THEN '{}' END;
      RETURN;
    END IF;
    its_lane := endpoint_lane(one.consecutive_failures, one.last_outcome, known -> ids[1] ->> 'lane');
    wanted := least(counts[1], coalesce(known -> ids[1] ->> its_lane, rooms ->> its_lane)::int);
    IF rooms IS NOT NULL AND (wanted <= coalesce((free ->> its_lane)::int, 0) OR NOT free ? its_lane) THEN
      granted := CASE WHEN wanted > 0 AND free ? its_lane THEN jsonb_build_object(ids[1], wanted) ELSE '{}' END;
    END IF;
    limited := one.rate_limit IS NOT NULL;
    enabled := ids;
    IF granted IS NULL THEN
      asking := jsonb_build_array(jsonb_build_object('endpoint_id', ids[1], 'rate_limit', one.rate_limit,
        'consecutive_failures', one.consecutive_failures, 'last_outcome', one.last_outcome, 'rows', counts[1]));
    END IF;
    RETURN;
  END IF;
  WITH found AS MATERIALIZED (
    SELECT a.id, a.rows, e.status, e.rate_limit, e.consecutive_failures, e.last_outcome, known -> a.id AS own,
      endpoint_lane(e.consecutive_failures, e.last_outcome, known -> a.id ->> 'lane') AS lane
    FROM unnest(ids, counts) AS a (id, rows) LEFT JOIN endpoints e ON e.id = a.id
  ), wanting AS MATERIALIZED (
    SELECT f.*, least(f.rows, coalesce(f.own ->> f.lane, rooms ->> f.lane)::int) AS want FROM found f
    WHERE f.status = 'enabled'
  ), lanes AS (
    SELECT coalesce(bool_and(w.total <= coalesce((free ->> w.lane)::int, 0) OR NOT free ? w.lane), true) AS fits
    FROM (SELECT lane, sum(want) AS total FROM wanting GROUP BY lane) AS w
  )
  SELECT
    CASE WHEN rooms IS NOT NULL AND (SELECT fits FROM lanes)
      THEN coalesce((SELECT jsonb_object_agg(id, want) FROM wanting WHERE want > 0 AND free ? lane), '{}') END,
    EXISTS (SELECT FROM wanting WHERE rate_limit IS NOT NULL),
    (SELECT jsonb_agg(jsonb_build_object('endpoint_id', id, 'rate_limit', rate_limit,
      'consecutive_failures', consecutive_failures, 'last_outcome', last_outcome, 'rows', rows)) FROM wanting),
    (SELECT array_agg(id) FROM wanting),
    (SELECT array_agg(id) FROM found WHERE status IS DISTINCT FROM 'enabled')
  INTO granted, limited, asking, enabled, ended;
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
-- retry_delays_seconds of its endpoint, if it has its own. The first note: now, recorded (see record_outcomes); after,
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
      SELECT CASE WHEN e.timeout_seconds IS NOT NULL OR e.retry_delays_seconds IS NOT NULL THEN jsonb_build_object(
          'timeout_seconds', e.timeout_seconds, 'retry_delays_seconds', e.retry_delays_seconds
        ) END,
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

UPGRADE = (
    DUE_IS_SOUND,
    # The same in one constraint: each is read anew by every statement that writes a row.
    f"""ALTER TABLE due {", ".join(f"DROP CONSTRAINT ck_due_{column}" for column in COLUMNS)},
    DROP CONSTRAINT ck_due_lease, DROP CONSTRAINT ck_due_counts,
    ADD CONSTRAINT ck_due_sound CHECK (due_is_sound(due.*))""",
    "DROP FUNCTION look_for_due",
    "DROP FUNCTION accept_events",  # it takes one more argument, which would make a second one of the same name
    TAKE_ONE,
    LESS_TO_WAIT,
    READ_DELIVERY,
    ACCEPT_EVENTS,
    LOOK_FOR_DUE,
    SHARE_PLACES,
    DRAIN_ROUND,
    ACCEPT_ONE,
)

BEFORE = {  # the migrations that have the functions as they were
    "0007": ("READ_DELIVERY", "LOOK_FOR_DUE", "SHARE_PLACES"),
    "0008": ("ACCEPT_EVENTS",),
    "0009": ("DRAIN_ROUND",),
}
UNDONE = (
    "DROP FUNCTION take_one",
    "DROP FUNCTION less_to_wait",
    f"""ALTER TABLE due DROP CONSTRAINT ck_due_sound,
    {", ".join(f"ADD CONSTRAINT ck_due_{column} CHECK ({column} >= '{EARLIEST}' AND {column} < '{LATEST}')" for column in COLUMNS)},
    ADD CONSTRAINT ck_due_lease CHECK ((leased_until IS NULL) = (lease_token IS NULL)),
    ADD CONSTRAINT ck_due_counts CHECK (claims >= 0 AND attempt_count >= 0 AND window_attempts >= 0)""",
    "DROP FUNCTION due_is_sound",
)


def upgrade() -> None:
    for statement in UPGRADE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    bind = op.get_bind()
    for name in ("accept_one", "accept_events", "look_for_due"):
        bind.exec_driver_sql(f"DROP FUNCTION {name}")
    for revision_before, names in BEFORE.items():
        module = context.script.get_revision(revision_before).module
        for name in names:
            bind.exec_driver_sql(getattr(module, name))
    for statement in UNDONE:
        bind.exec_driver_sql(statement)
