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
