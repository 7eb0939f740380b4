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
