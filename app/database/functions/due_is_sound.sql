-- Whether a row of `due` is one that a claim can answer: its times fit into a datetime, a lease has a token, no count is
-- negative. One function of the whole row and not a constraint for each column: PostgreSQL reads a constraint's
-- expression anew in each statement, which would cost a claim alone more than all else that it writes.
CREATE OR REPLACE FUNCTION due_is_sound(one due) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
  RETURN least(one.created_at, one.event_created_at, one.due_at, one.leased_until, one.window_started_at, one.deadline_at)
      >= '1970-01-01 00:00:00+00'
    AND greatest(one.created_at, one.event_created_at, one.due_at, one.leased_until, one.window_started_at, one.deadline_at)
      < '9999-01-01 00:00:00+00'
    AND (one.leased_until IS NULL) = (one.lease_token IS NULL)
    AND least(one.claims, one.attempt_count, one.window_attempts) >= 0;
END
$$;
