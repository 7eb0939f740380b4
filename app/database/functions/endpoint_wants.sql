-- What an endpoint wants, as a ledger remembers it (app/ledger/matching.py): its id, event types and stream kinds, and if
-- it looks closer also its channels and its content filter. Processes of a release before know three members only.
CREATE OR REPLACE FUNCTION endpoint_wants(e endpoints) RETURNS json
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
  SELECT CASE WHEN e.channels IS NULL AND e.content_filter IS NULL
    THEN json_build_array(e.id, e.event_types, e.stream_kinds)
    ELSE json_build_array(e.id, e.event_types, e.stream_kinds, e.channels, e.content_filter) END
$$;
