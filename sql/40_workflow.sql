-- Workflows: definitions, their versions, runs and the steps of runs.

CREATE TABLE automate.workflow (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    description text,
    owner       regrole NOT NULL,
    status      text NOT NULL DEFAULT 'active',
    version     integer NOT NULL,
    on_trigger  uuid REFERENCES automate.trigger,
    canary_version integer,
    canary_share   numeric,
    created_by  regrole NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT workflow_name UNIQUE (owner, name),
    CONSTRAINT workflow_status CHECK (status OPERATOR(pg_catalog.=) ANY (ARRAY['active', 'disabled'])),
    CONSTRAINT workflow_current CHECK (version OPERATOR(pg_catalog.>) 0),
    CONSTRAINT workflow_canary CHECK (
        (canary_version IS NULL AND canary_share IS NULL)
        OR (canary_version OPERATOR(pg_catalog.<>) version
            AND canary_share OPERATOR(pg_catalog.>) 0 AND canary_share OPERATOR(pg_catalog.<) 1))
);
CREATE INDEX workflow_on_trigger ON automate.workflow (on_trigger) WHERE on_trigger IS NOT NULL;
COMMENT ON TABLE automate.workflow IS
'Workflows by name. automate.create_workflow makes them and their versions, automate.execute_workflow starts runs.';
COMMENT ON COLUMN automate.workflow.id IS 'uuid v7.';
COMMENT ON COLUMN automate.workflow.name IS 'Unique among the workflows of its owner.';
COMMENT ON COLUMN automate.workflow.description IS 'For people.';
COMMENT ON COLUMN automate.workflow.owner IS 'Role in whose sessions its steps run.';
COMMENT ON COLUMN automate.workflow.status IS 'active, or disabled: no new runs start; those under way go on.';
COMMENT ON COLUMN automate.workflow.version IS 'Version that new runs take.';
COMMENT ON COLUMN automate.workflow.on_trigger IS 'Id in automate.trigger of the trigger each of whose firings starts a run.';
COMMENT ON COLUMN automate.workflow.canary_version IS 'Version that a part of the new runs takes instead.';
COMMENT ON COLUMN automate.workflow.canary_share IS 'That part: more than 0, less than 1.';
COMMENT ON COLUMN automate.workflow.created_by IS 'Session user who created it.';
COMMENT ON COLUMN automate.workflow.created_at IS 'When it was created.';
COMMENT ON COLUMN automate.workflow.updated_at IS 'When it was last changed.';

CREATE TABLE automate.workflow_version (
    workflow    uuid NOT NULL REFERENCES automate.workflow ON DELETE CASCADE,
    version     integer NOT NULL,
    owner       regrole NOT NULL,
    definition  jsonb NOT NULL,
    search_path text NOT NULL,
    created_by  regrole NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (workflow, version)
);
COMMENT ON TABLE automate.workflow_version IS
'Every version of every workflow. A version never changes; a run stays on the version it began with.';
COMMENT ON COLUMN automate.workflow_version.workflow IS 'Id in automate.workflow.';
COMMENT ON COLUMN automate.workflow_version.version IS 'Counts from 1.';
COMMENT ON COLUMN automate.workflow_version.owner IS 'The workflow''s owner.';
COMMENT ON COLUMN automate.workflow_version.definition IS 'Document in the Open Workflow Specification DSL 1.0.';
COMMENT ON COLUMN automate.workflow_version.search_path IS 'search_path under which its statements were written, and run.';
COMMENT ON COLUMN automate.workflow_version.created_by IS 'Session user who created it.';
COMMENT ON COLUMN automate.workflow_version.created_at IS 'When it was created.';

SELECT pg_catalog.pg_extension_config_dump('automate.workflow', '');
SELECT pg_catalog.pg_extension_config_dump('automate.workflow_version', '');

CREATE TABLE automate.run (
    id              uuid PRIMARY KEY,
    workflow        text NOT NULL,
    version         integer NOT NULL,
    status          text NOT NULL DEFAULT 'pending',
    input           jsonb NOT NULL,
    output          jsonb,
    error           jsonb,
    created_at      timestamptz NOT NULL DEFAULT pg_catalog.now(),
    started_at      timestamptz,
    finished_at     timestamptz,
    owner           regrole NOT NULL,
    workflow_id     uuid NOT NULL,
    source          text,
    idempotency_key text,
    depth           integer NOT NULL DEFAULT 0,
    parent          uuid,
    parent_step     text,
    parent_attempt  integer,
    nesting         integer NOT NULL DEFAULT 0,
    deadline        timestamptz,
    cancelling      boolean NOT NULL DEFAULT false,
    told            bigint NOT NULL DEFAULT 0,
    heard           bigint NOT NULL DEFAULT 0,
    todo            text[],
    revision        bigint NOT NULL DEFAULT 0,
    state           jsonb,
    retry_state     jsonb,
    traceparent     text,
    CONSTRAINT run_status CHECK (CASE
        WHEN status OPERATOR(pg_catalog.=) 'pending' THEN started_at IS NULL AND finished_at IS NULL AND state IS NULL AND output IS NULL AND error IS NULL
        WHEN status OPERATOR(pg_catalog.=) 'running' THEN started_at IS NOT NULL AND finished_at IS NULL AND state IS NOT NULL AND output IS NULL AND error IS NULL
        WHEN status OPERATOR(pg_catalog.=) 'waiting' THEN started_at IS NOT NULL AND finished_at IS NULL AND state IS NOT NULL AND output IS NULL AND error IS NULL
        WHEN status OPERATOR(pg_catalog.=) 'suspended' THEN finished_at IS NULL AND output IS NULL AND error IS NULL
        WHEN status OPERATOR(pg_catalog.=) 'cancelled' THEN finished_at IS NOT NULL AND state IS NULL AND output IS NULL AND error IS NULL
        WHEN status OPERATOR(pg_catalog.=) 'faulted' THEN finished_at IS NOT NULL AND state IS NULL AND output IS NULL AND error IS NOT NULL
        WHEN status OPERATOR(pg_catalog.=) 'completed' THEN finished_at IS NOT NULL AND state IS NULL AND error IS NULL
        ELSE false END)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);
CREATE UNIQUE INDEX run_idempotency ON automate.run (workflow_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX run_open ON automate.run (workflow_id) WHERE finished_at IS NULL;
CREATE INDEX run_parent ON automate.run (parent, parent_step) WHERE parent IS NOT NULL;
CREATE INDEX run_finished ON automate.run (finished_at) WHERE finished_at IS NOT NULL;
COMMENT ON TABLE automate.run IS
'Runs of workflows. The job of a run in automate.job has the run''s id. Finished runs are kept for automate.history_retention.';
COMMENT ON COLUMN automate.run.id IS 'uuid v7: sorts by the time it was made.';
COMMENT ON COLUMN automate.run.workflow IS 'Name of the workflow.';
COMMENT ON COLUMN automate.run.version IS 'Version it runs on, from its start to its end.';
COMMENT ON COLUMN automate.run.status IS 'pending (not begun), running, waiting (until a time), suspended, cancelled, faulted or completed.';
COMMENT ON COLUMN automate.run.traceparent IS 'Trace that it belongs to (W3C Trace Context): its statements, events and requests carry it on.';
COMMENT ON COLUMN automate.run.input IS 'What it was started with.';
COMMENT ON COLUMN automate.run.output IS 'What it completed with.';
COMMENT ON COLUMN automate.run.error IS 'What it faulted with: type, status, title, detail and instance (the step), as the Open Workflow Specification has it; the detail of a SQL error begins with its SQLSTATE.';
COMMENT ON COLUMN automate.run.created_at IS 'When the starting transaction began.';
COMMENT ON COLUMN automate.run.started_at IS 'When its first step began.';
COMMENT ON COLUMN automate.run.finished_at IS 'When it ended.';
COMMENT ON COLUMN automate.run.owner IS 'Role in whose sessions its steps run.';
COMMENT ON COLUMN automate.run.workflow_id IS 'Id in automate.workflow; the run outlives it.';
COMMENT ON COLUMN automate.run.source IS 'What caused it, such as rule:late.';
COMMENT ON COLUMN automate.run.idempotency_key IS 'A second start of the workflow with this key gives this run.';
COMMENT ON COLUMN automate.run.depth IS 'Rules and triggers that led to it, one causing the next; 0: none.';
COMMENT ON COLUMN automate.run.parent IS 'Run whose step started it (run: workflow): the children of a run are the rows with its id here.';
COMMENT ON COLUMN automate.run.parent_step IS 'That step, as in automate.run_step.';
COMMENT ON COLUMN automate.run.parent_attempt IS 'Attempt of that step that waits for its end; NULL: none waits.';
COMMENT ON COLUMN automate.run.nesting IS 'Runs within which it was started, each by the one before; 0: none, at most 16.';
COMMENT ON COLUMN automate.run.deadline IS 'When it faults with a timeout, if its definition has one.';
COMMENT ON COLUMN automate.run.cancelling IS 'True once somebody asked to cancel it: it ends before its next step.';
COMMENT ON COLUMN automate.run.told IS 'Counts what was put down for it in automate.run_news.';
COMMENT ON COLUMN automate.run.heard IS 'How much of that it has looked at.';
COMMENT ON COLUMN automate.run.todo IS 'Where branches go on side by side: the steps that it does itself next, rather than jobs of their own. Empty: the one it stands before.';
COMMENT ON COLUMN automate.run.revision IS 'Counts the checkpoints; guards each against being taken twice.';
COMMENT ON COLUMN automate.run.retry_state IS 'Where it stood when it faulted or was cancelled, for automate.retry_run.';
COMMENT ON COLUMN automate.run.state IS 'Where it stands, as the interpreter wants it.';

CREATE TABLE automate.run_news (
    run        uuid NOT NULL,
    id         uuid NOT NULL,
    news       json NOT NULL,
    owner      regrole NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (run, id)
);
COMMENT ON TABLE automate.run_news IS
'What runs have been told and have not taken yet: signals and events that none of their steps wants so far, and what came while a run was busy.';
COMMENT ON COLUMN automate.run_news.run IS 'Id in automate.run.';
COMMENT ON COLUMN automate.run_news.id IS 'uuid v7; that of the signal or event, which is taken once.';
COMMENT ON COLUMN automate.run_news.news IS 'What happened, as the interpreter wants it.';
COMMENT ON COLUMN automate.run_news.owner IS 'The run''s owner.';
COMMENT ON COLUMN automate.run_news.created_at IS 'When it was put down.';

CREATE TABLE automate.run_item (
    run   uuid NOT NULL,
    step  text NOT NULL,
    place bigint NOT NULL,
    item  json NOT NULL,
    owner regrole NOT NULL,
    PRIMARY KEY (run, step, place)
);
COMMENT ON TABLE automate.run_item IS
'Items of large loops, which are read a page at a time, so that the state of a run stays small.';
COMMENT ON COLUMN automate.run_item.run IS 'Id in automate.run.';
COMMENT ON COLUMN automate.run_item.step IS 'Step of the loop, as in automate.run_step.';
COMMENT ON COLUMN automate.run_item.place IS 'Counts from 0.';
COMMENT ON COLUMN automate.run_item.item IS 'The item.';
COMMENT ON COLUMN automate.run_item.owner IS 'The run''s owner.';

CREATE TABLE automate.run_step (
    run         uuid NOT NULL,
    step        text NOT NULL,
    name        text NOT NULL,
    attempt     integer NOT NULL,
    status      text NOT NULL,
    input       jsonb,
    output      jsonb,
    error       jsonb,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,
    owner       regrole NOT NULL,
    PRIMARY KEY (run, step, attempt),
    CONSTRAINT run_step_status CHECK (CASE
        WHEN status OPERATOR(pg_catalog.=) 'running' THEN finished_at IS NULL
        WHEN status OPERATOR(pg_catalog.=) 'waiting' THEN finished_at IS NULL
        WHEN status OPERATOR(pg_catalog.=) 'completed' THEN finished_at IS NOT NULL AND error IS NULL
        WHEN status OPERATOR(pg_catalog.=) 'skipped' THEN finished_at IS NOT NULL
        WHEN status OPERATOR(pg_catalog.=) 'cancelled' THEN finished_at IS NOT NULL
        WHEN status OPERATOR(pg_catalog.=) 'faulted' THEN finished_at IS NOT NULL AND error IS NOT NULL
        ELSE false END)
) WITH (fillfactor = 90);
COMMENT ON TABLE automate.run_step IS
'Steps of runs, a row an attempt. Inputs, outputs and errors of more than 8 kB are cut: {"truncated": true, "bytes": ..., "start": "..."}.';
COMMENT ON COLUMN automate.run_step.run IS 'Id in automate.run.';
COMMENT ON COLUMN automate.run_step.step IS 'JSON Pointer of the task in the definition; #n tells the turns of a loop apart, @n the jumps backwards.';
COMMENT ON COLUMN automate.run_step.name IS 'Name of the task.';
COMMENT ON COLUMN automate.run_step.attempt IS 'Counts from 1 under a retry.';
COMMENT ON COLUMN automate.run_step.status IS 'running, waiting (to try again, or until a time), completed, faulted, skipped or cancelled.';
COMMENT ON COLUMN automate.run_step.input IS 'The task''s input.';
COMMENT ON COLUMN automate.run_step.output IS 'The task''s output.';
COMMENT ON COLUMN automate.run_step.error IS 'What it failed with.';
COMMENT ON COLUMN automate.run_step.started_at IS 'When it began.';
COMMENT ON COLUMN automate.run_step.finished_at IS 'When it ended.';
COMMENT ON COLUMN automate.run_step.owner IS 'The run''s owner.';

ALTER TABLE automate.workflow ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.workflow_version ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.run ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.run_step ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
ALTER TABLE automate.run_news ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.run_news FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.run_news IS 'A role sees what it owns, and what roles own whose privileges it has.';
ALTER TABLE automate.run_item ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.run_item FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.run_item IS 'A role sees what it owns, and what roles own whose privileges it has.';
CREATE POLICY own ON automate.workflow FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
CREATE POLICY own ON automate.workflow_version FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
CREATE POLICY own ON automate.run FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
CREATE POLICY own ON automate.run_step FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.workflow IS 'A role sees what it owns, and what roles own whose privileges it has.';
COMMENT ON POLICY own ON automate.workflow_version IS 'A role sees what it owns, and what roles own whose privileges it has.';
COMMENT ON POLICY own ON automate.run IS 'A role sees what it owns, and what roles own whose privileges it has.';
COMMENT ON POLICY own ON automate.run_step IS 'A role sees what it owns, and what roles own whose privileges it has.';

CREATE FUNCTION automate.create_workflow(
    name        text,
    definition  jsonb DEFAULT NULL,
    description text DEFAULT NULL,
    nodes       jsonb DEFAULT NULL,
    on_trigger  text DEFAULT NULL,
    activate    boolean DEFAULT true)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_create_workflow';
COMMENT ON FUNCTION automate.create_workflow(text, jsonb, text, jsonb, text, boolean) IS
'Creates a workflow, or the next version of one of the caller''s; returns the version. The definition is a document of the Open Workflow Specification DSL 1.0 with call: sql, http, notify, report and approval; everything in it is checked now, with the rights of the caller. Instead of a definition, nodes may hold {"nodes": [...], "edges": [...]}, which is brought into that form. The current definition again gives the current version. With on_trigger, each firing of that trigger starts a run with the input {"event": {...}}, once for each event; an empty on_trigger ends that, and NULL leaves it as it is. New runs take the new version from now on, all of them; with activate => false they do not until automate.activate_version says so.';

CREATE FUNCTION automate.drop_workflow(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_drop_workflow';
COMMENT ON FUNCTION automate.drop_workflow(text) IS
'Drops a workflow with all its versions; refused while it has runs under way. Finished runs stay until the retention takes them.';

CREATE FUNCTION automate.enable_workflow(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_enable_workflow';
COMMENT ON FUNCTION automate.enable_workflow(text) IS 'Lets a disabled workflow start runs again.';

CREATE FUNCTION automate.disable_workflow(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_disable_workflow';
COMMENT ON FUNCTION automate.disable_workflow(text) IS
'Lets a workflow start no new runs; those under way go on to their end.';

CREATE FUNCTION automate.validate_workflow_json(definition jsonb, path text) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_validate_workflow';
COMMENT ON FUNCTION automate.validate_workflow_json(jsonb, text) IS
'What automate.validate_workflow answers, as a JSON array.';

CREATE FUNCTION automate.validate_workflow(
    definition jsonb,
    path       text DEFAULT pg_catalog.current_setting('search_path'))
RETURNS TABLE (severity text, pointer text, code text, message text, hint text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.severity, p.pointer, p.code, p.message, p.hint
    FROM pg_catalog.jsonb_to_recordset(automate.validate_workflow_json(definition, path))
         AS p(severity text, pointer text, code text, message text, hint text)
$$;
COMMENT ON FUNCTION automate.validate_workflow(jsonb, text) IS
'Everything that is wrong with a definition, a row a problem with its JSON Pointer; no rows: create_workflow would take it. path is the search_path under which its statements are looked at: the caller''s.';

CREATE FUNCTION automate.execute_workflow(
    name            text,
    input           jsonb DEFAULT '{}',
    version         integer DEFAULT NULL,
    idempotency_key text DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_execute_workflow';
COMMENT ON FUNCTION automate.execute_workflow(text, jsonb, integer, text) IS
'Starts a run when the caller''s transaction commits; returns its id, see automate.run. Without version it is the current one. With an idempotency_key, a second call gives the first one''s run.';
