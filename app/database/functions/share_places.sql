-- Give each enabled endpoint that asks as many rows as it has and has room for, when the places of its lane suffice for
-- all who ask; else granted is NULL, and app/core/webhook/fairness.py has to decide. Lanes are those of its `lane`.
-- counts: rows of each, NULL: unknown. rooms, known, free: see drain_round.
-- asking: of each enabled one what decides, as an array of objects. ended: those that are disabled or deleted.
CREATE OR REPLACE FUNCTION share_places(
  ids text[], counts int[], rooms jsonb, known jsonb, free jsonb,
  OUT granted jsonb, OUT limited boolean, OUT asking jsonb, OUT enabled text[], OUT ended text[]
)
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
  IF ids IS NULL OR cardinality(ids) = 0 THEN
    granted := '{}';
    RETURN;
  END IF;
  WITH found AS MATERIALIZED (
    SELECT a.id, a.rows, e.status, e.rate_limit, e.consecutive_failures, e.last_outcome, known -> a.id AS own,
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
      'consecutive_failures', consecutive_failures, 'last_outcome', last_outcome, 'rows', rows)) FROM wanting),
    (SELECT array_agg(id) FROM wanting),
    (SELECT array_agg(id) FROM found WHERE status IS DISTINCT FROM 'enabled')
  INTO granted, limited, asking, enabled, ended;
END
$$;
