-- What an endpoint wants, as accept_events answers it: [id, event types, stream kinds], and of an endpoint that looks
-- closer also [channels, content filter]. Processes of the release before know three members only.
CREATE OR REPLACE FUNCTION endpoint_wants(e endpoints) RETURNS json
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
  SELECT CASE WHEN e.channels IS NULL AND e.content_filter IS NULL
    THEN json_build_array(e.id, e.event_types, e.stream_kinds)
    ELSE json_build_array(e.id, e.event_types, e.stream_kinds, e.channels, e.content_filter) END
$$;
