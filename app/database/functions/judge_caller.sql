-- Whether a key may do something for a workspace at this moment: '' when it may, else the code of the refusal.
-- secret_digest: NULL when whoever calls has been judged otherwise. reference: what the caller called the workspace
-- ('' when it named none), by its id or uid. 'moved': it means another workspace by now, or none.
CREATE OR REPLACE FUNCTION judge_caller(secret_digest bytea, scope text, workspace text, reference text) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
  known record;
BEGIN
  IF secret_digest IS NOT NULL THEN
    SELECT k.workspace_id, k.scopes INTO known
    FROM api_keys k WHERE k.secret_hash = secret_digest AND k.revoked_at IS NULL;
    IF NOT FOUND THEN
      RETURN 'unauthorized';
    ELSIF NOT scope = ANY (known.scopes) THEN
      RETURN 'forbidden';
    ELSIF known.workspace_id <> workspace THEN
      RETURN 'not_found';
    END IF;
  END IF;
  IF reference <> '' THEN
    PERFORM FROM workspaces w WHERE w.id = workspace AND reference IN (w.id, w.uid);
    IF NOT FOUND THEN
      RETURN 'moved';
    END IF;
  END IF;
  RETURN '';
END
$$;
