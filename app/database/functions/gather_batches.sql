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
