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
