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
    next_run_at   timestamptz,
    last_run_at   timestamptz,
    run_count     bigint NOT NULL DEFAULT 0,
    command       text NOT NULL,
    args          jsonb NOT NULL DEFAULT '{}',
    search_path   text NOT NULL,
    top_level     boolean NOT NULL DEFAULT false,
    misfire       text NOT NULL DEFAULT 'once',
    overlap       text NOT NULL DEFAULT 'skip',
    jitter_ms     bigint NOT NULL DEFAULT 0,
    timeout_ms    integer,
    retries       integer NOT NULL DEFAULT 0,
    backoff_ms    bigint NOT NULL DEFAULT 10000,
    priority      integer NOT NULL DEFAULT 100,
    concurrency_key text,
    on_upstream_failure text NOT NULL DEFAULT 'skip',
    valid_from    timestamptz,
    valid_until   timestamptz,
    alert         jsonb,
    on_trigger    uuid REFERENCES automate.trigger,
    created_by    regrole NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT task_name UNIQUE (owner, name),
    CONSTRAINT task_type CHECK (task_type OPERATOR(pg_catalog.=) ANY (ARRAY['sql', 'procedure', 'function', 'workflow', 'report', 'notification', 'http'])),
    CONSTRAINT task_status CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['active', 'paused', 'disabled'])),
    CONSTRAINT task_next CHECK (CASE WHEN on_trigger IS NOT NULL THEN next_run_at IS NULL
        ELSE status OPERATOR(pg_catalog.<>) 'active' OR next_run_at IS NOT NULL END),
    CONSTRAINT task_misfire CHECK (misfire OPERATOR(pg_catalog.~) '^(skip|once|all|last ([1-9][0-9]{0,2}|1000))$'),
    CONSTRAINT task_overlap CHECK (overlap OPERATOR(pg_catalog.=) ANY (ARRAY['skip', 'queue', 'replace', 'allow'])),
    CONSTRAINT task_upstream CHECK (on_upstream_failure OPERATOR(pg_catalog.=) ANY (ARRAY['skip', 'run', 'wait'])),
    CONSTRAINT task_validity CHECK (valid_until OPERATOR(pg_catalog.>=) valid_from),
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
COMMENT ON COLUMN automate.task.task_type IS 'sql (statements in one transaction), procedure (a statement at top level), function, workflow (starts a run), report (renders, and perhaps sends), notification or http.';
COMMENT ON COLUMN automate.task.schedule IS 'When, as automate.schedule_task read it: {"cron": ..., "time_zone": ...}, {"every": ...}, {"at": ...}, ... or {"on_trigger": name}.';
COMMENT ON COLUMN automate.task.time_zone IS 'IANA zone in whose wall time the schedule is written.';
COMMENT ON COLUMN automate.task.next_run_at IS 'The next instant of the schedule; of a paused task, the first that it missed.';
COMMENT ON COLUMN automate.task.last_run_at IS 'The last instant for which a run was made.';
COMMENT ON COLUMN automate.task.run_count IS 'How many runs were made.';
COMMENT ON COLUMN automate.task.command IS 'The statements, or the name of the workflow, report, function or template, or the address, by task_type.';
COMMENT ON COLUMN automate.task.args IS 'By task_type, such as {"params": [...]} for sql: see automate.schedule_task.';
COMMENT ON COLUMN automate.task.search_path IS 'search_path under which the command was written.';
COMMENT ON COLUMN automate.task.top_level IS 'True for statements that refuse a transaction block, such as VACUUM.';
COMMENT ON COLUMN automate.task.misfire IS 'What is done about instants that were missed, such as while the server was down: once (the latest of them runs now), skip (none, if the latest is over 60 seconds late), all (each, up to the last 1000) or last n (the latest n, from 1 to 1000).';
COMMENT ON COLUMN automate.task.overlap IS 'What is done about a run that is due while an earlier one is not over: skip (it is left out), queue (it waits for its turn), replace (the earlier one is cancelled) or allow.';
COMMENT ON COLUMN automate.task.jitter_ms IS 'Each run begins later than its instant by less than this many milliseconds, always the same for the same instant.';
COMMENT ON COLUMN automate.task.timeout_ms IS 'Longest time for an attempt, in milliseconds; empty: the role''s statement_timeout.';
COMMENT ON COLUMN automate.task.retries IS 'How often a run that failed is tried again.';
COMMENT ON COLUMN automate.task.backoff_ms IS 'Milliseconds before the first retry; each later one waits twice as long, at most an hour.';
COMMENT ON COLUMN automate.task.priority IS 'Smaller runs first; 100 is usual.';
COMMENT ON COLUMN automate.task.concurrency_key IS 'Runs of an owner''s tasks and jobs with the same key never run at the same time.';
COMMENT ON COLUMN automate.task.on_upstream_failure IS 'What becomes of a run when a task that it depends on fails: skip (it is left out), run (it runs all the same) or wait (until the run for that instant, or a later one, has succeeded).';
COMMENT ON COLUMN automate.task.valid_from IS 'No instant before this one runs.';
COMMENT ON COLUMN automate.task.valid_until IS 'No instant after this one runs.';
COMMENT ON COLUMN automate.task.alert IS 'Who is told of what: see automate.schedule_task.';
COMMENT ON COLUMN automate.task.on_trigger IS 'Id in automate.trigger of the trigger for each of whose firings it runs once.';
COMMENT ON COLUMN automate.task.created_by IS 'Role that defined it.';
COMMENT ON COLUMN automate.task.created_at IS 'When it was defined.';
COMMENT ON COLUMN automate.task.updated_at IS 'When its definition or status last changed.';

-- Tasks that wait for others.
CREATE TABLE automate.task_dependency (
    task     uuid NOT NULL REFERENCES automate.task ON DELETE CASCADE,
    upstream uuid NOT NULL REFERENCES automate.task,
    owner    regrole NOT NULL,
    PRIMARY KEY (task, upstream),
    CONSTRAINT task_dependency_self CHECK (task OPERATOR(pg_catalog.<>) upstream)
);
CREATE INDEX task_dependency_upstream ON automate.task_dependency (upstream);
SELECT pg_catalog.pg_extension_config_dump('automate.task_dependency', '');
COMMENT ON TABLE automate.task_dependency IS
'Which tasks depend on which: a run waits until those for the same instant of its upstream tasks have succeeded.';
COMMENT ON COLUMN automate.task_dependency.task IS 'The task that waits.';
COMMENT ON COLUMN automate.task_dependency.upstream IS 'The task that it waits for.';
COMMENT ON COLUMN automate.task_dependency.owner IS 'Owner of the task that waits.';

-- What became of each due instant: the primary key is the proof that none fires twice.
CREATE TABLE automate.task_run (
    task         uuid NOT NULL,
    scheduled_at timestamptz NOT NULL,
    status       text NOT NULL,
    due_at       timestamptz NOT NULL,
    started_at   timestamptz,
    finished_at  timestamptz,
    lateness     interval GENERATED ALWAYS AS (started_at OPERATOR(pg_catalog.-) due_at) STORED,
    attempts     integer NOT NULL DEFAULT 0,
    rows         bigint,
    error        text,
    output       text,
    cause        text NOT NULL DEFAULT 'schedule',
    through      timestamptz,
    instants     integer NOT NULL DEFAULT 1,
    job          uuid,
    started      uuid,
    cancelling   text,
    backfill     uuid,
    owner        regrole NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (task, scheduled_at),
    CONSTRAINT task_run_status CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['waiting', 'queued', 'running',
        'succeeded', 'failed', 'interrupted', 'quarantined', 'cancelled', 'skipped'])),
    CONSTRAINT task_run_skipped CHECK ((status OPERATOR(pg_catalog.=) 'skipped') OPERATOR(pg_catalog.=) (through IS NOT NULL)
        AND (through IS NULL OR through OPERATOR(pg_catalog.>=) scheduled_at)),
    CONSTRAINT task_run_over CHECK ((finished_at IS NULL)
        OPERATOR(pg_catalog.=) (status OPERATOR(pg_catalog.=) ANY (ARRAY['waiting', 'queued', 'running']))),
    CONSTRAINT task_run_cause CHECK (cause OPERATOR(pg_catalog.=) ANY (ARRAY['schedule', 'manual', 'trigger', 'backfill']))
) WITH (fillfactor = 80);
CREATE INDEX task_run_open ON automate.task_run (task) WHERE finished_at IS NULL;
CREATE INDEX task_run_cancelling ON automate.task_run (job) WHERE cancelling IS NOT NULL AND finished_at IS NULL;
CREATE INDEX task_run_started ON automate.task_run (started) WHERE started IS NOT NULL AND finished_at IS NULL;
CREATE INDEX task_run_recorded ON automate.task_run (recorded_at);
COMMENT ON TABLE automate.task_run IS
'What became of each instant of a task: a run, or why it was skipped. Kept for automate.history_retention. The view automate.task_runs has the tasks'' names, and what runs now.';
COMMENT ON COLUMN automate.task_run.task IS 'The task.';
COMMENT ON COLUMN automate.task_run.scheduled_at IS 'The instant of the schedule, or the moment of automate.execute_task or of the trigger; the first, if several in a row were skipped.';
COMMENT ON COLUMN automate.task_run.status IS 'waiting (for other tasks), queued (to be done, or being done), running (what it started goes on), succeeded, failed, interrupted (its worker ended while a statement ran at top level), quarantined (the server crashed under it three times), cancelled or skipped (error says why).';
COMMENT ON COLUMN automate.task_run.due_at IS 'scheduled_at, and what jitter adds to it.';
COMMENT ON COLUMN automate.task_run.started_at IS 'When its last attempt began.';
COMMENT ON COLUMN automate.task_run.finished_at IS 'When it was over, or was skipped.';
COMMENT ON COLUMN automate.task_run.lateness IS 'How long after due_at its last attempt began.';
COMMENT ON COLUMN automate.task_run.attempts IS 'Attempts made.';
COMMENT ON COLUMN automate.task_run.rows IS 'Rows that its last statement answered or changed.';
COMMENT ON COLUMN automate.task_run.error IS 'Why it failed (SQLSTATE, message, DETAIL and HINT) or was cancelled (by whom, and the reason given). Of skipped ones: missed (too late, or a later one ran for it), overlap (the last run was not done), paused, altered (the schedule was changed before it ran), no login (the owner may not log in), upstream (a task that it depends on failed). Of waiting ones: for which tasks, and why they do not come if they do not.';
COMMENT ON COLUMN automate.task_run.output IS 'What it answered: notices and the first rows, up to 8 kB.';
COMMENT ON COLUMN automate.task_run.cause IS 'schedule, manual (automate.execute_task), trigger or backfill.';
COMMENT ON COLUMN automate.task_run.through IS 'The last of the instants skipped in a row.';
COMMENT ON COLUMN automate.task_run.instants IS 'How many were skipped in a row; counted to 100000.';
COMMENT ON COLUMN automate.task_run.job IS 'Its job in automate.job, later in automate.job_history.';
COMMENT ON COLUMN automate.task_run.started IS 'The workflow run, report run or notification that it started.';
COMMENT ON COLUMN automate.task_run.cancelling IS 'Why it is being cancelled, such as by whom.';
COMMENT ON COLUMN automate.task_run.backfill IS 'The automate.backfill_task that made it.';
COMMENT ON COLUMN automate.task_run.owner IS 'Owner of the task.';
COMMENT ON COLUMN automate.task_run.recorded_at IS 'When it was made or skipped.';

ALTER TABLE automate.task ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.task_dependency ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.task_run ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.task FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
CREATE POLICY own ON automate.task_dependency FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
CREATE POLICY own ON automate.task_run FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.task IS 'A role sees what it owns, and what roles own whose privileges it has.';
COMMENT ON POLICY own ON automate.task_dependency IS 'A role sees what it owns, and what roles own whose privileges it has.';
COMMENT ON POLICY own ON automate.task_run IS 'A role sees what it owns, and what roles own whose privileges it has.';

CREATE FUNCTION automate.schedule_task(
    name        text,
    task_type   text,
    schedule    text,
    command     text,
    args        jsonb DEFAULT '{}',
    time_zone   text DEFAULT NULL,
    misfire     text DEFAULT 'once',
    overlap     text DEFAULT 'skip',
    jitter      interval DEFAULT '0',
    timeout     interval DEFAULT NULL,
    retries     integer DEFAULT 0,
    backoff     interval DEFAULT '10 seconds',
    priority    integer DEFAULT 100,
    depends_on  text[] DEFAULT NULL,
    valid_from  timestamptz DEFAULT NULL,
    valid_until timestamptz DEFAULT NULL,
    enabled     boolean DEFAULT true,
    description text DEFAULT NULL,
    concurrency_key text DEFAULT NULL,
    on_upstream_failure text DEFAULT 'skip',
    alert       jsonb DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_schedule_task';
COMMENT ON FUNCTION automate.schedule_task(text, text, text, text, jsonb, text, text, text, interval, interval, integer, interval, integer, text[], timestamptz, timestamptz, boolean, text, text, text, jsonb) IS
'Does something on a schedule, in sessions of the caller. task_type: sql (command is one statement or several in one transaction, args {"params": [...]}), procedure (one statement at top level, or the name of a procedure with args {"params": [...]} or {"args": {name: value}}), function (its name, the same args), workflow (its name, args its input; the run is over when the workflow is), report (its name, args {"params", "formats", "template", "recipients"}), notification (the template, args {"recipients", "params"}) or http (the URL, args {"method", "headers", "query", "body", "expect"}). A string in args that is wholly ${ ... } is jq over {task, run, scheduled_at}. schedule: cron in 5 or 6 fields (also L, W and #), "every 90 s", "at 2030-01-31 08:00", or JSON: {"cron", "gap", "overlap_hour"}, {"every", "from"}, {"at": [...]}, {"rrule": "FREQ=MONTHLY;BYDAY=-1FR"} or {"any": [schedule, ...]}, each with "except" or "only" (days, hours, weekdays, spans, calendars) if wanted; in the wall time of time_zone, by default the session''s; or {"on_trigger": name}: once for each firing of a trigger (one after the other, unless overlap is allow; the input of a workflow has the event as event). automate.next_runs shows what a schedule means; the columns of automate.task tell what the policies mean. depends_on names tasks: a run waits until those for the same instant (of each, the latest of its schedule not after it) have succeeded. alert is {"to": ["channel:address", ...], "template": name, "on": ["failure", "recovery", "stale"], "after_failures": 3, "stale_after": "26 hours", "event": true}, all but one of to and event optional: who is told, once, when runs begin to fail (after so many in a row), when one succeeds again, and when none has succeeded for so long; with event also the events task.failed, task.recovered and task.stale.';

CREATE FUNCTION automate.unschedule_task(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_unschedule_task';
COMMENT ON FUNCTION automate.unschedule_task(text) IS
'Removes a task and its list of runs; jobs that it has already made are still done, and stay in automate.job_history, but for those that wait for other tasks. A task on which others depend is not removed.';

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
'Runs a task once, after the caller''s transaction commits, whatever its schedule and status say, and without waiting for the tasks that it depends on; returns the job''s id.';

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
