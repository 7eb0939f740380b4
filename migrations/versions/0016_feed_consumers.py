"""Adds consumers of the feed, whose places are kept, and lets webhooks carry a cursor of it.

The functions are copies of app/database/functions as they were with this migration.
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"

CONSUMERS = """
CREATE TABLE feed_consumers (
  workspace_id text NOT NULL
    CONSTRAINT fk_feed_consumers_workspace_id_workspaces REFERENCES workspaces (id) ON DELETE CASCADE,
  name text NOT NULL,
  filters jsonb DEFAULT '{}'::jsonb NOT NULL,
  cursor text NOT NULL,
  after_tick bigint NOT NULL,
  lease text,
  leased_until timestamptz,
  page text,
  committed text,
  created_at timestamptz NOT NULL,
  read_at timestamptz,
  committed_at timestamptz,
  CONSTRAINT pk_feed_consumers PRIMARY KEY (workspace_id, name),
  CONSTRAINT ck_feed_consumers_lease CHECK ((leased_until IS NULL) = (lease IS NULL))
) WITH (fillfactor = 50)
"""

FEED_CURSOR = "ALTER TABLE endpoints ADD COLUMN feed_cursor boolean DEFAULT false NOT NULL"

TICK_BEFORE = """
CREATE OR REPLACE FUNCTION tick_before(stored_by xid8, numbered bigint) RETURNS jsonb
LANGUAGE sql STABLE
AS $$
  SELECT jsonb_build_array(near.id, near.epoch, near.mark, near.no, near.snapshot::text)
  FROM (SELECT * FROM ticks t WHERE t.no < numbered ORDER BY t.no DESC, t.id DESC LIMIT 10) AS near
  WHERE NOT pg_visible_in_snapshot(stored_by, near.snapshot) ORDER BY near.no DESC, near.id DESC LIMIT 1
$$;
"""

DRAIN_ROUND = """
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
  written record;
  look record;
  share record;
  taking record;
  answering text[] := '{}';
  endpoint_ids text[];
  taken due[];
  suspicious boolean := true;
  are_left boolean;
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
  ELSE
    -- Each query costs more than all else of a round that finds nothing: none here that is not needed.
    IF asked -> 'answering' <> '[]' THEN
      answering := ARRAY(SELECT jsonb_array_elements_text(asked -> 'answering'));
    END IF;
    look := look_for_due(
      low_water, coalesce((asked ->> 'walking')::boolean, false), coalesce(asked ->> 'after', ''),
      (asked ->> 'most_rows')::int, (asked ->> 'most_endpoints')::int, answering
    );
    share := share_places(look.asking, look.counts, asked -> 'rooms', asked -> 'known', asked -> 'free');
    endpoint_ids := share.enabled;
    suspicious := look.suspicious;
    are_left := look.walked;
    IF look.counts IS NOT NULL AND NOT are_left THEN
      are_left := (SELECT sum(c) FROM unnest(look.counts) AS c)
        > coalesce((SELECT sum(g.value::int) FROM jsonb_each_text(share.granted) AS g), 0);
    END IF;
    said := said || jsonb_build_object(
      'low', CASE WHEN look.low IS NOT NULL THEN greatest(look.low, earliest) END, 'after', look.stopped_at,
      'complete', look.complete, 'walked', look.walked, 'ended', share.ended, 'left', are_left
    );
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

  note := said;
  RETURN NEXT;
  IF taken IS NOT NULL THEN
    SELECT min(t.event_created_at), max(t.event_created_at) INTO first_at, last_at FROM unnest(taken) AS t;
    RETURN QUERY
      SELECT CASE
          WHEN e.timeout_seconds IS NOT NULL OR e.retry_delays_seconds IS NOT NULL OR e.feed_cursor
          THEN jsonb_build_object(
            'timeout_seconds', e.timeout_seconds, 'retry_delays_seconds', e.retry_delays_seconds,
            'tick', CASE WHEN e.feed_cursor THEN tick_before(v.xid, v.no) END
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
      LEFT JOIN events v ON v.id = t.event_id AND v.created_at = t.event_created_at
        AND v.created_at BETWEEN first_at AND last_at
      ORDER BY t.due_at;
  END IF;
END
$$;
"""

# What the round answers of endpoints, and what it answered before.
_OWN_NOW = """CASE
          WHEN e.timeout_seconds IS NOT NULL OR e.retry_delays_seconds IS NOT NULL OR e.feed_cursor
          THEN jsonb_build_object(
            'timeout_seconds', e.timeout_seconds, 'retry_delays_seconds', e.retry_delays_seconds,
            'tick', CASE WHEN e.feed_cursor THEN tick_before(v.xid, v.no) END
          )
        END"""
_OWN_BEFORE = """CASE WHEN e.timeout_seconds IS NOT NULL OR e.retry_delays_seconds IS NOT NULL THEN jsonb_build_object(
          'timeout_seconds', e.timeout_seconds, 'retry_delays_seconds', e.retry_delays_seconds
        ) END"""


def upgrade() -> None:
    _run(CONSUMERS, FEED_CURSOR, TICK_BEFORE, DRAIN_ROUND)


def downgrade() -> None:
    _run(DRAIN_ROUND.replace(_OWN_NOW, _OWN_BEFORE), "DROP FUNCTION tick_before")
    op.drop_column("endpoints", "feed_cursor")
    op.drop_table("feed_consumers")


def _run(*statements: str) -> None:
    """Past SQLAlchemy, which would read the colons of casts as parameters."""
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)
