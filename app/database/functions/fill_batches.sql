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
