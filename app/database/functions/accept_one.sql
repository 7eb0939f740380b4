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
