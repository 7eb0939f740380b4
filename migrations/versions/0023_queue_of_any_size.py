"""Have the functions of a claim read only the rows that they name, whatever the planner believes of the queue's size.

When a queue that was long is empty, a vacuum writes down that its table has no rows in thousands of pages. Until the next
one the planner expects a single row in it: a join with it then began with all its rows.

The functions are copies of app/database/functions as they were with this migration. They are asked and answer as before:
drains of the release before go on beside it, and none has to stop.
"""

from __future__ import annotations

from alembic import context, op

revision = "0023"
down_revision = "0022"

IS_BEHIND = """
-- Whether something waits in a lane before a place (a row's seq); false where there is no lane. In the snapshot of the
-- statement that asks. A function, so that no plan can turn it into a join with all that waits (see drain_round).
CREATE OR REPLACE FUNCTION is_behind(endpoint text, stream bigint, place bigint) RETURNS boolean
LANGUAGE plpgsql STABLE
SET enable_sort = off
AS $$
BEGIN
  RETURN (
    SELECT f.seq FROM due f WHERE f.endpoint_id = endpoint AND f.stream_id = stream AND f.seq < place
      AND f.seq >= lane_low(endpoint, stream)
    ORDER BY f.seq LIMIT 1
  ) IS NOT NULL;
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
  WHERE q.delivery_id = delivery AND greatest(q.due_at, q.leased_until) <= now()
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

OPEN_LANE = """
-- Let the first row of a lane that nobody has locked be looked at, if it was put away. It need not be the lane's first:
-- a claim takes no other, and lets that one out where it finds it put away. Where all are locked, whoever looks for lanes
-- whose first row is put away opens it later (app/delivery/lane_rows.py).
CREATE OR REPLACE FUNCTION open_lane(endpoint text, stream bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET enable_sort = off  -- see drain_round
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

LOOK_FOR_DUE = """
-- Which endpoints have something due, and what that says of each: rows of a JSON array, without those that were looked
-- at before.
--
-- Two ways. While little is due, the rows themselves are read in the order of their time, from `low_water` on: all that
-- has ended lies below, and dead rows, which nobody can remove while some session holds an old snapshot, are not walked
-- through. When more is due than that reads, or `walking`, it goes from endpoint to endpoint in the order of their ids,
-- from `after` on: each step jumps over all other rows of the last one.
--
-- answering: endpoints that are looked at in any case: what they get is over soon. So are those of the newest rows, of
-- which a walk that passes thousands that hang would come across late.
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
  newest text[];
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
    newest := ARRAY(
      SELECT n.endpoint_id FROM (
        SELECT q.endpoint_id, q.due_at, q.leased_until FROM due q
        WHERE q.due_at >= greatest(low_water, now() - interval '1 second') AND q.due_at <= now()
        ORDER BY q.due_at DESC LIMIT 64
      ) AS n
      WHERE n.leased_until IS NULL OR n.leased_until <= now()
      GROUP BY n.endpoint_id ORDER BY max(n.due_at) DESC LIMIT most_endpoints
    );
    asking := asking || ARRAY(
      SELECT a.id FROM unnest(answering) AS a (id) CROSS JOIN LATERAL (
        -- With a bound, so that it is not read as a join with all that is due.
        SELECT FROM due q WHERE (q.endpoint_id, q.due_at) >= (a.id, low_water) AND (q.endpoint_id, q.due_at) <= (a.id, now())
          AND (q.leased_until IS NULL OR q.leased_until <= now())
        ORDER BY q.endpoint_id, q.due_at LIMIT 1
      ) AS one
      WHERE a.id <> ALL (asking)
    );
    -- By turns with those of the walk: neither thousands that hang nor a flood of new ones take all places.
    asking := ARRAY(
      SELECT mixed.id FROM (
        SELECT w.id, 2 * w.place AS turn FROM unnest(asking) WITH ORDINALITY AS w (id, place)
        UNION ALL
        SELECT n.id, 2 * n.place - 1 FROM unnest(newest) WITH ORDINALITY AS n (id, place)
        WHERE n.id <> ALL (asking)
      ) AS mixed ORDER BY mixed.turn
    );
  END IF;
  counts := array_fill(NULL::int, ARRAY[cardinality(asking)]);
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
-- No plan may depend on how many rows `due` is believed to have. A vacuum that finds it empty writes that down, and for up to
-- a minute, in which ten thousand may come, a join with it would begin with all its rows, and any index would do to find
-- one. So rows are named by arrays of ids, never by joins, and by nothing else that an index has: times are compared as
-- greatest(due_at, leased_until), lanes behind a fence of OFFSET 0; whether a row of a lane is its first, is_behind tells. With
-- sorting switched off, bounds and order by (endpoint_id, due_at), or order by seq, leave one index each.
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
SET enable_sort = off
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
      LEFT JOIN LATERAL (  -- with a limit, so that it is looked up for each row, and never all of these times is read
        SELECT o.body, o.xid, o.no FROM events o
        WHERE o.id = t.event_id AND o.created_at = t.event_created_at AND o.created_at BETWEEN first_at AND last_at LIMIT 1
      ) AS v ON true
      ORDER BY t.due_at;
  END IF;
END
$$;
"""

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
DECLARE
  coming record;
BEGIN
  IF cardinality(ids) = 0 THEN
    RETURN;
  END IF;
  FOR coming IN
    SELECT q.delivery_id, q.endpoint_id, v.stream_id, v.seq,
      lag(v.seq) OVER (PARTITION BY q.endpoint_id, v.stream_id ORDER BY v.seq) AS before
    FROM (SELECT * FROM due WHERE delivery_id = ANY (ids) OFFSET 0) AS q
    JOIN events v ON v.id = q.event_id AND v.created_at = q.event_created_at
  LOOP
    UPDATE due q SET stream_id = coming.stream_id, seq = coming.seq,
      prev_seq = coalesce(coming.before, (
        SELECT l.tail_seq FROM lanes l JOIN endpoints e ON e.id = l.endpoint_id AND l.moved_at >= e.ordered_at
        WHERE l.endpoint_id = coming.endpoint_id AND l.stream_id = coming.stream_id AND l.tail_seq < coming.seq
      )),
      due_at = CASE WHEN coming.before IS NULL OR q.leased_until > now() THEN q.due_at ELSE '9998-01-01 00:00:00+00' END
    WHERE q.delivery_id = coming.delivery_id;
  END LOOP;
  INSERT INTO lanes AS l (endpoint_id, stream_id, tail_seq, moved_at)
  SELECT q.endpoint_id, q.stream_id, max(q.seq), clock_timestamp()
  FROM (SELECT * FROM due WHERE delivery_id = ANY (ids) OFFSET 0) AS q WHERE q.stream_id IS NOT NULL
  GROUP BY q.endpoint_id, q.stream_id ORDER BY q.endpoint_id, q.stream_id
  ON CONFLICT (endpoint_id, stream_id) DO UPDATE SET tail_seq = greatest(l.tail_seq, excluded.tail_seq),
    moved_at = excluded.moved_at;
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
        WHERE (q.endpoint_id, q.due_at) >= (g.endpoint_id, low_water) AND (q.endpoint_id, q.due_at) <= (g.endpoint_id, now())
          AND (q.leased_until IS NULL OR q.leased_until <= now()) AND q.claims - q.attempt_count < 2
        ORDER BY q.endpoint_id, q.due_at LIMIT g.most FOR UPDATE SKIP LOCKED
      ) AS p
    ), leased AS (
      UPDATE due q SET leased_until = now() + lease, lease_token = token, claims = q.claims + 1
      WHERE q.delivery_id = ANY (ARRAY(SELECT p.delivery_id FROM picked p)) RETURNING q.*
    )
    SELECT array_agg(l::due), bool_or(l.stream_id IS NOT NULL) INTO some_taken, in_lanes FROM leased l;
    EXIT WHEN in_lanes IS NOT TRUE;
    -- A statement of its own, which sees all that was committed before these rows were locked.
    behind := ARRAY(
      SELECT t.delivery_id FROM unnest(some_taken) AS t
      WHERE t.stream_id IS NOT NULL AND is_behind(t.endpoint_id, t.stream_id, t.seq)
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
        WHERE (q.endpoint_id, q.due_at) >= (g.id, low_water) AND (q.endpoint_id, q.due_at) <= (g.id, now())
          AND (q.leased_until IS NULL OR q.leased_until <= now())
        ORDER BY q.endpoint_id, q.due_at LIMIT most
      ) AS o
      WHERE is_behind(o.endpoint_id, o.stream_id, o.seq)
    ), locked AS MATERIALIZED (
      SELECT q.delivery_id, q.endpoint_id, q.stream_id FROM due q
      WHERE q.delivery_id = ANY (ARRAY(SELECT o.delivery_id FROM oldest o))
        AND greatest(q.due_at, q.leased_until) <= now() FOR UPDATE SKIP LOCKED
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
    SELECT q.delivery_id FROM due q WHERE q.delivery_id = ANY (ARRAY(
        SELECT oldest.delivery_id FROM unnest(endpoint_ids) AS a (endpoint_id) CROSS JOIN LATERAL (
          SELECT o.delivery_id, o.claims - o.attempt_count AS lost FROM due o
          WHERE (o.endpoint_id, o.due_at) >= (a.endpoint_id, '-infinity'::timestamptz)
            AND (o.endpoint_id, o.due_at) <= (a.endpoint_id, now()) AND (o.leased_until IS NULL OR o.leased_until <= now())
          ORDER BY o.endpoint_id, o.due_at LIMIT 32
        ) AS oldest WHERE oldest.lost >= 2
      ))
      AND greatest(q.due_at, q.leased_until) <= now()
      AND NOT is_behind(q.endpoint_id, q.stream_id, q.seq)
    LIMIT 1 FOR UPDATE SKIP LOCKED
  ), leased AS (
    UPDATE due q SET leased_until = now() + lease, lease_token = token, claims = q.claims + 1
    WHERE q.delivery_id = ANY (ARRAY(SELECT p.delivery_id FROM picked p)) RETURNING q.*
  )
  SELECT array_agg(l::due) INTO taken FROM leased l;
  RETURN taken;
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
    WHERE q.delivery_id = ANY (ids) AND num_nonnulls(q.stream_id) = 1
      AND (q.leased_until IS NULL OR q.leased_until <= now())
      AND NOT is_behind(q.endpoint_id, q.stream_id, q.seq)
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
    WHERE q.lease_token = token AND q.due_at >= low_water AND q.due_at <= now() ORDER BY q.due_at FOR UPDATE SKIP LOCKED
  ), leased AS (
    UPDATE due q SET leased_until = now() + lease
    WHERE q.delivery_id = ANY (ARRAY(SELECT h.delivery_id FROM held h)) RETURNING q.*
  )
  SELECT array_agg(l::due) INTO taken FROM leased l;
  IF EXISTS (SELECT FROM unnest(taken) AS t WHERE t.stream_id IS NOT NULL) THEN
    WITH held AS MATERIALIZED (
      SELECT f.delivery_id FROM unnest(taken) AS t CROSS JOIN LATERAL (
        SELECT q.delivery_id FROM due q
        WHERE q.endpoint_id = t.endpoint_id AND q.stream_id = t.stream_id AND q.seq > t.seq AND q.lease_token = token
        ORDER BY q.seq FOR UPDATE SKIP LOCKED
      ) AS f
    ), leased AS (
      UPDATE due q SET leased_until = now() + lease
      WHERE q.delivery_id = ANY (ARRAY(SELECT h.delivery_id FROM held h)) RETURNING q.*
    )
    SELECT array_agg(l::due) INTO behind FROM leased l;
  END IF;
  RETURN taken || behind;
END
$$;
"""

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
      WHERE (q.endpoint_id, q.due_at) >= (e.id, low_water) AND (q.endpoint_id, q.due_at) <= (e.id, now())
        AND (q.leased_until IS NULL OR q.leased_until <= now())
      ORDER BY q.endpoint_id, q.due_at LIMIT e.most
    )
    SELECT count(*), coalesce(array_agg(o.delivery_id) FILTER (WHERE o.is_fresh), '{}') INTO due_rows, fresh FROM oldest o;
    read_rows := read_rows + due_rows + 1;
    IF e.ordering IS NULL THEN
      waiting := due_rows;
      IF cardinality(fresh) = due_rows AND due_rows BETWEEN 1 AND e.most - 1 THEN
        waiting := due_rows + (
          SELECT count(*) FILTER (WHERE w.attempt_count = 0 AND w.claims = 0) FROM (
            SELECT q.attempt_count, q.claims FROM due q
            WHERE (q.endpoint_id, q.due_at) > (e.id, now()) AND (q.endpoint_id, q.due_at) <= (e.id, now() + e.wait)
              AND (q.leased_until IS NULL OR q.leased_until <= now())
            ORDER BY q.endpoint_id, q.due_at LIMIT e.most
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
        FROM (SELECT * FROM due WHERE delivery_id = ANY (fresh) OFFSET 0) AS q
        WHERE q.stream_id IS NOT NULL GROUP BY q.stream_id
      LOOP
        waiting := (SELECT count(*) FROM (
          SELECT FROM due b WHERE b.endpoint_id = e.id AND b.stream_id = one.stream_id AND b.seq >= one.low
          ORDER BY b.seq LIMIT e.most
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
        UPDATE due q SET due_at = q.window_started_at + e.wait WHERE q.delivery_id = ANY (ARRAY(
          SELECT f.delivery_id FROM due f
          WHERE f.delivery_id = ANY (fresh) AND greatest(f.due_at, f.leased_until) <= now() FOR UPDATE SKIP LOCKED
        )) RETURNING q.due_at
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
        WHERE (q.endpoint_id, q.due_at) >= (seed.endpoint_id, low_water)
          AND (q.endpoint_id, q.due_at) <= (seed.endpoint_id, now())
          AND (q.leased_until IS NULL OR q.leased_until <= now()) AND q.trigger <> 'test' AND q.seq IS NULL
          AND q.claims - q.attempt_count < 2
          AND (q.window_started_at > q.event_created_at) = (seed.window_started_at > seed.event_created_at)
        ORDER BY q.endpoint_id, q.due_at LIMIT most - 1
      );
      IF cardinality(ids) < most - 1 AND seed.window_started_at <= seed.event_created_at THEN
        ids := ids || ARRAY(
          SELECT f.delivery_id FROM (
            SELECT q.* FROM due q
            WHERE (q.endpoint_id, q.due_at) > (seed.endpoint_id, now())
              AND (q.endpoint_id, q.due_at) <= (seed.endpoint_id, now() + seed.wait)
              AND (q.leased_until IS NULL OR q.leased_until <= now())
            ORDER BY q.endpoint_id, q.due_at LIMIT 2 * most
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
      FROM unnest(ids) WITH ORDINALITY AS u (id, no) CROSS JOIN LATERAL (
        SELECT * FROM due d
        WHERE d.delivery_id = u.id AND d.claims - d.attempt_count < 2
          AND (d.leased_until IS NULL OR d.leased_until <= now())
        LIMIT 1 FOR UPDATE SKIP LOCKED
      ) AS q
    ), measured AS MATERIALIZED (
      SELECT l.delivery_id, l.no, row_number() OVER (ORDER BY l.no) AS place,
        min(coalesce(l.batch_most, most)) OVER (ORDER BY l.no) AS allowed,
        sum(coalesce((
          SELECT octet_length(v.body) FROM events v WHERE v.id = l.event_id AND v.created_at = l.event_created_at
        ), 0) + 1) OVER (ORDER BY l.no) AS bytes
      FROM locked l
    ), fitting AS MATERIALIZED (
      SELECT m.delivery_id, m.bytes FROM measured m
      WHERE m.place < m.allowed AND m.bytes + coalesce(seed.bytes, 0) + 2 <= least(left_bytes, most_bytes)
        AND (seed.stream_id IS NULL OR m.no = m.place)
    ), leased AS (
      UPDATE due q SET leased_until = now() + lease, lease_token = token, claims = q.claims + 1,
        due_at = CASE WHEN q.stream_id IS NOT NULL THEN parked ELSE least(q.due_at, now()) END
      WHERE q.delivery_id = ANY (ARRAY(SELECT f.delivery_id FROM fitting f))
      RETURNING q AS row_taken
    )
    SELECT array_agg(l.row_taken), left_bytes - coalesce((SELECT max(f.bytes) FROM fitting f), 0)
    INTO added, left_bytes FROM leased l;
    left_rows := left_rows - 1 - coalesce(cardinality(added), 0);
    filled := filled || added;
  END LOOP;
  RETURN filled;
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
    DELETE FROM due q WHERE q.delivery_id = ANY (ARRAY(
      SELECT m.delivery_id FROM moved m WHERE m.moves AND m.status <> 'pending'
    ))
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
      SELECT DISTINCT q.endpoint_id, q.stream_id FROM (SELECT * FROM due WHERE delivery_id = ANY (put_away) OFFSET 0) AS q
      WHERE q.stream_id IS NOT NULL
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

# By the migration that made them as they were before.
BEFORE = {
    "0013": ("TAKE_ONE",),
    "0017": ("JOIN_LANES",),
    "0019": ("DRAIN_ROUND", "TAKE_AGAIN", "GATHER_BATCHES", "FILL_BATCHES", "RECORD_OUTCOMES"),
    "0020": ("OPEN_LANE", "TAKE_DUE", "PARK_WAITING", "TAKE_SUSPICIOUS", "SET_ASIDE"),
    "0022": ("LOOK_FOR_DUE",),
}


def upgrade() -> None:
    for function in (
        IS_BEHIND, TAKE_ONE, OPEN_LANE, LOOK_FOR_DUE, DRAIN_ROUND, JOIN_LANES, TAKE_DUE,
        PARK_WAITING, TAKE_SUSPICIOUS, SET_ASIDE, TAKE_AGAIN, GATHER_BATCHES, FILL_BATCHES, RECORD_OUTCOMES,
    ):  # fmt: skip
        op.get_bind().exec_driver_sql(function)


def downgrade() -> None:
    for revision_before, names in BEFORE.items():
        module = context.script.get_revision(revision_before).module
        for name in names:
            op.get_bind().exec_driver_sql(getattr(module, name))
    op.execute("DROP FUNCTION is_behind(text, bigint, bigint)")
