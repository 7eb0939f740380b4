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
