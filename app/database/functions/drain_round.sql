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
