-- Runs that wait for those of other tasks.

CREATE TABLE automate.task_wait (
    task         uuid NOT NULL REFERENCES automate.task ON DELETE CASCADE,
    scheduled_at timestamptz NOT NULL,
    upstream     uuid NOT NULL,
    upstream_at  timestamptz,
    asleep       boolean NOT NULL DEFAULT false,
    reason       text,
    owner        regrole NOT NULL,
    PRIMARY KEY (task, scheduled_at, upstream)
);
CREATE INDEX task_wait_upstream ON automate.task_wait (upstream);
CREATE INDEX task_wait_awake ON automate.task_wait (task, scheduled_at) WHERE NOT asleep;
COMMENT ON TABLE automate.task_wait IS
'What runs with status waiting wait for: a row for each run of another task. It goes when that run has succeeded, and with the last of them the run begins.';
COMMENT ON COLUMN automate.task_wait.task IS 'The task that waits.';
COMMENT ON COLUMN automate.task_wait.scheduled_at IS 'Its run, as in automate.task_run.';
COMMENT ON COLUMN automate.task_wait.upstream IS 'The task that it waits for.';
COMMENT ON COLUMN automate.task_wait.upstream_at IS 'The run of that task: its latest instant at or before scheduled_at. Empty while it has had none, or runs when a trigger fires: then its latest run counts, or else the first to come.';
COMMENT ON COLUMN automate.task_wait.asleep IS 'False while it is still to be seen how that run stands.';
COMMENT ON COLUMN automate.task_wait.reason IS 'What it waits for, and why that does not come if it does not.';
COMMENT ON COLUMN automate.task_wait.owner IS 'Owner of the task that waits.';

-- Written by whoever ends a run, who so waits for nobody; read and emptied by the coordinator alone.
CREATE TABLE automate.task_news (
    id           bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    task         uuid NOT NULL,
    scheduled_at timestamptz,
    status       text
);
COMMENT ON TABLE automate.task_news IS
'For the coordinator: tasks of which others have been waiting for news, or of which somebody is to be told how they fare.';
COMMENT ON COLUMN automate.task_news.id IS 'In the order in which it happened.';
COMMENT ON COLUMN automate.task_news.task IS 'The task.';
COMMENT ON COLUMN automate.task_news.scheduled_at IS 'Its run that is over; empty when it is no run that is the news, such as that it is paused.';
COMMENT ON COLUMN automate.task_news.status IS 'As which the run ended.';

ALTER TABLE automate.task_wait ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.task_news ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.task_wait FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.task_wait IS 'A role sees what it owns, and what roles own whose privileges it has.';
