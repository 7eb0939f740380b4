-- The schemas that some workspaces have given for their own event types: [workspace, type, check, schema] each, as JSON.
-- VOLATILE, so that it sees what is committed when it is called: whoever asks has read the workspaces' versions before.
CREATE OR REPLACE FUNCTION event_schemas(workspaces text[]) RETURNS text
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
  RETURN (
    SELECT coalesce(json_agg(json_build_array(t.workspace_id, t.type, t."check", t.schema)), '[]')
    FROM event_types t WHERE t.workspace_id = ANY (workspaces) AND t.schema IS NOT NULL
  );
END
$$;
