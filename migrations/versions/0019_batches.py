"""Makes batches: several events of an endpoint in one request.

An endpoint says how many events at most and how long they wait for each other; an attempt says in which batch it was, and
at which place; a row of `due` says how many may travel with it after it was refused together with others. No row is written
anew. The functions are copies of app/database/functions as they were with this migration. Processes of the release before
go on: they send each event by itself.
"""

from __future__ import annotations

from alembic import context, op

revision = "0019"
down_revision = "0018"

GATHER_BATCHES = """
-- How many requests endpoints that get batches may be sent now, of what they have due. What came a moment ago and makes no
-- full batch with the others that wait is put off until its time to wait is over; where something else is due, it travels
-- with that. An endpoint that keeps order has a batch for each lane, any other one in a round.
--
-- requests: of each endpoint, in their order. are_left: more is due than that, or some were not looked at: a call reads
-- some 4,000 rows. wait: seconds until the first of those that were put off is due; NULL when none was.
CREATE OR REPLACE FUNCTION gather_batches(
  ids text[], low_water timestamptz, OUT requests int[], OUT are_left boolean, OUT wait float8
)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  e record;
  one record;
  read_rows int := 0;
  due_rows int;
  waiting int;
  fresh text[];
  early text[];
  ends_at timestamptz;
BEGIN
  requests := array_fill(0, ARRAY[cardinality(ids)]);
  are_left := false;
  FOR e IN
    SELECT u.no, p.id, p.batch_max_events AS most, make_interval(secs => p.batch_max_wait_ms / 1000.0) AS wait, p.ordering
    FROM unnest(ids) WITH ORDINALITY AS u (id, no) JOIN endpoints p ON p.id = u.id
    WHERE p.batch_max_events IS NOT NULL ORDER BY random()
  LOOP
    IF read_rows > 0 AND read_rows + e.most > 4000 THEN
      are_left := true;
      CONTINUE;
    END IF;
    WITH oldest AS MATERIALIZED (
      SELECT q.delivery_id,
        q.attempt_count = 0 AND q.claims = 0 AND q.trigger = 'schedule' AND q.window_started_at > now() - e.wait AS is_fresh
      FROM due q
      WHERE q.endpoint_id = e.id AND q.due_at >= low_water AND q.due_at <= now()
        AND (q.leased_until IS NULL OR q.leased_until <= now())
      ORDER BY q.due_at LIMIT e.most
    )
    SELECT count(*), coalesce(array_agg(o.delivery_id) FILTER (WHERE o.is_fresh), '{}') INTO due_rows, fresh FROM oldest o;
    read_rows := read_rows + due_rows + 1;
    IF e.ordering IS NULL THEN
      waiting := due_rows;
      IF cardinality(fresh) = due_rows AND due_rows BETWEEN 1 AND e.most - 1 THEN
        waiting := due_rows + (
          SELECT count(*) FILTER (WHERE w.attempt_count = 0 AND w.claims = 0) FROM (
            SELECT q.attempt_count, q.claims FROM due q
            WHERE q.endpoint_id = e.id AND q.due_at > now() AND q.due_at <= now() + e.wait
              AND (q.leased_until IS NULL OR q.leased_until <= now())
            ORDER BY q.due_at LIMIT e.most
          ) AS w
        );
        read_rows := read_rows + waiting - due_rows;
      END IF;
      IF due_rows > cardinality(fresh) OR waiting >= e.most THEN
        requests[e.no] := 1;
        are_left := are_left OR due_rows >= e.most;
        fresh := '{}';
      END IF;
    ELSE
      requests[e.no] := due_rows - cardinality(fresh);
      early := '{}';
      FOR one IN
        SELECT q.stream_id, array_agg(q.delivery_id) AS ids, lane_low(e.id, q.stream_id) AS low
        FROM due q WHERE q.delivery_id = ANY (fresh) AND q.stream_id IS NOT NULL GROUP BY q.stream_id
      LOOP
        waiting := (SELECT count(*) FROM (
          SELECT FROM due b WHERE b.endpoint_id = e.id AND b.stream_id = one.stream_id AND b.seq >= one.low LIMIT e.most
        ) AS b);
        read_rows := read_rows + waiting;
        IF waiting >= e.most THEN
          early := early || one.ids;
          requests[e.no] := requests[e.no] + 1;
          -- The lane's first row waits itself, unless this is it.
          UPDATE due q SET due_at = now() WHERE q.delivery_id = (
            SELECT f.delivery_id FROM due f WHERE f.endpoint_id = e.id AND f.stream_id = one.stream_id
              AND f.seq >= one.low
            ORDER BY f.seq LIMIT 1 FOR UPDATE SKIP LOCKED
          ) AND q.due_at > now() AND q.attempt_count = 0 AND (q.leased_until IS NULL OR q.leased_until <= now());
        END IF;
      END LOOP;
      fresh := ARRAY(SELECT f FROM unnest(fresh) AS f WHERE f <> ALL (early));
    END IF;
    IF fresh <> '{}' THEN
      WITH put_off AS (
        UPDATE due q SET due_at = q.window_started_at + e.wait FROM (
          SELECT f.delivery_id FROM due f
          WHERE f.delivery_id = ANY (fresh) AND f.due_at <= now() AND (f.leased_until IS NULL OR f.leased_until <= now())
          FOR UPDATE SKIP LOCKED
        ) AS free WHERE q.delivery_id = free.delivery_id RETURNING q.due_at
      )
      SELECT min(p.due_at) INTO ends_at FROM put_off p;
      wait := least(wait, extract(epoch FROM ends_at - now()));
    END IF;
  END LOOP;
END
$$;
"""

FILL_BATCHES = """
-- Lease what travels with rows that were taken for endpoints that get batches: of a lane those behind its first, in order
-- and without a gap; else what is due, and what waits to be sent for the first time. A test, a row that has lost claims,
-- and what is in no lane of an endpoint that keeps order travel by themselves. All of a batch are of the same kind: sent
-- again, by hand or by recover, or not. Rows that were refused with others (batch_most) bring fewer along. An endpoint that
-- has failed seven times in a row gets a single event with every other request, whether that gets through: whole batches
-- are not divided while it fails (app/core/webhook/batches.py).
--
-- known: see drain_round. most_bytes: of one batch, with what stands between its events; a call takes eight times as many
-- at most, and 2,000 events, of which each batch has its share: what comes of them is recorded 256 at a time. The rows
-- behind the first of a lane are put away while they are being sent, too.
CREATE OR REPLACE FUNCTION fill_batches(
  taken due[], batching text[], low_water timestamptz, token uuid, lease interval, known jsonb, most_bytes int
) RETURNS due[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  parked CONSTANT timestamptz := '9998-01-01 00:00:00+00';
  seed record;
  most int;
  left_bytes int := 8 * most_bytes;
  left_rows int := 2000;
  ids text[];
  added due[];
  filled due[] := '{}';
BEGIN
  FOR seed IN
    SELECT t.*, p.ordering, p.batch_max_events, p.consecutive_failures AS failures,
      make_interval(secs => p.batch_max_wait_ms / 1000.0) AS wait,
      (SELECT octet_length(v.body) FROM events v WHERE v.id = t.event_id AND v.created_at = t.event_created_at) AS bytes,
      count(*) OVER (ORDER BY t.due_at DESC, t.delivery_id) AS seeds  -- from this one on
    FROM unnest(taken) AS t JOIN endpoints p ON p.id = t.endpoint_id
    WHERE t.endpoint_id = ANY (batching) AND p.batch_max_events IS NOT NULL
      AND t.trigger <> 'test' AND t.claims - 1 - t.attempt_count < 2 AND (p.ordering IS NOT NULL) = (t.stream_id IS NOT NULL)
      AND (t.seq IS NULL) = (t.stream_id IS NULL)
    ORDER BY seeds DESC
  LOOP
    most := least(
      seed.batch_max_events, seed.batch_most, (known -> seed.endpoint_id ->> 'events')::int, left_rows / seed.seeds
    );
    CONTINUE WHEN most < 2 OR seed.failures >= 7 AND mod(seed.failures, 2) = 1
      OR least(left_bytes, most_bytes) <= coalesce(seed.bytes, 0);
    IF seed.stream_id IS NOT NULL THEN
      ids := ARRAY(
        SELECT q.delivery_id FROM due q
        WHERE q.endpoint_id = seed.endpoint_id AND q.stream_id = seed.stream_id AND q.seq > seed.seq
        ORDER BY q.seq LIMIT most - 1
      );
    ELSE
      ids := ARRAY(
        SELECT q.delivery_id FROM due q
        WHERE q.endpoint_id = seed.endpoint_id AND q.due_at >= low_water AND q.due_at <= now()
          AND (q.leased_until IS NULL OR q.leased_until <= now()) AND q.trigger <> 'test' AND q.seq IS NULL
          AND q.claims - q.attempt_count < 2
          AND (q.window_started_at > q.event_created_at) = (seed.window_started_at > seed.event_created_at)
        ORDER BY q.due_at LIMIT most - 1
      );
      IF cardinality(ids) < most - 1 AND seed.window_started_at <= seed.event_created_at THEN
        ids := ids || ARRAY(
          SELECT f.delivery_id FROM (
            SELECT q.* FROM due q
            WHERE q.endpoint_id = seed.endpoint_id AND q.due_at > now() AND q.due_at <= now() + seed.wait
              AND (q.leased_until IS NULL OR q.leased_until <= now())
            ORDER BY q.due_at LIMIT 2 * most
          ) AS f
          WHERE f.attempt_count = 0 AND f.claims = 0 AND f.trigger = 'schedule' AND f.seq IS NULL
            AND f.window_started_at <= f.event_created_at
          ORDER BY f.due_at LIMIT most - 1 - cardinality(ids)
        );
      END IF;
    END IF;
    CONTINUE WHEN cardinality(ids) = 0;
    WITH locked AS MATERIALIZED (
      SELECT q.delivery_id, q.event_id, q.event_created_at, q.batch_most, u.no
      FROM unnest(ids) WITH ORDINALITY AS u (id, no) JOIN due q ON q.delivery_id = u.id
      WHERE (q.leased_until IS NULL OR q.leased_until <= now()) AND q.claims - q.attempt_count < 2
      FOR UPDATE OF q SKIP LOCKED
    ), measured AS MATERIALIZED (
      SELECT l.delivery_id, l.no, row_number() OVER (ORDER BY l.no) AS place,
        min(coalesce(l.batch_most, most)) OVER (ORDER BY l.no) AS allowed,
        sum(coalesce((
          SELECT octet_length(v.body) FROM events v WHERE v.id = l.event_id AND v.created_at = l.event_created_at
        ), 0) + 1) OVER (ORDER BY l.no) AS bytes
      FROM locked l
    ), leased AS (
      UPDATE due q SET leased_until = now() + lease, lease_token = token, claims = q.claims + 1,
        due_at = CASE WHEN q.stream_id IS NOT NULL THEN parked ELSE least(q.due_at, now()) END
      FROM measured m
      WHERE q.delivery_id = m.delivery_id AND m.place < m.allowed
        AND m.bytes + coalesce(seed.bytes, 0) + 2 <= least(left_bytes, most_bytes)
        AND (seed.stream_id IS NULL OR m.no = m.place)
      RETURNING q AS row_taken, m.bytes
    )
    SELECT array_agg(l.row_taken), left_bytes - coalesce(max(l.bytes), 0) INTO added, left_bytes FROM leased l;
    left_rows := left_rows - 1 - coalesce(cardinality(added), 0);
    filled := filled || added;
  END LOOP;
  RETURN filled;
END
$$;
"""

SHARE_PLACES = """
-- Give each enabled endpoint that asks as many rows as it has and has room for, when the places of its lane suffice for
-- all who ask; else granted is NULL, and app/core/webhook/fairness.py has to decide. Lanes are those of its `lane`.
-- counts: rows of each, NULL: unknown. rooms, known, free: see drain_round.
-- asking: of each enabled one what decides, as an array of objects; may be NULL when granted is not. ended: those that are disabled or deleted.
-- batching: the enabled ones that get their events in batches; NULL for none.
CREATE OR REPLACE FUNCTION share_places(
  ids text[], counts int[], rooms jsonb, known jsonb, free jsonb,
  OUT granted jsonb, OUT limited boolean, OUT asking jsonb, OUT enabled text[], OUT ended text[],
  OUT batching text[]
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
    SELECT e.status, e.rate_limit, e.consecutive_failures, e.last_outcome, e.batch_max_events INTO one
    FROM endpoints e WHERE e.id = ids[1];
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
    batching := CASE WHEN one.batch_max_events IS NOT NULL THEN ids END;
    IF granted IS NULL THEN
      asking := jsonb_build_array(jsonb_build_object('endpoint_id', ids[1], 'rate_limit', one.rate_limit,
        'consecutive_failures', one.consecutive_failures, 'last_outcome', one.last_outcome, 'rows', counts[1],
        'batching', batching IS NOT NULL));
    END IF;
    RETURN;
  END IF;
  WITH found AS MATERIALIZED (
    SELECT a.id, a.rows, e.status, e.rate_limit, e.consecutive_failures, e.last_outcome, e.batch_max_events,
      known -> a.id AS own,
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
      'consecutive_failures', consecutive_failures, 'last_outcome', last_outcome, 'rows', rows,
      'batching', batch_max_events IS NOT NULL)) FROM wanting),
    (SELECT array_agg(id) FROM wanting),
    (SELECT array_agg(id) FROM found WHERE status IS DISTINCT FROM 'enabled'),
    (SELECT array_agg(id) FROM wanting WHERE batch_max_events IS NOT NULL)
  INTO granted, limited, asking, enabled, ended, batching;
END
$$;
"""

TAKE_AGAIN = """
-- Lease once more what is leased with a token: the answer to the call that did so was lost. Of these rows each is handed
-- out as it was then; its claim is not counted again. Those that were to travel behind the first of a lane are put away.
CREATE OR REPLACE FUNCTION take_again(low_water timestamptz, token uuid, lease interval) RETURNS due[]
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
  taken due[];
  behind due[];
BEGIN
  WITH held AS MATERIALIZED (
    SELECT q.delivery_id FROM due q
    WHERE q.lease_token = token AND q.due_at >= low_water AND q.due_at <= now() FOR UPDATE SKIP LOCKED
  ), leased AS (
    UPDATE due q SET leased_until = now() + lease FROM held h WHERE q.delivery_id = h.delivery_id RETURNING q.*
  )
  SELECT array_agg(l::due) INTO taken FROM leased l;
  IF EXISTS (SELECT FROM unnest(taken) AS t WHERE t.stream_id IS NOT NULL) THEN
    WITH held AS MATERIALIZED (
      SELECT q.delivery_id FROM unnest(taken) AS t
      JOIN due q ON q.endpoint_id = t.endpoint_id AND q.stream_id = t.stream_id AND q.seq > t.seq
      WHERE q.lease_token = token FOR UPDATE OF q SKIP LOCKED
    ), leased AS (
      UPDATE due q SET leased_until = now() + lease FROM held h WHERE q.delivery_id = h.delivery_id RETURNING q.*
    )
    SELECT array_agg(l::due) INTO behind FROM leased l;
  END IF;
  RETURN taken || behind;
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
    phases_ms int[], reused boolean,
    batch_id text, batch_size int, batch_position int, batch_most int, uncounted boolean
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
    window_attempts = d.window_attempts
      + CASE WHEN (d.trigger <> 'manual' OR d.window_attempts = 0) AND o.uncounted IS NOT TRUE THEN 1 ELSE 0 END,
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
      window_attempts = q.window_attempts
        + CASE WHEN (q.trigger <> 'manual' OR q.window_attempts = 0) AND o.uncounted IS NOT TRUE THEN 1 ELSE 0 END,
      batch_most = coalesce(o.batch_most, q.batch_most),
      -- What was to wait behind others of its stream does not when its endpoint keeps order no more.
      due_at = CASE WHEN o.due_at >= '9998-01-01 00:00:00+00' AND q.stream_id IS NULL THEN now() ELSE o.due_at END,
      trigger = 'schedule', leased_until = NULL, lease_token = NULL
    WHERE q.delivery_id = o.delivery_id;
    IF o.due_at >= '9998-01-01 00:00:00+00' THEN  -- what was before it may have gone meanwhile, and found it being sent
      PERFORM open_lane(q.endpoint_id, q.stream_id) FROM due q
      WHERE q.delivery_id = o.delivery_id AND q.stream_id IS NOT NULL;
    END IF;
    IF NOT EXISTS (SELECT FROM endpoints e WHERE e.id = o.endpoint_id AND e.status = 'enabled') THEN
      answer := jsonb_build_object('unwanted', jsonb_build_array(o.endpoint_id));
    END IF;
  END IF;
  INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
    error, status_code, remote_address, response_headers, response_body, trigger,
    dns_ms, connect_ms, tls_ms, first_byte_ms, connection_reused, batch_id, batch_size, batch_position)
  VALUES (o.attempt_id, o.attempt_at, o.workspace_id, o.endpoint_id, o.delivery_id, attempts_before + 1, o.started_at,
    o.duration_ms, o.outcome, o.error, o.status_code, o.remote_address, o.response_headers,
    decode(o.response_body, 'base64'), o.trigger,
    o.phases_ms[1], o.phases_ms[2], o.phases_ms[3], o.phases_ms[4], o.reused,
    o.batch_id, o.batch_size, o.batch_position)
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
  put_away text[];
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
      resent boolean, by_us boolean, status text, reason text, due_at timestamptz, phases_ms int[], reused boolean,
      batch_id text, batch_size int, batch_position int, batch_most int, uncounted boolean
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
      max(k.due_at) FILTER (WHERE k.moves) AS due_at, max(k.batch_most) FILTER (WHERE k.moves) AS batch_most,
      bool_and(k.uncounted IS NOT TRUE) FILTER (WHERE k.moves) AS counts
    FROM known k WHERE NOT k.is_written GROUP BY k.delivery_id
  ), changed AS (
    UPDATE deliveries d SET
      attempt_count = d.attempt_count + m.attempts,
      -- A person's attempt in the middle of a window does not use up one of the schedule.
      window_attempts = d.window_attempts
        + CASE WHEN m.moves AND m.counts AND (d.trigger <> 'manual' OR d.window_attempts = 0) THEN 1 ELSE 0 END,
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
        + CASE WHEN m.moves AND m.counts AND (q.trigger <> 'manual' OR q.window_attempts = 0) THEN 1 ELSE 0 END,
      batch_most = coalesce(m.batch_most, q.batch_most),
      -- What was to wait behind others of its stream does not when its endpoint keeps order no more.
      due_at = CASE WHEN m.moves AND m.due_at >= '9998-01-01 00:00:00+00' AND q.stream_id IS NULL THEN now()
        WHEN m.moves THEN m.due_at ELSE q.due_at END,
      trigger = CASE WHEN m.moves THEN 'schedule' ELSE q.trigger END,
      leased_until = CASE WHEN m.moves THEN NULL ELSE q.leased_until END,
      lease_token = CASE WHEN m.moves THEN NULL ELSE q.lease_token END
    FROM moved m
    WHERE q.delivery_id = m.delivery_id AND q.delivery_id = ANY (ids) AND NOT (m.moves AND m.status <> 'pending')
  ), logged AS (
    INSERT INTO attempts (id, created_at, workspace_id, endpoint_id, delivery_id, number, started_at, duration_ms, outcome,
      error, status_code, remote_address, response_headers, response_body, trigger,
      dns_ms, connect_ms, tls_ms, first_byte_ms, connection_reused, batch_id, batch_size, batch_position)
    SELECT k.attempt_id, k.attempt_at, k.workspace_id, k.endpoint_id, k.delivery_id,
      k.attempt_count + row_number() OVER (PARTITION BY k.delivery_id ORDER BY k.n), k.started_at, k.duration_ms,
      k.outcome, k.error, k.status_code, k.remote_address, k.response_headers, decode(k.response_body, 'base64'), k.trigger,
      k.phases_ms[1], k.phases_ms[2], k.phases_ms[3], k.phases_ms[4], k.reused,
      k.batch_id, k.batch_size, k.batch_position
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
    array_agg(k.delivery_id) FILTER (WHERE k.moves AND k.due_at >= '9998-01-01 00:00:00+00'),
    coalesce(array_agg(k.n), '{}')
  INTO answer, counted, told, all_good, retried, put_away, seen
  FROM known k;

  IF put_away IS NOT NULL THEN  -- what was before them may have gone meanwhile, and found them being sent
    PERFORM open_lane(l.endpoint_id, l.stream_id) FROM (
      SELECT DISTINCT q.endpoint_id, q.stream_id FROM due q WHERE q.delivery_id = ANY (put_away) AND q.stream_id IS NOT NULL
    ) AS l;
  END IF;

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
  dns_ms int, connect_ms int, tls_ms int, first_byte_ms int, connection_reused boolean,
  batch_id text, batch_size int, batch_position int
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
        a.dns_ms, a.connect_ms, a.tls_ms, a.first_byte_ms, a.connection_reused,
        a.batch_id, a.batch_size, a.batch_position
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
--   granted, limited, batching: what was decided after the last look (take_due), and which of these endpoints get
--     batches; left out: look
--   batches: whether this drain sends batches, and then the most bytes of one
--   rooms: by lane, the room of an endpoint that this drain does not know; known: by endpoint, {lane, fast, new, slow}:
--     its rooms, and `slow` when it hangs, `fast` when it has just answered; left out: only look. Also by endpoint,
--     `events`: the most of a batch, where it has just accepted fewer than it was sent
--   free: by lane, how many rows may be taken without sharing; a lane that is left out gets nothing
--   answering: endpoints that have just answered; they are looked at, however many others there are
--   alone: whether a row that has lost claims may be taken; `only`: nothing else
--
-- Answers one row whose note is an object, then one for each row taken, whose note is an object of the timeout_seconds and
-- retry_delays_seconds of its endpoint, if it has its own, of a tick before the event, if it wants that (tick_before),
-- of its `lane` (lane_place), if it has one, and of its `batch`, if it belongs to one: which (of those of its endpoint),
-- its place in the order of the log, the failures of its endpoint, and whether it is in a lane. The first note: now, recorded (see record_outcomes); after,
-- where the next walk begins; low, complete, walked (look_for_due); all_seconds, when `fresh` has found a mark; left:
-- whether rows are due for which there was no room; more: whether the next round may take further batches at once; put_off:
-- seconds until the first of those is due that this round has put off (gather_batches); ended:
-- endpoints that are disabled or deleted and have something due; wait (take_due); asking: the others, when sharing the
-- places among them is for app/core/webhook/fairness.py to decide: then nothing is taken. As long as every endpoint can
-- have as many rows as it has room for, there is nothing to share.
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
  are_behind boolean := false;
  sends_batches boolean := asked ? 'batches';
  batching text[];
  requests int[];
  batches_left boolean := false;
  batches_wait float8;
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
    IF asked ? 'batching' THEN
      batching := ARRAY(SELECT jsonb_array_elements_text(asked -> 'batching'));
    END IF;
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
    IF share.batching IS NOT NULL AND sends_batches THEN  -- places are for requests, of which these need fewer
      batching := share.batching;
      SELECT g.requests, g.are_left, g.wait INTO requests, batches_left, batches_wait
      FROM gather_batches(batching, low_water) AS g;
      SELECT array_agg(a.id), array_agg(coalesce(b.most, a.rows)) INTO look.asking, look.counts
      FROM unnest(look.asking, look.counts) AS a (id, rows)
      LEFT JOIN unnest(batching, requests) AS b (id, most) ON b.id = a.id
      WHERE b.most IS DISTINCT FROM 0;
      share := share_places(
        look.asking, look.counts,
        CASE WHEN NOT (look.walked AND NOT look.complete OR alone IS NOT DISTINCT FROM 'only') THEN asked -> 'rooms' END,
        asked -> 'known', asked -> 'free'
      );
    END IF;
    endpoint_ids := share.enabled;
    suspicious := look.suspicious;
    are_left := look.walked OR batches_left;
    IF look.counts IS NOT NULL AND NOT are_left THEN
      are_left := (SELECT sum(c) FROM unnest(look.counts) AS c)
        > coalesce((SELECT sum(g.value::int) FROM jsonb_each_text(share.granted) AS g), 0);
    END IF;
    said := said || jsonb_build_object(
      'low', CASE WHEN look.low IS NOT NULL THEN greatest(look.low, earliest) END, 'after', look.stopped_at,
      'complete', look.complete, 'walked', look.walked, 'ended', share.ended, 'left', are_left,
      'more', batches_left, 'put_off', batches_wait
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
  IF batching IS NOT NULL AND taken IS NOT NULL THEN
    taken := taken || fill_batches(
      taken, batching, low_water, token, lease, asked -> 'known', (asked ->> 'batches')::int
    );
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
      SELECT min(t.event_created_at), max(t.event_created_at), bool_or(t.due_at >= '9998-01-01 00:00:00+00')
      INTO first_at, last_at, are_behind FROM unnest(taken) AS t;
    END IF;
    RETURN QUERY
      SELECT CASE
          WHEN e.timeout_seconds IS NOT NULL OR e.retry_delays_seconds IS NOT NULL OR e.feed_cursor OR t.seq IS NOT NULL
            OR sends_batches AND e.batch_max_events IS NOT NULL
          THEN jsonb_build_object(
            'timeout_seconds', e.timeout_seconds, 'retry_delays_seconds', e.retry_delays_seconds,
            'tick', CASE WHEN e.feed_cursor THEN tick_before(v.xid, v.no) END,
            'lane', CASE WHEN t.seq IS NOT NULL AND t.due_at < '9998-01-01 00:00:00+00' THEN lane_place(t) END,
            -- What was leased with the first of its lane travels with it, though its endpoint gets batches no more.
            'batch', CASE WHEN sends_batches AND (e.batch_max_events IS NOT NULL OR are_behind AND t.stream_id IS NOT NULL
              AND (t.endpoint_id, t.stream_id) IN (
                SELECT b.endpoint_id, b.stream_id FROM unnest(taken) AS b WHERE b.due_at >= '9998-01-01 00:00:00+00'
              )
            ) THEN jsonb_build_array(
              CASE WHEN t.trigger = 'test' OR t.claims - 1 - t.attempt_count >= 2
                  OR t.stream_id IS NULL AND (e.ordering IS NOT NULL OR t.seq IS NOT NULL)
                THEN t.delivery_id ELSE coalesce(t.stream_id::text, '') END,
              coalesce(t.seq, v.no, 0), e.consecutive_failures, t.stream_id IS NOT NULL) END
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

COLUMNS = (
    "ALTER TABLE endpoints ADD COLUMN batch_max_events int, ADD COLUMN batch_max_wait_ms int,"
    " ADD CONSTRAINT ck_endpoints_batch CHECK ((batch_max_events IS NULL) = (batch_max_wait_ms IS NULL)"
    " AND batch_max_events BETWEEN 1 AND 1000 AND batch_max_wait_ms BETWEEN 0 AND 60000)",
    "ALTER TABLE due ADD COLUMN batch_most int",
    "ALTER TABLE attempts ADD COLUMN batch_id text, ADD COLUMN batch_size int, ADD COLUMN batch_position int",
)
# What a function answers cannot be changed.
ANSWER_MORE = ("DROP FUNCTION share_places", "DROP FUNCTION read_delivery")
FUNCTIONS = (
    GATHER_BATCHES,
    FILL_BATCHES,
    SHARE_PLACES,
    TAKE_AGAIN,
    RECORD_ONE,
    RECORD_OUTCOMES,
    READ_DELIVERY,
    DRAIN_ROUND,
)
BEFORE = {  # the migrations that have the functions as they were
    "0007": ("TAKE_AGAIN",),
    "0013": ("SHARE_PLACES",),
    "0017": ("RECORD_ONE", "RECORD_OUTCOMES", "READ_DELIVERY", "DRAIN_ROUND"),
}
UNDONE = (
    "DROP FUNCTION gather_batches",
    "DROP FUNCTION fill_batches",
    "ALTER TABLE attempts DROP COLUMN batch_id, DROP COLUMN batch_size, DROP COLUMN batch_position",
    "ALTER TABLE due DROP COLUMN batch_most",
    "ALTER TABLE endpoints DROP COLUMN batch_max_events, DROP COLUMN batch_max_wait_ms",
)


def upgrade() -> None:
    for statement in (*COLUMNS, *ANSWER_MORE, *FUNCTIONS):
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    bind = op.get_bind()
    for statement in ANSWER_MORE:
        bind.exec_driver_sql(statement)
    for revision_before, names in BEFORE.items():
        module = context.script.get_revision(revision_before).module
        for name in names:
            bind.exec_driver_sql(getattr(module, name))
    for statement in UNDONE:
        bind.exec_driver_sql(statement)
