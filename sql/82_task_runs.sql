-- What came of the tasks, with their names.

CREATE VIEW automate.task_runs WITH (security_invoker = true, security_barrier = true) AS
SELECT t.name AS task, r.scheduled_at,
       CASE WHEN r.finished_at IS NOT NULL OR r.status OPERATOR(pg_catalog.<>) 'queued' THEN r.status
            WHEN a.job IS NOT NULL THEN 'running'
            WHEN j.attempts OPERATOR(pg_catalog.>) 0 THEN 'retrying'
            ELSE r.status END AS status,
       coalesce(r.started_at, a.since) AS started_at, r.finished_at,
       coalesce(r.lateness, a.since OPERATOR(pg_catalog.-) r.due_at) AS lateness,
       coalesce(j.attempts, r.attempts) AS attempts, r.rows,
       coalesce(r.error, j.last_error) AS error, r.output, r.cause, r.through, r.instants, r.job, r.started, r.owner
FROM automate.task_run AS r
JOIN automate.task AS t ON t.id OPERATOR(pg_catalog.=) r.task
LEFT JOIN automate.job AS j ON j.id OPERATOR(pg_catalog.=) r.job AND r.finished_at IS NULL
LEFT JOIN automate.activity AS a ON a.job OPERATOR(pg_catalog.=) r.job AND r.finished_at IS NULL;
COMMENT ON VIEW automate.task_runs IS
'What came of the tasks: a row for each run and each instant (or row of instants, from scheduled_at to through) that was skipped, and what runs now.';
COMMENT ON COLUMN automate.task_runs.task IS 'Name of the task.';
COMMENT ON COLUMN automate.task_runs.scheduled_at IS 'Instant of the schedule, or moment of automate.execute_task or of the trigger; the first, if several in a row were skipped.';
COMMENT ON COLUMN automate.task_runs.status IS 'As in automate.task_run; of those that are queued, running (an executor does it now) and retrying (an attempt has failed) are told apart.';
COMMENT ON COLUMN automate.task_runs.started_at IS 'When its last attempt began.';
COMMENT ON COLUMN automate.task_runs.finished_at IS 'When it ended, or was skipped.';
COMMENT ON COLUMN automate.task_runs.lateness IS 'How long after it was due its last attempt began.';
COMMENT ON COLUMN automate.task_runs.attempts IS 'Attempts that have ended.';
COMMENT ON COLUMN automate.task_runs.rows IS 'Rows that its last statement answered or changed.';
COMMENT ON COLUMN automate.task_runs.error IS 'Why it failed, why it was skipped, or what it waits for.';
COMMENT ON COLUMN automate.task_runs.output IS 'What it answered: notices and the first rows, up to 8 kB.';
COMMENT ON COLUMN automate.task_runs.cause IS 'schedule, manual, trigger or backfill.';
COMMENT ON COLUMN automate.task_runs.through IS 'The last of the instants skipped in a row.';
COMMENT ON COLUMN automate.task_runs.instants IS 'How many were skipped in a row.';
COMMENT ON COLUMN automate.task_runs.job IS 'Its job; empty if it was skipped.';
COMMENT ON COLUMN automate.task_runs.started IS 'The workflow run, report run or notification that it started.';
COMMENT ON COLUMN automate.task_runs.owner IS 'Owner of the task.';
