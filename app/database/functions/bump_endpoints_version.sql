-- Say that what the endpoints of a workspace want has changed: what processes remember of it is not used any more.
CREATE OR REPLACE FUNCTION bump_endpoints_version() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
  UPDATE workspaces SET endpoints_version = endpoints_version + 1
  WHERE id = CASE WHEN TG_OP = 'DELETE' THEN OLD.workspace_id ELSE NEW.workspace_id END;
  RETURN NULL;
END
$$;
