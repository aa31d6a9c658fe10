-- Steering tasks: altering, cancelling, making up for the past, taking over from pg_cron.

CREATE FUNCTION automate.alter_task(
    name        text,
    schedule    text DEFAULT NULL,
    command     text DEFAULT NULL,
    args        jsonb DEFAULT NULL,
    time_zone   text DEFAULT NULL,
    misfire     text DEFAULT NULL,
    overlap     text DEFAULT NULL,
    jitter      interval DEFAULT NULL,
    timeout     interval DEFAULT NULL,
    retries     integer DEFAULT NULL,
    backoff     interval DEFAULT NULL,
    priority    integer DEFAULT NULL,
    depends_on  text[] DEFAULT NULL,
    valid_from  timestamptz DEFAULT NULL,
    valid_until timestamptz DEFAULT NULL,
    enabled     boolean DEFAULT NULL,
    description text DEFAULT NULL,
    concurrency_key text DEFAULT NULL,
    on_upstream_failure text DEFAULT NULL,
    alert       jsonb DEFAULT NULL,
    new_name    text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_alter_task';
COMMENT ON FUNCTION automate.alter_task(text, text, text, jsonb, text, text, text, interval, interval, integer, interval, integer, text[], timestamptz, timestamptz, boolean, text, text, text, jsonb, text) IS
'Changes a task: what is given replaces what was, what is left out stays; checks as automate.schedule_task does, with the rights of the task''s owner. To take something away: '''' (description, concurrency_key), ''{}'' (depends_on), ''0'' (timeout), ''null'' (alert), ''-infinity'' (valid_from), ''infinity'' (valid_until). Another command brings the caller''s search_path with it. The next run changes only with schedule, time_zone, valid_from, valid_until and enabled => true; what was due by the old schedule and has not run is recorded as skipped. Runs that were made already go on as they were. A task that was disabled because it could not go on works again with a schedule that can.';

CREATE FUNCTION automate.cancel_task_run(
    name         text,
    scheduled_at timestamptz DEFAULT NULL,
    reason       text DEFAULT NULL)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_cancel_task_run';
COMMENT ON FUNCTION automate.cancel_task_run(text, timestamptz, text) IS
'Ends runs of a task as cancelled: the one of that instant, or all that are not over; returns how many. Those that wait are over at once, statements that run now are cancelled when the caller''s transaction commits, and so is the workflow or report that a run has started. reason goes into the run''s error beside who did it.';

-- Runs that are made for instants of the past.
CREATE TABLE automate.task_backfill (
    id          uuid PRIMARY KEY,
    task        uuid NOT NULL REFERENCES automate.task ON DELETE CASCADE,
    owner       regrole NOT NULL,
    status      text NOT NULL DEFAULT 'running',
    from_at     timestamptz NOT NULL,
    until_at    timestamptz NOT NULL,
    schedule    jsonb NOT NULL,
    time_zone   text NOT NULL,
    next_at     timestamptz,
    total       integer NOT NULL,
    kept        integer NOT NULL DEFAULT 0,
    succeeded   integer,
    failed      integer,
    error       text,
    created_by  regrole NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    finished_at timestamptz,
    CONSTRAINT task_backfill_status CHECK (
        (status OPERATOR(pg_catalog.=) 'running' AND finished_at IS NULL)
        OR (status OPERATOR(pg_catalog.=) 'completed' AND finished_at IS NOT NULL AND next_at IS NULL)
        OR (status OPERATOR(pg_catalog.=) ANY (ARRAY['cancelled', 'failed']) AND next_at IS NULL AND error IS NOT NULL))
);
CREATE INDEX task_backfill_open ON automate.task_backfill (id) WHERE finished_at IS NULL;
CREATE INDEX task_backfill_task ON automate.task_backfill (task);
CREATE INDEX task_run_backfill ON automate.task_run (backfill, status) WHERE backfill IS NOT NULL;
COMMENT ON TABLE automate.task_backfill IS
'What automate.backfill_task was asked for. Kept for automate.history_retention; automate.task_backfill_progress shows how far it is.';
COMMENT ON COLUMN automate.task_backfill.id IS 'uuid v7.';
COMMENT ON COLUMN automate.task_backfill.task IS 'The task.';
COMMENT ON COLUMN automate.task_backfill.owner IS 'Owner of the task.';
COMMENT ON COLUMN automate.task_backfill.status IS 'running, completed, cancelled (runs that were under way may still end) or failed (no further run can be made: see error).';
COMMENT ON COLUMN automate.task_backfill.from_at IS 'Instants before this one are left alone.';
COMMENT ON COLUMN automate.task_backfill.until_at IS 'Instants after this one are left alone.';
COMMENT ON COLUMN automate.task_backfill.schedule IS 'The schedule of the task when it was asked for.';
COMMENT ON COLUMN automate.task_backfill.time_zone IS 'IANA zone of that schedule.';
COMMENT ON COLUMN automate.task_backfill.next_at IS 'The first instant that has not been looked at; empty when all have.';
COMMENT ON COLUMN automate.task_backfill.total IS 'Instants of the schedule from from_at to until_at.';
COMMENT ON COLUMN automate.task_backfill.kept IS 'How many needed no run: they had one that had succeeded, or was not over.';
COMMENT ON COLUMN automate.task_backfill.succeeded IS 'How many of its runs succeeded, once it has ended.';
COMMENT ON COLUMN automate.task_backfill.failed IS 'How many of its runs ended otherwise, once it has ended.';
COMMENT ON COLUMN automate.task_backfill.error IS 'Why it was cancelled, or cannot go on.';
COMMENT ON COLUMN automate.task_backfill.created_by IS 'Role that asked for it.';
COMMENT ON COLUMN automate.task_backfill.created_at IS 'When it was asked for.';
COMMENT ON COLUMN automate.task_backfill.finished_at IS 'When the last of its runs was over.';
ALTER TABLE automate.task_backfill ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.task_backfill FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.task_backfill IS 'A role sees what it owns, and what roles own whose privileges it has.';

CREATE FUNCTION automate.backfill_task(name text, "from" timestamptz, until timestamptz) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_backfill_task';
COMMENT ON FUNCTION automate.backfill_task(text, timestamptz, timestamptz) IS
'Makes runs for the instants of a task''s schedule from "from" to until (and up to now) that have no run that succeeded: those that failed, were skipped or cancelled, or never were. Oldest first, one after the other unless the task''s overlap is allow, behind the scheduled ones (priority + 100) and whatever the task''s status; they neither hold up scheduled runs nor count as overlapping them, unless the task has a concurrency_key. At most 100000 instants at once. Returns an id: see automate.task_backfill_progress, automate.cancel_backfill.';

CREATE FUNCTION automate.cancel_backfill(id uuid) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_cancel_backfill';
COMMENT ON FUNCTION automate.cancel_backfill(uuid) IS
'Makes no further run of a backfill, and cancels those that are not over, as automate.cancel_task_run does. False if it has ended.';

CREATE VIEW automate.task_backfill_progress WITH (security_invoker = true, security_barrier = true) AS
SELECT b.id, t.name AS task, b.status, b.from_at, b.until_at, b.total,
       b.kept OPERATOR(pg_catalog.+) coalesce(b.succeeded, c.succeeded) AS done,
       coalesce(b.failed, c.failed) AS failed, c.open,
       pg_catalog.round(p.processed::numeric OPERATOR(pg_catalog./) b.total::numeric, 4) AS fraction,
       CASE WHEN b.status OPERATOR(pg_catalog.=) 'running' AND p.processed OPERATOR(pg_catalog.>) b.kept THEN
           pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) ((pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) b.created_at)
               OPERATOR(pg_catalog.*) ((b.total OPERATOR(pg_catalog.-) p.processed)::double precision
                   OPERATOR(pg_catalog./) (p.processed OPERATOR(pg_catalog.-) b.kept)::double precision)) END AS eta,
       b.error, b.created_at AS started_at, b.finished_at, b.owner
FROM automate.task_backfill AS b
JOIN automate.task AS t ON t.id OPERATOR(pg_catalog.=) b.task
CROSS JOIN LATERAL (
    SELECT (pg_catalog.count(*) FILTER (WHERE r.status OPERATOR(pg_catalog.=) 'succeeded'))::integer AS succeeded,
           (pg_catalog.count(*) FILTER (WHERE r.status OPERATOR(pg_catalog.<>) ALL (ARRAY['succeeded', 'waiting', 'queued', 'running'])))::integer AS failed,
           (pg_catalog.count(*) FILTER (WHERE r.status OPERATOR(pg_catalog.=) ANY (ARRAY['waiting', 'queued', 'running'])))::integer AS open
    FROM automate.task_run AS r WHERE r.backfill OPERATOR(pg_catalog.=) b.id) AS c
CROSS JOIN LATERAL (
    SELECT b.kept OPERATOR(pg_catalog.+) coalesce(b.succeeded, c.succeeded) OPERATOR(pg_catalog.+) coalesce(b.failed, c.failed) AS processed) AS p;
COMMENT ON VIEW automate.task_backfill_progress IS
'How far each automate.backfill_task is.';
COMMENT ON COLUMN automate.task_backfill_progress.id IS 'What automate.backfill_task returned.';
COMMENT ON COLUMN automate.task_backfill_progress.task IS 'Name of the task.';
COMMENT ON COLUMN automate.task_backfill_progress.status IS 'running, completed, cancelled or failed.';
COMMENT ON COLUMN automate.task_backfill_progress.from_at IS 'Instants before this one are left alone.';
COMMENT ON COLUMN automate.task_backfill_progress.until_at IS 'Instants after this one are left alone.';
COMMENT ON COLUMN automate.task_backfill_progress.total IS 'Instants of the schedule between the two.';
COMMENT ON COLUMN automate.task_backfill_progress.done IS 'Instants with a run that succeeded, also long before, or that somebody else''s run is to do.';
COMMENT ON COLUMN automate.task_backfill_progress.failed IS 'Runs of it that failed, were skipped or cancelled.';
COMMENT ON COLUMN automate.task_backfill_progress.open IS 'Runs of it that are made and not over.';
COMMENT ON COLUMN automate.task_backfill_progress.fraction IS 'How much of it is over: 0 to 1.';
COMMENT ON COLUMN automate.task_backfill_progress.eta IS 'When it will be over if it goes on as it has gone so far.';
COMMENT ON COLUMN automate.task_backfill_progress.error IS 'Why it was cancelled, or cannot go on.';
COMMENT ON COLUMN automate.task_backfill_progress.started_at IS 'When it was asked for.';
COMMENT ON COLUMN automate.task_backfill_progress.finished_at IS 'When the last of its runs was over.';
COMMENT ON COLUMN automate.task_backfill_progress.owner IS 'Owner of the task.';

CREATE VIEW automate.task_audit WITH (security_invoker = true, security_barrier = true) AS
SELECT a.at, a.name AS task, a.action, a.by_role, a.by_session, a.application, a.client, a.old, a.new, a.owner,
       a.object AS task_id, a.id
FROM automate.audit AS a WHERE a.kind OPERATOR(pg_catalog.=) 'task';
COMMENT ON VIEW automate.task_audit IS 'Every change of a task: who, when, and what was before and is since then.';
COMMENT ON COLUMN automate.task_audit.at IS 'When it was changed.';
COMMENT ON COLUMN automate.task_audit.task IS 'Name of the task.';
COMMENT ON COLUMN automate.task_audit.action IS 'create, import (from pg_cron), alter, pause, resume or drop.';
COMMENT ON COLUMN automate.task_audit.by_role IS 'Role with whose rights it was done.';
COMMENT ON COLUMN automate.task_audit.by_session IS 'Role that had logged in.';
COMMENT ON COLUMN automate.task_audit.application IS 'application_name of the session.';
COMMENT ON COLUMN automate.task_audit.client IS 'Address of the client; empty for a local socket.';
COMMENT ON COLUMN automate.task_audit.old IS 'What was before: of a change only the keys that differ.';
COMMENT ON COLUMN automate.task_audit.new IS 'What is since then.';
COMMENT ON COLUMN automate.task_audit.owner IS 'Owner of the task.';
COMMENT ON COLUMN automate.task_audit.task_id IS 'Id of the task: tells apart tasks that had the same name one after the other.';
COMMENT ON COLUMN automate.task_audit.id IS 'uuid v7: in the order in which the changes were made.';

CREATE FUNCTION automate.import_pg_cron_json(dry_run boolean, unschedule boolean) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_import_pg_cron';
COMMENT ON FUNCTION automate.import_pg_cron_json(boolean, boolean) IS
'Takes over pg_cron''s jobs, and answers a JSON array of what became of each; automate.import_pg_cron shows it.';

CREATE FUNCTION automate.import_pg_cron(dry_run boolean DEFAULT true, unschedule boolean DEFAULT false)
RETURNS TABLE (jobid bigint, task text, owner text, schedule text, time_zone text, command text, enabled boolean, action text, reason text, unscheduled boolean)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.jobid, r.task, r.owner, r.schedule, r.time_zone, r.command, r.enabled, r.action, r.reason, r.unscheduled
    FROM jsonb_to_recordset(automate.import_pg_cron_json($1, $2))
        AS r(jobid bigint, task text, owner text, schedule text, time_zone text, command text, enabled boolean, action text, reason text, unscheduled boolean)
    ORDER BY r.jobid
$$;
COMMENT ON FUNCTION automate.import_pg_cron(boolean, boolean) IS
'Makes tasks of the jobs in cron.job that run in this database: same owner, schedule (in the zone of cron.timezone, GMT by default), command and active state, named as the job or cron_<jobid>, with misfire skip and overlap queue as pg_cron has it. A row for each job: action is import, skip (it is there already, or runs elsewhere) or refuse, reason says why; enabled is whether the task is active. With dry_run, which is the default, nothing is changed. Both would run the job from then on: unschedule => true takes it from pg_cron in the same transaction, also if it was imported before and has the same command. The caller must have the privileges of a job''s owner. Each job is looked at by itself: one that is refused keeps no other back.';
