-- How the tasks with an alert fare, and what was told of it.

CREATE TABLE automate.task_alert (
    task            uuid PRIMARY KEY REFERENCES automate.task ON DELETE CASCADE,
    owner           regrole NOT NULL,
    failures        integer NOT NULL DEFAULT 0,
    failing_since   timestamptz,
    failing         boolean NOT NULL DEFAULT false,
    stale           boolean NOT NULL DEFAULT false,
    last_success_at timestamptz,
    stale_after_ms  bigint,
    stale_at        timestamptz,
    problem         text,
    problem_job     uuid,
    updated_at      timestamptz NOT NULL DEFAULT pg_catalog.now()
) WITH (fillfactor = 70);
CREATE INDEX task_alert_stale ON automate.task_alert (stale_at) WHERE stale_at IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('automate.task_alert', '');
COMMENT ON TABLE automate.task_alert IS
'How the tasks that were scheduled with an alert fare: what begins to fail, works again or has not succeeded for too long is told once.';
COMMENT ON COLUMN automate.task_alert.task IS 'The task.';
COMMENT ON COLUMN automate.task_alert.owner IS 'Owner of the task, as whom it is told.';
COMMENT ON COLUMN automate.task_alert.failures IS 'Runs that failed in a row since the last success.';
COMMENT ON COLUMN automate.task_alert.failing_since IS 'When the first of them failed.';
COMMENT ON COLUMN automate.task_alert.failing IS 'They are as many as the alert wants (after_failures), and that was told.';
COMMENT ON COLUMN automate.task_alert.stale IS 'No run has succeeded for as long as the alert allows (stale_after), and that was told.';
COMMENT ON COLUMN automate.task_alert.last_success_at IS 'When a run last succeeded, since it has had an alert.';
COMMENT ON COLUMN automate.task_alert.stale_after_ms IS 'For how long no run may succeed, in milliseconds; empty: for ever.';
COMMENT ON COLUMN automate.task_alert.stale_at IS 'When that time is over; empty when nobody looks at it, such as of a paused task.';
COMMENT ON COLUMN automate.task_alert.problem IS 'Why the last thing to tell could not be told, such as a channel that is disabled: SQLSTATE, message, DETAIL and HINT.';
COMMENT ON COLUMN automate.task_alert.problem_job IS 'The job that could not tell it: automate.retry_job tries it again.';
COMMENT ON COLUMN automate.task_alert.updated_at IS 'When this row last changed.';

ALTER TABLE automate.task_alert ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.task_alert FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.task_alert IS 'A role sees what it owns, and what roles own whose privileges it has.';
