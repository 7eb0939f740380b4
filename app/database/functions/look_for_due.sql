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
