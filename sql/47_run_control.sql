-- What people do to runs.

CREATE FUNCTION automate.cancel_run(run uuid, compensate boolean DEFAULT false) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_cancel_run';
COMMENT ON FUNCTION automate.cancel_run(uuid, boolean) IS
'Asks a run to end as cancelled when the caller''s transaction commits: at once while it waits, or after the step it is in. With compensate, what it has done is undone first, as after a fault. False if it has ended.';

CREATE FUNCTION automate.suspend_run(run uuid) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_suspend_run';
COMMENT ON FUNCTION automate.suspend_run(uuid) IS
'Lets a run begin nothing more until automate.resume_run; what comes meanwhile is kept for it, and its times go on. Takes effect when the caller''s transaction commits. False if it has ended.';

CREATE FUNCTION automate.resume_run(run uuid) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_resume_run';
COMMENT ON FUNCTION automate.resume_run(uuid) IS
'Lets a suspended run go on. False if it has ended.';

CREATE FUNCTION automate.signal_run(run uuid, name text, payload jsonb DEFAULT '{}') RETURNS uuid
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_signal_run';
COMMENT ON FUNCTION automate.signal_run(uuid, text, jsonb) IS
'An event for one run, when the caller''s transaction commits; returns its id. A listening step that wants events of the type name takes it; one that comes before any step listens for it is kept, at most 1000 for a run. Refused for a run that has ended.';

CREATE FUNCTION automate.retry_run(run uuid, from_step text DEFAULT NULL, patch jsonb DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_retry_run';
COMMENT ON FUNCTION automate.retry_run(uuid, text, jsonb) IS
'Lets a run that faulted or was cancelled go on from the step that failed, or from from_step: an earlier step, by its name or its JSON Pointer, of the lists that were open. patch is merged into the step''s input (RFC 7396). Steps that were completed are not done again; what was undone by compensation cannot be gone on with.';

CREATE FUNCTION automate.retry_runs(workflow text, error_type text DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_retry_runs';
COMMENT ON FUNCTION automate.retry_runs(text, text) IS
'Tries the faulted runs of a workflow again, all or those whose error has this type (its last segment will do, such as timeout), the oldest first, at most 10000; returns how many.';

CREATE FUNCTION automate.wait_for_run_json(run uuid, timeout interval) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_wait_for_run';
COMMENT ON FUNCTION automate.wait_for_run_json(uuid, interval) IS
'What automate.wait_for_run answers, as JSON.';

CREATE FUNCTION automate.wait_for_run(run uuid, timeout interval DEFAULT '1 min')
RETURNS TABLE (status text, output jsonb, error jsonb)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.status, r.output, r.error
    FROM pg_catalog.jsonb_to_record(automate.wait_for_run_json(run, timeout))
         AS r(status text, output jsonb, error jsonb)
$$;
COMMENT ON FUNCTION automate.wait_for_run(uuid, interval) IS
'Waits until a run has ended and says how, for scripts. An error if it has not ended within the timeout (SQLSTATE 55P03), if it was started by this very transaction, or if the transaction could not see it end (REPEATABLE READ).';
