"""Gives endpoints a name and metadata of their owner's, a timeout and a retry schedule of their own, filters by channel
and content, and a history of their states.

The functions are copies of app/database/functions as they were with this migration. Processes of the release before go
on: what they call takes and answers what it did, and more only for endpoints that have something new.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"

ENDPOINT_WANTS = """
-- What an endpoint wants, as a ledger remembers it (app/ledger/matching.py): its id, event types and stream kinds, and if
-- it looks closer also its channels and its content filter. Processes of a release before know three members only.
CREATE OR REPLACE FUNCTION endpoint_wants(e endpoints) RETURNS json
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
  SELECT CASE WHEN e.channels IS NULL AND e.content_filter IS NULL
    THEN json_build_array(e.id, e.event_types, e.stream_kinds)
    ELSE json_build_array(e.id, e.event_types, e.stream_kinds, e.channels, e.content_filter) END
$$;
"""

DRAIN_ROUND = """
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
      SELECT CASE WHEN e.timeout_seconds IS NOT NULL OR e.retry_delays_seconds IS NOT NULL THEN jsonb_build_object(
          'timeout_seconds', e.timeout_seconds, 'retry_delays_seconds', e.retry_delays_seconds
        ) END,
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

NOTE_ENDPOINT_CHANGE = """
-- Note what an endpoint has become: enabled, disabled, or failing and recovered, once that has lasted for a minute. Of each
-- endpoint the last hundred are kept, however often it changes. What fires this is a trigger, whose condition says what
-- a change is; an attempt that succeeds where the last one did does not come here.
CREATE OR REPLACE FUNCTION note_endpoint_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  IF TG_OP = 'INSERT' THEN
    INSERT INTO endpoint_changes (endpoint_id, changed_at, state, reason)
    VALUES (NEW.id, NEW.created_at, NEW.status, NEW.disabled_reason);
    RETURN NULL;
  END IF;
  IF OLD.failing_since IS NOT NULL AND OLD.status = 'enabled' THEN
    INSERT INTO endpoint_changes (endpoint_id, changed_at, state, reason)
    VALUES (NEW.id, OLD.failing_since, 'failing', OLD.last_outcome);
  END IF;
  INSERT INTO endpoint_changes (endpoint_id, changed_at, state, reason)
  VALUES (NEW.id, date_trunc('milliseconds', clock_timestamp()),
    CASE WHEN NEW.status <> OLD.status THEN NEW.status ELSE 'recovered' END, NEW.disabled_reason);
  DELETE FROM endpoint_changes WHERE endpoint_id = NEW.id AND id <= (
    SELECT c.id FROM endpoint_changes c WHERE c.endpoint_id = NEW.id ORDER BY c.id DESC OFFSET 100 LIMIT 1
  );
  RETURN NULL;
END
$$;
"""

# At the commit, as 0005 has it.
VERSION_TRIGGER = """
CREATE CONSTRAINT TRIGGER endpoints_version_of_changed AFTER UPDATE ON endpoints
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN ((OLD.workspace_id, OLD.status, OLD.event_types, OLD.stream_kinds{more_old})
  IS DISTINCT FROM (NEW.workspace_id, NEW.status, NEW.event_types, NEW.stream_kinds{more_new}))
EXECUTE FUNCTION bump_endpoints_version()
"""
MORE = ", {row}.channels, {row}.content_filter"

# What is a change worth noting: another status, or the end of a failure that has lasted for a minute.
HISTORY_TRIGGERS = (
    """
    CREATE TRIGGER endpoint_changes_of_new AFTER INSERT ON endpoints
    FOR EACH ROW EXECUTE FUNCTION note_endpoint_change()
    """,
    """
    CREATE TRIGGER endpoint_changes_of_changed AFTER UPDATE ON endpoints FOR EACH ROW
    WHEN (OLD.status <> NEW.status OR (OLD.status = 'enabled' AND OLD.failing_since IS DISTINCT FROM NEW.failing_since
      AND OLD.failing_since < now() - interval '1 minute'))
    EXECUTE FUNCTION note_endpoint_change()
    """,
)
COLUMNS = (
    sa.Column("uid", sa.Text(), nullable=True),
    sa.Column(
        "metadata", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'::jsonb"), nullable=False
    ),
    sa.Column("timeout_seconds", sa.Integer(), nullable=True),
    sa.Column("retry_delays_seconds", sa.ARRAY(sa.Integer()), nullable=True),
    sa.Column("channels", sa.ARRAY(sa.Text()), nullable=True),
    sa.Column("content_filter", sa.Text(), nullable=True),
)


def upgrade() -> None:
    for column in COLUMNS:
        op.add_column("endpoints", column.copy())
    op.create_index("uq_endpoints_workspace_id_uid", "endpoints", ["workspace_id", "uid"], unique=True)
    op.create_table(
        "endpoint_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("endpoint_id", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["endpoint_id"],
            ["endpoints.id"],
            name=op.f("fk_endpoint_changes_endpoint_id_endpoints"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_endpoint_changes")),
    )
    op.create_index("ix_endpoint_changes_endpoint_id_id", "endpoint_changes", ["endpoint_id", "id"])
    watched = VERSION_TRIGGER.format(more_old=MORE.format(row="OLD"), more_new=MORE.format(row="NEW"))
    _run("DROP TRIGGER endpoints_version_of_changed ON endpoints", watched, ENDPOINT_WANTS, DRAIN_ROUND)
    _run(NOTE_ENDPOINT_CHANGE, *HISTORY_TRIGGERS)


def downgrade() -> None:
    _run(
        "DROP TRIGGER endpoint_changes_of_changed ON endpoints",
        "DROP TRIGGER endpoint_changes_of_new ON endpoints",
        "DROP FUNCTION note_endpoint_change",
        "DROP TRIGGER endpoints_version_of_changed ON endpoints",
        VERSION_TRIGGER.format(more_old="", more_new=""),
        _WANTS_BEFORE,
        DRAIN_ROUND.replace(_OWN_NOW, _OWN_BEFORE),
    )
    op.drop_table("endpoint_changes")
    op.drop_index("uq_endpoints_workspace_id_uid", table_name="endpoints")
    for column in reversed(COLUMNS):
        op.drop_column("endpoints", column.name)


def _run(*statements: str) -> None:
    """Past SQLAlchemy, which would read the colons of casts as parameters."""
    for statement in statements:
        op.get_bind().exec_driver_sql(statement)


# What the functions answered of endpoints before these columns.
_WANTS_BEFORE = """
-- What an endpoint wants, as a ledger remembers it (app/ledger/matching.py): its id, event types and stream kinds.
CREATE OR REPLACE FUNCTION endpoint_wants(e endpoints) RETURNS json
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT json_build_array(e.id, e.event_types, e.stream_kinds) $$;
"""
_OWN_NOW = """CASE WHEN e.timeout_seconds IS NOT NULL OR e.retry_delays_seconds IS NOT NULL THEN jsonb_build_object(
          'timeout_seconds', e.timeout_seconds, 'retry_delays_seconds', e.retry_delays_seconds
        ) END"""
_OWN_BEFORE = "NULL::jsonb"
