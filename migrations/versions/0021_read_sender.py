"""Makes what tells of what a delivery's requests were made, for the read of one delivery.

The function is a copy of app/database/functions as it was with this migration.
"""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"

READ_SENDER = """
-- What the requests of a delivery are made of (app/delivery/sent_requests.py): its endpoint as it is now, with all its
-- secrets, newest first (a rotated one is kept until its end), and the bytes of its event, NULL when they are gone. No row when the
-- delivery or its endpoint is gone. made_at: the delivery's time, which its id holds.
--
-- A function for the same reason as read_delivery. Two statements, so that each begins with the time of what it reads:
-- then the other partitions are not even opened.
CREATE OR REPLACE FUNCTION read_sender(workspace text, delivery text, made_at timestamptz)
RETURNS TABLE (
  url text, sealed_headers bytea, feed_cursor boolean, updated_at timestamptz, ordering text, body bytea,
  window_started_at timestamptz, secrets bytea[], secrets_made timestamptz[], secrets_end timestamptz[]
)
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
  sent record;
BEGIN
  SELECT d.endpoint_id, d.event_id, d.event_created_at, d.window_started_at INTO sent
  FROM deliveries d WHERE d.id = delivery AND d.created_at = made_at AND d.workspace_id = workspace;
  RETURN QUERY
    SELECT e.url, e.sealed_headers, e.feed_cursor, e.updated_at, e.ordering, v.body, sent.window_started_at,
      s.sealed, s.made, s.ends
    FROM endpoints e
    CROSS JOIN LATERAL (
      SELECT array_agg(c.sealed ORDER BY c.id DESC) AS sealed, array_agg(c.created_at ORDER BY c.id DESC) AS made,
        array_agg(c.expires_at ORDER BY c.id DESC) AS ends
      FROM endpoint_secrets c WHERE c.endpoint_id = e.id
    ) AS s
    LEFT JOIN events v ON v.id = sent.event_id AND v.created_at = sent.event_created_at
    WHERE e.id = sent.endpoint_id AND e.workspace_id = workspace;
END
$$;
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(READ_SENDER)


def downgrade() -> None:
    op.execute("DROP FUNCTION read_sender")
