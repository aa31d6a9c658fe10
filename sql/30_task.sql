-- Tasks: what is done on a schedule.

CREATE TABLE automate.task (
    id            uuid PRIMARY KEY,
    name          text NOT NULL,
    description   text,
    owner         regrole NOT NULL,
    status        text NOT NULL DEFAULT 'active',
    status_reason text,
    task_type     text NOT NULL,
    schedule      jsonb NOT NULL,
    time_zone     text NOT NULL,
    command       text NOT NULL,
    args          jsonb NOT NULL DEFAULT '{}',
    search_path   text NOT NULL,
    top_level     boolean NOT NULL DEFAULT false,
    misfire       text NOT NULL DEFAULT 'once',
    overlap       text NOT NULL DEFAULT 'skip',
    timeout_ms    integer,
    retries       integer NOT NULL DEFAULT 0,
    priority      integer NOT NULL DEFAULT 100,
    next_run_at   timestamptz,
    on_trigger    uuid REFERENCES automate.trigger,
    last_run_at   timestamptz,
    last_job      uuid,
    run_count     bigint NOT NULL DEFAULT 0,
    created_by    regrole NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT task_name UNIQUE (owner, name),
    CONSTRAINT task_type CHECK (task_type OPERATOR(pg_catalog.=) ANY (ARRAY['sql', 'workflow', 'report'])),
    CONSTRAINT task_status CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['active', 'paused', 'disabled'])),
    CONSTRAINT task_next CHECK (CASE WHEN on_trigger IS NOT NULL THEN next_run_at IS NULL
        ELSE status OPERATOR(pg_catalog.<>) 'active' OR next_run_at IS NOT NULL END),
    CONSTRAINT task_misfire CHECK (misfire OPERATOR(pg_catalog.=) ANY (ARRAY['once', 'skip'])),
    CONSTRAINT task_overlap CHECK (overlap OPERATOR(pg_catalog.=) ANY (ARRAY['skip', 'allow'])),
    CONSTRAINT task_retries CHECK (retries OPERATOR(pg_catalog.>=) 0 AND retries OPERATOR(pg_catalog.<) 100)
) WITH (fillfactor = 70);
CREATE INDEX task_due ON automate.task (next_run_at) WHERE status OPERATOR(pg_catalog.=) 'active';
CREATE INDEX task_on_trigger ON automate.task (on_trigger) WHERE on_trigger IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('automate.task', '');

COMMENT ON TABLE automate.task IS
'What is done on a schedule: automate.schedule_task makes a row, automate.task_runs shows what came of it.';
COMMENT ON COLUMN automate.task.id IS 'uuid v7.';
COMMENT ON COLUMN automate.task.name IS 'Unique among the tasks of its owner.';
COMMENT ON COLUMN automate.task.description IS 'For people.';
COMMENT ON COLUMN automate.task.owner IS 'Role in whose session it runs.';
COMMENT ON COLUMN automate.task.status IS 'active, paused (automate.pause_task) or disabled (made with enabled => false, or it cannot run: see status_reason).';
COMMENT ON COLUMN automate.task.status_reason IS 'Why it is disabled, if it did not do so by itself.';
COMMENT ON COLUMN automate.task.task_type IS 'sql (a statement), workflow (starts a run) or report (renders, and perhaps sends).';
COMMENT ON COLUMN automate.task.schedule IS 'When: {"cron": ..., "time_zone": ...}, {"every": ...}, {"at": ...} or {"on_trigger": name}.';
COMMENT ON COLUMN automate.task.time_zone IS 'IANA zone in whose wall time the schedule is written.';
COMMENT ON COLUMN automate.task.command IS 'The statement, or the name of the workflow or report.';
COMMENT ON COLUMN automate.task.args IS 'sql: {"params": [...]}; workflow: the input; report: {"params", "formats", "template", "recipients"}.';
COMMENT ON COLUMN automate.task.search_path IS 'search_path under which the command was written.';
COMMENT ON COLUMN automate.task.top_level IS 'True for statements that refuse a transaction block, such as VACUUM.';
COMMENT ON COLUMN automate.task.misfire IS 'What is done about instants that were missed, such as while the server was down: once (the latest of them runs now) or skip (none, if the latest is over 60 seconds late).';
COMMENT ON COLUMN automate.task.overlap IS 'skip: not while the job of the last run is still to be done; allow: always.';
COMMENT ON COLUMN automate.task.timeout_ms IS 'Longest time for a run, in milliseconds; empty: the role''s statement_timeout.';
COMMENT ON COLUMN automate.task.retries IS 'How often a run that failed is tried again.';
COMMENT ON COLUMN automate.task.priority IS 'Smaller runs first; 100 is usual.';
COMMENT ON COLUMN automate.task.next_run_at IS 'The next instant of the schedule; of a paused task, the first that it missed.';
COMMENT ON COLUMN automate.task.on_trigger IS 'Id in automate.trigger of the trigger for each of whose firings it runs once.';
COMMENT ON COLUMN automate.task.last_run_at IS 'The last instant for which a job was made.';
COMMENT ON COLUMN automate.task.last_job IS 'The job of the last run.';
COMMENT ON COLUMN automate.task.run_count IS 'How many jobs were made.';
COMMENT ON COLUMN automate.task.created_by IS 'Role that defined it.';
COMMENT ON COLUMN automate.task.created_at IS 'When it was defined.';
COMMENT ON COLUMN automate.task.updated_at IS 'When its definition or status last changed.';

-- What became of each due instant: the primary key is the proof that none fires twice.
CREATE TABLE automate.task_instant (
    task        uuid NOT NULL,
    instant     timestamptz NOT NULL,
    owner       regrole NOT NULL,
    job         uuid,
    skipped     text,
    through     timestamptz,
    instants    integer NOT NULL DEFAULT 1,
    recorded_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (task, instant),
    CONSTRAINT task_instant_outcome CHECK (
        (job IS NOT NULL AND skipped IS NULL AND through IS NULL AND instants OPERATOR(pg_catalog.=) 1)
        OR (job IS NULL AND through IS NOT NULL AND through OPERATOR(pg_catalog.>=) instant
            AND skipped OPERATOR(pg_catalog.=) ANY (ARRAY['missed', 'overlap', 'paused', 'no login'])))
);
CREATE INDEX task_instant_recorded ON automate.task_instant (recorded_at);
COMMENT ON TABLE automate.task_instant IS
'What became of each instant of a schedule: a job, or why it was skipped. Kept for automate.history_retention.';
COMMENT ON COLUMN automate.task_instant.task IS 'The task.';
COMMENT ON COLUMN automate.task_instant.instant IS 'The instant of the schedule, or the moment of automate.execute_task; the first, if several in a row were skipped.';
COMMENT ON COLUMN automate.task_instant.owner IS 'Owner of the task.';
COMMENT ON COLUMN automate.task_instant.job IS 'The job made for it.';
COMMENT ON COLUMN automate.task_instant.skipped IS 'Why there is none: missed (too late, or a later one ran for it), overlap (the last run was not done), paused, no login (the owner may not log in).';
COMMENT ON COLUMN automate.task_instant.through IS 'The last of the instants skipped in a row.';
COMMENT ON COLUMN automate.task_instant.instants IS 'How many were skipped in a row; counted to 100000.';
COMMENT ON COLUMN automate.task_instant.recorded_at IS 'When this was decided.';

ALTER TABLE automate.task ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.task_instant ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.task FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
CREATE POLICY own ON automate.task_instant FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.task IS 'A role sees what it owns, and what roles own whose privileges it has.';
COMMENT ON POLICY own ON automate.task_instant IS 'A role sees what it owns, and what roles own whose privileges it has.';

CREATE VIEW automate.task_runs WITH (security_invoker = true, security_barrier = true) AS
SELECT t.name AS task, i.job, i.instant AS scheduled_at,
       CASE WHEN i.job IS NULL THEN 'skipped'
            WHEN h.id IS NOT NULL THEN h.status
            ELSE coalesce(j.status, 'unknown') END AS status,
       h.started_at, h.finished_at,
       CASE WHEN i.job IS NULL THEN i.skipped ELSE coalesce(h.error, j.last_error) END AS error,
       i.through, i.instants, i.owner
FROM automate.task_instant AS i
JOIN automate.task AS t ON t.id OPERATOR(pg_catalog.=) i.task
LEFT JOIN automate.job AS j ON j.id OPERATOR(pg_catalog.=) i.job
LEFT JOIN automate.job_history AS h ON h.id OPERATOR(pg_catalog.=) i.job;
COMMENT ON VIEW automate.task_runs IS
'What came of the tasks: a row for each run and each instant (or row of instants, from scheduled_at to through) that was skipped. status is that of the job, or skipped; error says why.';

COMMENT ON COLUMN automate.task_runs.task IS 'Name of the task.';
COMMENT ON COLUMN automate.task_runs.job IS 'Job of the run; empty if it was skipped.';
COMMENT ON COLUMN automate.task_runs.scheduled_at IS 'Instant of the schedule, or moment of automate.execute_task; the first, if several in a row were skipped.';
COMMENT ON COLUMN automate.task_runs.status IS 'ready, scheduled (to be tried again), running, succeeded, failed, quarantined, cancelled, skipped, or unknown once its history is gone.';
COMMENT ON COLUMN automate.task_runs.started_at IS 'When its last attempt began.';
COMMENT ON COLUMN automate.task_runs.finished_at IS 'When it ended.';
COMMENT ON COLUMN automate.task_runs.error IS 'Why it failed, or why it was skipped.';
COMMENT ON COLUMN automate.task_runs.through IS 'The last of the instants skipped in a row.';
COMMENT ON COLUMN automate.task_runs.instants IS 'How many were skipped in a row.';
COMMENT ON COLUMN automate.task_runs.owner IS 'Owner of the task.';

CREATE FUNCTION automate.schedule_task(
    name        text,
    task_type   text,
    schedule    text,
    command     text,
    args        jsonb DEFAULT '{}',
    time_zone   text DEFAULT NULL,
    misfire     text DEFAULT 'once',
    overlap     text DEFAULT 'skip',
    timeout     interval DEFAULT NULL,
    retries     integer DEFAULT 0,
    priority    integer DEFAULT 100,
    enabled     boolean DEFAULT true,
    description text DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_schedule_task';
COMMENT ON FUNCTION automate.schedule_task(text, text, text, text, jsonb, text, text, text, interval, integer, integer, boolean, text) IS
'Does something on a schedule, in sessions of the caller. task_type: sql (command is a statement, args {"params": [...]}), workflow (command is its name, args its input) or report (command is its name, args {"params", "formats", "template", "recipients"}). schedule: cron in 5 or 6 fields, "every 90 s", "at 2030-01-31 08:00", or the same as JSON; in the wall time of time_zone, by default the session''s; or {"on_trigger": name}: once for each firing of a trigger (one after the other, unless overlap is allow; the input of a workflow has the event as event). automate.next_runs shows what a schedule means.';

CREATE FUNCTION automate.unschedule_task(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_unschedule_task';
COMMENT ON FUNCTION automate.unschedule_task(text) IS
'Removes a task and its list of runs; jobs that it has already made are still done, and stay in automate.job_history.';

CREATE FUNCTION automate.pause_task(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_pause_task';
COMMENT ON FUNCTION automate.pause_task(text) IS
'Makes no more jobs for a task until automate.resume_task.';

CREATE FUNCTION automate.resume_task(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_resume_task';
COMMENT ON FUNCTION automate.resume_task(text) IS
'Lets a paused or disabled task go on with its next instant; those it missed are recorded as skipped.';

CREATE FUNCTION automate.execute_task(name text) RETURNS uuid
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_execute_task';
COMMENT ON FUNCTION automate.execute_task(text) IS
'Runs a task once, after the caller''s transaction commits, whatever its schedule and status say; returns the job''s id.';

CREATE FUNCTION automate.next_runs_json(schedule text, n integer, time_zone text, after timestamptz) RETURNS jsonb
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_next_runs';
COMMENT ON FUNCTION automate.next_runs_json(text, integer, text, timestamptz) IS
'The next instants of a schedule as a JSON array; automate.next_runs shows it.';

CREATE FUNCTION automate.next_runs(
    schedule  text,
    n         integer DEFAULT 5,
    time_zone text DEFAULT NULL,
    after     timestamptz DEFAULT pg_catalog.now())
RETURNS TABLE (run_at timestamptz, note text)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.run_at, r.note
    FROM jsonb_to_recordset(automate.next_runs_json(schedule, n, time_zone, after)) AS r(run_at timestamptz, note text)
$$;
COMMENT ON FUNCTION automate.next_runs(text, integer, text, timestamptz) IS
'The next n instants of a schedule, with a note where the clock is put forward or back.';
