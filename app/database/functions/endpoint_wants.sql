-- What an endpoint wants, as a ledger remembers it (app/ledger/matching.py): its id, event types and stream kinds.
CREATE OR REPLACE FUNCTION endpoint_wants(e endpoints) RETURNS json
LANGUAGE sql STABLE PARALLEL SAFE
AS $$ SELECT json_build_array(e.id, e.event_types, e.stream_kinds) $$;
