-- One round of a drain: record what has ended, and claim what is due. Either may be NULL.
--
-- outcomes: see record_outcomes. asked: an object.
--   crew: as which this round is stamped; left out: it is not
--   token, lease_seconds: of the leases
--   low_water, walking, after, most_rows, most_endpoints: where to look, and at how many (look_for_due); the first three
--     may be left out
--   granted, limited: what was decided after the last look (take_due); left out: look
--   rooms: by lane, the room of an endpoint that this drain does not know; known: by endpoint, {lane, fast, new, slow}:
--     its rooms, and `slow` when it hangs, `fast` when it has just answered; left out: only look
--   free: by lane, how many rows may be taken without sharing; a lane that is left out gets nothing
--   answering: endpoints that have just answered; they are looked at, however many others there are
--   alone: whether a row that has lost claims may be taken; `only`: nothing else
--
-- Answers one row whose note is an object, then one for each row taken, whose note is an object of the timeout_seconds and
-- retry_delays_seconds of its endpoint, if it has its own. The first note: now, recorded (see record_outcomes); after,
-- where the next walk begins; low,
-- complete, walked (look_for_due); left: whether rows are due for which there was no room; ended: endpoints that are disabled or deleted and have something due; wait (take_due);
-- asking: the others, when sharing the places among them is for app/core/webhook/fairness.py to decide: then nothing is
-- taken. As long as every endpoint can have as many rows as it has room for, there is nothing to share.
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
  look record;
  share record;
  taking record;
  endpoint_ids text[] := ARRAY(SELECT jsonb_array_elements_text(asked -> 'among'));
  taken due[];
  suspicious boolean := true;
  first_at timestamptz;
  last_at timestamptz;
BEGIN
  IF outcomes IS NOT NULL THEN
    said := said || jsonb_build_object('recorded', record_outcomes(outcomes, disable_seconds));
  END IF;
  IF asked IS NULL THEN
    RETURN QUERY SELECT said, NULL, NULL::timestamptz, NULL, NULL, NULL, NULL, NULL::timestamptz, NULL::int,
      NULL::timestamptz, NULL::int, NULL::int, NULL, NULL, NULL::bytea, NULL::bytea[], NULL::bytea;
    RETURN;
  END IF;
  -- A stamp that is locked is being written; one of the future is from before the clock was set back.
  IF asked ? 'crew' THEN
    UPDATE drain_rounds r SET stamped_at = now() FROM (
      SELECT crew FROM drain_rounds
      WHERE crew = asked ->> 'crew'
        AND stamped_at NOT BETWEEN now() - interval '1 second' AND now() + interval '10 seconds'
      FOR UPDATE SKIP LOCKED
    ) AS free WHERE r.crew = free.crew;
  END IF;

  IF granted IS NULL THEN
    look := look_for_due(
      low_water, coalesce((asked ->> 'walking')::boolean, false), coalesce(asked ->> 'after', ''),
      (asked ->> 'most_rows')::int, (asked ->> 'most_endpoints')::int,
      ARRAY(SELECT jsonb_array_elements_text(asked -> 'answering'))
    );
    share := share_places(look.asking, look.counts, asked -> 'rooms', asked -> 'known', asked -> 'free');
    said := said || jsonb_build_object('low', look.low, 'after', look.stopped_at, 'complete', look.complete, 'walked', look.walked,
      'ended', share.ended,
      'left', look.walked OR look.counts IS NOT NULL AND (SELECT sum(c) FROM unnest(look.counts) AS c)
        > coalesce((SELECT sum(g.value::int) FROM jsonb_each_text(share.granted) AS g), 0));
    endpoint_ids := share.enabled;
    suspicious := look.suspicious;
    IF look.walked AND NOT look.complete OR share.granted IS NULL OR alone = 'only' THEN
      suspicious := false;  -- not before whoever shares has asked for it
      said := said || jsonb_build_object('asking', share.asking);
    ELSE
      granted := share.granted;
      limited := share.limited;
    END IF;
  END IF;
  IF granted <> '{}' THEN
    taking := take_due(granted, limited, low_water, token, lease);
    taken := taking.taken;
    said := said || jsonb_build_object('wait', taking.wait);
  END IF;
  IF taken IS NULL AND alone IS NOT NULL AND suspicious AND cardinality(endpoint_ids) > 0 THEN
    taken := take_suspicious(endpoint_ids, token, lease);
  END IF;

  RETURN QUERY SELECT said, NULL, NULL::timestamptz, NULL, NULL, NULL, NULL, NULL::timestamptz, NULL::int,
    NULL::timestamptz, NULL::int, NULL::int, NULL, NULL, NULL::bytea, NULL::bytea[], NULL::bytea;
  IF taken IS NOT NULL THEN
    SELECT min(t.event_created_at), max(t.event_created_at) INTO first_at, last_at FROM unnest(taken) AS t;
    RETURN QUERY
      SELECT CASE WHEN e.timeout_seconds IS NOT NULL OR e.retry_delays_seconds IS NOT NULL THEN jsonb_build_object(
          'timeout_seconds', e.timeout_seconds, 'retry_delays_seconds', e.retry_delays_seconds
        ) END,
        t.delivery_id, t.created_at, t.workspace_id, t.endpoint_id, t.event_id, t.trigger,
        t.window_started_at, t.window_attempts, t.deadline_at, t.claims - 1 - t.attempt_count,
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
