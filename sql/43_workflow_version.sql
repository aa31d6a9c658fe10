-- Versions of workflows, runs that change theirs, and what workflows use.

CREATE FUNCTION automate.workflow_problems_json(name text, version integer) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_workflow_problems';
COMMENT ON FUNCTION automate.workflow_problems_json(text, integer) IS
'What automate.workflow_problems answers, as a JSON array.';

CREATE FUNCTION automate.workflow_problems(name text, version integer DEFAULT NULL)
RETURNS TABLE (severity text, pointer text, code text, message text, hint text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.severity, p.pointer, p.code, p.message, p.hint
    FROM pg_catalog.jsonb_to_recordset(automate.workflow_problems_json($1, $2))
         AS p(severity text, pointer text, code text, message text, hint text)
$$;
COMMENT ON FUNCTION automate.workflow_problems(text, integer) IS
'What is wrong by now with a version of a workflow (without version: the one that new runs take), as automate.validate_workflow tells it: tables that are gone, rights that its owner has lost, templates that were dropped. No rows: nothing.';

CREATE FUNCTION automate.workflow_complexity_json(definition jsonb) RETURNS jsonb
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_workflow_complexity';
COMMENT ON FUNCTION automate.workflow_complexity_json(jsonb) IS
'What automate.workflow_complexity answers for a definition, as a JSON array.';

CREATE FUNCTION automate.workflow_complexity_json(name text) RETURNS jsonb
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_workflow_complexity_of';
COMMENT ON FUNCTION automate.workflow_complexity_json(text) IS
'What automate.workflow_complexity answers for a workflow, as a JSON array.';

CREATE FUNCTION automate.workflow_complexity(definition jsonb)
RETURNS TABLE (tasks integer, depth integer, max_parallel bigint, cyclomatic integer, within_limits boolean, nearest_limit text, used numeric)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.tasks, c.depth, c.max_parallel, c.cyclomatic, c.within_limits, c.nearest_limit, c.used
    FROM pg_catalog.jsonb_to_recordset(automate.workflow_complexity_json($1))
         AS c(tasks integer, depth integer, max_parallel bigint, cyclomatic integer, within_limits boolean, nearest_limit text, used numeric)
$$;
COMMENT ON FUNCTION automate.workflow_complexity(jsonb) IS
'How much of a workflow there is. tasks: those of functions count at each call; depth: task lists within one another; max_parallel: branches that may go on at once; cyclomatic: 1, and 1 for each if, for, while, case with a condition, try and retry; within_limits: as far as these measures go; nearest_limit: maxSteps, maxDepth or maxBranches, whichever it comes nearest to, and used, the part of that (1: all of it). A definition that cannot be read is an error.';

CREATE FUNCTION automate.workflow_complexity(name text)
RETURNS TABLE (tasks integer, depth integer, max_parallel bigint, cyclomatic integer, within_limits boolean, nearest_limit text, used numeric)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.tasks, c.depth, c.max_parallel, c.cyclomatic, c.within_limits, c.nearest_limit, c.used
    FROM pg_catalog.jsonb_to_recordset(automate.workflow_complexity_json($1))
         AS c(tasks integer, depth integer, max_parallel bigint, cyclomatic integer, within_limits boolean, nearest_limit text, used numeric)
$$;
COMMENT ON FUNCTION automate.workflow_complexity(text) IS
'The same for the version of a workflow that new runs take.';

CREATE FUNCTION automate.workflow_dependencies_json(name text) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_workflow_dependencies';
COMMENT ON FUNCTION automate.workflow_dependencies_json(text) IS
'What automate.workflow_dependencies answers, as a JSON array.';

CREATE FUNCTION automate.workflow_dependencies(name text DEFAULT NULL)
RETURNS TABLE (workflow text, version integer, kind text, object text, missing boolean)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT d.workflow, d.version, d.kind, d.object, d.missing
    FROM pg_catalog.jsonb_to_recordset(automate.workflow_dependencies_json($1))
         AS d(workflow text, version integer, kind text, object text, missing boolean)
$$;
COMMENT ON FUNCTION automate.workflow_dependencies(text) IS
'What a workflow uses in the versions that new runs take; without name, all workflows of the caller and of roles whose privileges it has. kind: table (also views, and the tables below them) and function, as its statements are read by its owner now; statement (one that cannot be read, with the reason), template, channel, report, workflow, role, secret, listens and emits (types of events), host (of requests). missing: its owner would not find it. Rights that are lost on tables and functions are told by automate.workflow_problems.';

CREATE FUNCTION automate.workflow_versions_json(name text) RETURNS jsonb
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_workflow_versions';
COMMENT ON FUNCTION automate.workflow_versions_json(text) IS
'What automate.workflow_versions answers, as a JSON array.';

CREATE FUNCTION automate.workflow_versions(name text)
RETURNS TABLE (version integer, active boolean, share numeric, created_by text, created_at timestamptz,
    open bigint, completed bigint, faulted bigint, cancelled bigint, changes integer, summary text)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT v.version, v.active, v.share, v.created_by, v.created_at, v.open, v.completed, v.faulted, v.cancelled,
           v.changes, v.summary
    FROM pg_catalog.jsonb_to_recordset(automate.workflow_versions_json($1))
         AS v(version integer, active boolean, share numeric, created_by text, created_at timestamptz,
              open bigint, completed bigint, faulted bigint, cancelled bigint, changes integer, summary text)
$$;
COMMENT ON FUNCTION automate.workflow_versions(text) IS
'The versions of a workflow, the newest first. active: the current one; share: the part of the new runs that take it; open, completed, faulted, cancelled: its runs, as far as they are kept; changes: rows of automate.workflow_diff from the version before; summary: document.summary of its definition.';

CREATE FUNCTION automate.workflow_diff_json(name text, from_version integer, to_version integer) RETURNS jsonb
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_workflow_diff';
COMMENT ON FUNCTION automate.workflow_diff_json(text, integer, integer) IS
'What automate.workflow_diff answers, as a JSON array.';

CREATE FUNCTION automate.workflow_diff(name text, from_version integer DEFAULT NULL, to_version integer DEFAULT NULL)
RETURNS TABLE (pointer text, op text, old jsonb, new jsonb)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT d.pointer, d.op, d.old::jsonb, d.new::jsonb
    FROM pg_catalog.jsonb_to_recordset(automate.workflow_diff_json($1, $2, $3))
         AS d(pointer text, op text, old text, new text)
$$;
COMMENT ON FUNCTION automate.workflow_diff(text, integer, integer) IS
'What is different between two versions of a workflow; without to_version: the current one, without from_version: the one before that. pointer is a JSON Pointer with the names of tasks where their places would be, such as /do/charge/with/query. op: add, remove, replace, rename (a task that is the same otherwise) or move (old and new are its places in its list, from 0).';

CREATE FUNCTION automate.activate_version(name text, version integer, share double precision DEFAULT 1) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_activate_version';
COMMENT ON FUNCTION automate.activate_version(text, integer, double precision) IS
'Lets new runs of a workflow take a version, older or newer than the current one. share => 0.1: one start in ten takes it, the others the current one, chosen by a hash of the idempotency key (else of the run''s id), so that a start that is tried again takes the same; share => 0 ends that; 1: all take it. The version is checked anew, with the rights of the workflow''s owner. Runs under way stay on the version they began with.';

CREATE FUNCTION automate.migrate_run_json(run uuid, version integer, dry_run boolean) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_migrate_run';
COMMENT ON FUNCTION automate.migrate_run_json(uuid, integer, boolean) IS
'What automate.migrate_run answers, as a JSON array.';

CREATE FUNCTION automate.migrate_run(run uuid, version integer, dry_run boolean DEFAULT true)
RETURNS TABLE (step text, new_step text, name text, compatible boolean, change text, message text, hint text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT m.step, m.new_step, m.name, m.compatible, m.change, m.message, m.hint
    FROM pg_catalog.jsonb_to_recordset(automate.migrate_run_json($1, $2, $3))
         AS m(step text, new_step text, name text, compatible boolean, change text, message text, hint text)
$$;
COMMENT ON FUNCTION automate.migrate_run(uuid, integer, boolean) IS
'Lets a run that goes on take another version of its workflow, at the place where it stands; with dry_run it only tells whether it could. Rows: the steps that the run waits for with their ids in both versions (change: none or moved), and what stands in the way (compatible false; message and hint say why). A task is the same if it has the same name, is of the same kind, and so are those around it. With dry_run false, anything in the way is an error; so is a run in the middle of a step. What the run has done, its data, and its deadline stay; rows of automate.run_step keep the ids that they were written with.';

CREATE FUNCTION automate.alter_workflow(
    name        text,
    new_name    text DEFAULT NULL,
    description text DEFAULT NULL,
    on_trigger  text DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_alter_workflow';
COMMENT ON FUNCTION automate.alter_workflow(text, text, text, text) IS
'Changes what a workflow has beside its definition: what is given replaces what was, what is left out stays. An empty description or on_trigger takes it away. Runs keep the name that they were started under; rules, tasks and workflows that name this one are to be changed as well.';
