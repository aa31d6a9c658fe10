-- How workflows do: figures of their runs and steps, and what these advise.

CREATE FUNCTION automate.workflow_step_kind(definition jsonb, pointer text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT coalesce((
        SELECT k.kind FROM unnest(ARRAY['for', 'try', 'do', 'set', 'switch', 'wait', 'raise', 'call', 'emit', 'fork', 'listen', 'run'])
             WITH ORDINALITY AS k(kind, place)
        WHERE $1 #> (SELECT array_agg(replace(replace(p.part, '~1', '/'), '~0', '~') ORDER BY p.place)
                     FROM unnest(string_to_array(substr($2, 2), '/')) WITH ORDINALITY AS p(part, place)) ? k.kind
        ORDER BY k.place LIMIT 1), 'function')
$$;
COMMENT ON FUNCTION automate.workflow_step_kind(jsonb, text) IS
'What the task at a JSON Pointer of a definition is: for, try, do, set, switch, wait, raise, call, emit, fork, listen or run; function for one of use.functions, or for a place that is not there.';

CREATE FUNCTION automate.workflow_since(workflow text, since interval) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF since IS NULL OR since <= interval '0' OR since > interval '100 years' THEN
        RAISE EXCEPTION 'since must be longer than nothing, and at most 100 years'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', coalesce(since::text, 'NULL')),
                  HINT = 'It says how far back runs count, such as interval ''1 day''.';
    END IF;
    IF workflow IS NOT NULL AND NOT EXISTS (SELECT FROM automate.workflow AS w WHERE w.name = workflow_since.workflow) THEN
        RAISE EXCEPTION 'workflow "%" does not exist', left(workflow, 80)
            USING ERRCODE = 'undefined_object', DETAIL = 'There is none of this name among those that you may see.',
                  HINT = 'SELECT name FROM automate.workflow lists them.';
    END IF;
END
$$;
COMMENT ON FUNCTION automate.workflow_since(text, interval) IS
'For automate.workflow_stats and automate.workflow_step_stats: refuses a workflow that is not there, and a time that is none.';

CREATE FUNCTION automate.workflow_step_figures(workflow uuid, since interval)
RETURNS TABLE (step text, name text, kind text, runs bigint, attempts bigint, failures bigint, retries bigint, waiting bigint,
               p50_ms numeric, p95_ms numeric, p99_ms numeric, share numeric, run_ms numeric, ended bigint, errors jsonb)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
    WITH run AS MATERIALIZED (
        SELECT r.id, r.version, r.finished_at IS NOT NULL AS over, date_part('epoch', r.finished_at - r.started_at) * 1000 AS took
        FROM automate.run AS r
        WHERE r.workflow_id = $1 AND r.created_at >= now() - $2
    ), attempt AS MATERIALIZED (
        SELECT s.run, s.step AS whole, regexp_replace(s.step, '([#@^][0-9]+)+$', '') AS step, s.name, s.attempt, s.status,
               date_part('epoch', s.finished_at - s.started_at) * 1000 AS took, run.version, run.over,
               CASE WHEN s.status = 'faulted' THEN coalesce(substring(s.error ->> 'detail' FROM '^([0-9A-Z]{5}): '),
                    CASE WHEN s.error ->> 'type' LIKE '%/timeout' THEN 'timeout' END, s.error ->> 'status', 'unknown') END AS code
        FROM run JOIN automate.run_step AS s ON s.run = run.id
        WHERE s.status <> 'skipped'
    ), figure AS (
        SELECT a.step, max(a.name) AS name, max(a.version) AS version, count(DISTINCT a.run) AS runs, count(*) AS attempts,
               count(*) FILTER (WHERE a.status = 'faulted') AS failures, count(*) FILTER (WHERE a.attempt > 1) AS retries,
               count(*) FILTER (WHERE a.status = 'waiting') AS waiting,
               percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY a.took) AS took,
               coalesce(sum(a.took) FILTER (WHERE a.over), 0) AS total
        FROM attempt AS a GROUP BY a.step
    ), chain AS (
        -- The attempts of one step of one run.
        SELECT a.step, a.run, a.whole, count(*) AS attempts, bool_or(a.status = 'completed') AS mended,
               CASE WHEN count(DISTINCT a.code) = 1 THEN max(a.code) END AS only
        FROM attempt AS a GROUP BY a.step, a.run, a.whole
    ), wasted AS (
        SELECT c.step, c.only AS code, coalesce(sum(c.attempts - 1) FILTER (WHERE NOT c.mended), 0) AS wasted,
               count(*) FILTER (WHERE c.mended) AS mended
        FROM chain AS c WHERE c.only IS NOT NULL GROUP BY c.step, c.only
    ), failed AS (
        SELECT e.step, jsonb_agg(jsonb_build_object('code', e.code, 'count', e.count, 'wasted', coalesce(w.wasted, 0),
                                                    'mended', coalesce(w.mended, 0)) ORDER BY e.count DESC, e.code) AS errors
        FROM (SELECT a.step, a.code, count(*) AS count FROM attempt AS a WHERE a.code IS NOT NULL GROUP BY a.step, a.code) AS e
        LEFT JOIN wasted AS w ON w.step = e.step AND w.code = e.code
        GROUP BY e.step
    )
    SELECT f.step, f.name, automate.workflow_step_kind(v.definition, f.step), f.runs, f.attempts, f.failures, f.retries, f.waiting,
           round(f.took[1]::numeric, 3), round(f.took[2]::numeric, 3), round(f.took[3]::numeric, 3),
           round((f.total / nullif(w.took, 0))::numeric, 4), round((w.took / nullif(w.runs, 0))::numeric, 3), w.runs,
           coalesce(x.errors, '[]')
    FROM figure AS f
    CROSS JOIN (SELECT sum(run.took) AS took, count(run.took) AS runs FROM run WHERE run.over) AS w
    LEFT JOIN automate.workflow_version AS v ON v.workflow = $1 AND v.version = f.version
    LEFT JOIN failed AS x ON x.step = f.step
$$;
COMMENT ON FUNCTION automate.workflow_step_figures(uuid, interval) IS
'For automate.workflow_step_stats and automate.workflow_advice: the figures of the steps of a workflow in the runs that were made since so long ago. run_ms: mean length of a run that is over; ended: how many of them; errors: {"code": SQLSTATE, HTTP status or timeout, "count", "wasted": retries that met it again and again, "mended": how often a retry helped}.';

CREATE FUNCTION automate.workflow_stats(
    name  text     DEFAULT NULL,
    since interval DEFAULT '7 days')
RETURNS TABLE (workflow text, owner regrole, status text, version integer, runs bigint, pending bigint, running bigint, waiting bigint,
               completed bigint, faulted bigint, cancelled bigint, success_rate numeric, p50_ms numeric, p95_ms numeric, p99_ms numeric,
               working_ms numeric, waiting_ms numeric, retries bigint, last_status text, last_at timestamptz)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM automate.workflow_since(workflow_stats.name, workflow_stats.since);
    RETURN QUERY
    WITH run AS MATERIALIZED (
        SELECT r.id, r.workflow_id, r.version, r.status, r.created_at, date_part('epoch', r.finished_at - r.started_at) * 1000 AS took
        FROM automate.run AS r
        WHERE r.created_at >= now() - workflow_stats.since
          AND (workflow_stats.name IS NULL OR r.workflow = workflow_stats.name)
    ), attempt AS MATERIALIZED (
        SELECT s.run, run.workflow_id, run.version, regexp_replace(s.step, '([#@^][0-9]+)+$', '') AS step, s.attempt, s.started_at,
               s.finished_at, run.took IS NOT NULL AS over
        FROM run JOIN automate.run_step AS s ON s.run = run.id
        WHERE s.status <> 'skipped'
    ), does AS (
        -- The steps that do something; the others only wait, or hold steps.
        SELECT d.workflow_id, d.version, d.step
        FROM (SELECT DISTINCT a.workflow_id, a.version, a.step FROM attempt AS a) AS d
        JOIN automate.workflow_version AS v ON v.workflow = d.workflow_id AND v.version = d.version
        WHERE automate.workflow_step_kind(v.definition, d.step) IN ('call', 'emit', 'set', 'switch', 'raise')
    ), busy AS (
        -- Steps that go on side by side count once: each from the end of those before it.
        SELECT a.run, a.workflow_id, a.finished_at - greatest(a.started_at, max(a.finished_at) OVER (
                   PARTITION BY a.run ORDER BY a.started_at, a.finished_at ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS more
        FROM attempt AS a JOIN does AS d ON d.workflow_id = a.workflow_id AND d.version = a.version AND d.step = a.step
        WHERE a.over AND a.finished_at IS NOT NULL
    ), worked AS (
        SELECT b.workflow_id, sum(date_part('epoch', greatest(b.more, interval '0'))) * 1000 AS ms FROM busy AS b GROUP BY 1
    ), retried AS (
        SELECT a.workflow_id, count(*) FILTER (WHERE a.attempt > 1) AS retries FROM attempt AS a GROUP BY 1
    ), figure AS (
        SELECT r.workflow_id, count(*) AS runs, count(*) FILTER (WHERE r.status = 'pending') AS pending,
               count(*) FILTER (WHERE r.status = 'running') AS running,
               count(*) FILTER (WHERE r.status IN ('waiting', 'suspended')) AS waiting,
               count(*) FILTER (WHERE r.status = 'completed') AS completed, count(*) FILTER (WHERE r.status = 'faulted') AS faulted,
               count(*) FILTER (WHERE r.status = 'cancelled') AS cancelled,
               percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY r.took) AS took,
               sum(r.took) AS total, count(r.took) AS over,
               (array_agg(r.status ORDER BY r.created_at DESC, r.id DESC))[1] AS last_status, max(r.created_at) AS last_at
        FROM run AS r GROUP BY r.workflow_id
    )
    SELECT w.name, w.owner, w.status, w.version, coalesce(f.runs, 0), coalesce(f.pending, 0), coalesce(f.running, 0),
           coalesce(f.waiting, 0), coalesce(f.completed, 0), coalesce(f.faulted, 0), coalesce(f.cancelled, 0),
           round(f.completed::numeric / nullif(f.completed + f.faulted, 0), 4),
           round(f.took[1]::numeric, 3), round(f.took[2]::numeric, 3), round(f.took[3]::numeric, 3),
           round((least(coalesce(k.ms, 0), f.total) / nullif(f.over, 0))::numeric, 3),
           round((greatest(f.total - coalesce(k.ms, 0), 0) / nullif(f.over, 0))::numeric, 3),
           coalesce(t.retries, 0), f.last_status, f.last_at
    FROM automate.workflow AS w
    LEFT JOIN figure AS f ON f.workflow_id = w.id
    LEFT JOIN worked AS k ON k.workflow_id = w.id
    LEFT JOIN retried AS t ON t.workflow_id = w.id
    WHERE workflow_stats.name IS NULL OR w.name = workflow_stats.name
    ORDER BY w.name, w.owner::text;
END
$$;
COMMENT ON FUNCTION automate.workflow_stats(text, interval) IS
'A row a workflow (of that name, if one is given): what came of the runs that were made since so long ago and are still in the history. success_rate: completed among completed and faulted, 0 to 1. p50_ms, p95_ms, p99_ms: how long the runs that are over took, from their first step to their end, in milliseconds. working_ms: how much of that, on average, steps were doing something (side by side counts once); waiting_ms: the rest, for times, events, people, the next attempt or a worker. retries: attempts of steps beyond the first.';

CREATE FUNCTION automate.workflow_step_stats(
    workflow text,
    since    interval DEFAULT '7 days')
RETURNS TABLE (step text, name text, kind text, runs bigint, attempts bigint, failures bigint, retries bigint, waiting bigint,
               p50_ms numeric, p95_ms numeric, p99_ms numeric, share numeric, errors jsonb)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
#variable_conflict use_column
BEGIN
    PERFORM automate.workflow_since(coalesce(workflow_step_stats.workflow, ''), workflow_step_stats.since);
    RETURN QUERY
    SELECT f.step, f.name, f.kind, f.runs, f.attempts, f.failures, f.retries, f.waiting, f.p50_ms, f.p95_ms, f.p99_ms, f.share, f.errors
    FROM (SELECT w.id FROM automate.workflow AS w WHERE w.name = workflow_step_stats.workflow
          ORDER BY w.owner = current_user::regrole DESC, w.owner LIMIT 1) AS w,
         automate.workflow_step_figures(w.id, workflow_step_stats.since) AS f
    ORDER BY f.share DESC NULLS LAST, f.step;
END
$$;
COMMENT ON FUNCTION automate.workflow_step_stats(text, interval) IS
'A row a step of a workflow (the caller''s own, or else one that it may see) in the runs that were made since so long ago, the longest first. step: JSON Pointer of the task in the definition; the turns of loops and the jumps backwards are one step. waiting: attempts that wait now. p50_ms, p95_ms, p99_ms: how long an attempt took. share: its part of the time of all runs that are over, 0 to 1; a step that holds others has their time too, and many turns side by side may have more than 1. errors: an array of {"code": SQLSTATE, HTTP status or timeout, "count": failures, "wasted": retries that failed in the same way again and again, "mended": how often a retry helped}.';

CREATE FUNCTION automate.workflow_advice_json(name text, since text) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_workflow_advice';
COMMENT ON FUNCTION automate.workflow_advice_json(text, text) IS
'What automate.workflow_advice answers, as a JSON array.';

CREATE FUNCTION automate.workflow_advice(
    name  text,
    since interval DEFAULT '7 days')
RETURNS TABLE (advice text, step text, severity text, evidence text, change jsonb)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT a.advice, a.step, a.severity, a.evidence, a.change
    FROM jsonb_to_recordset(automate.workflow_advice_json($1, $2::text))
         AS a(advice text, step text, severity text, evidence text, change jsonb)
$$;
COMMENT ON FUNCTION automate.workflow_advice(text, interval) IS
'What would make a workflow faster or surer, from the runs of its history and from its definition: critical_path (the steps that make the length of a run), dominant_step, parallel (steps that only read and need nothing of one another), wasted_retries (of errors that stay), timeout_low, timeout_high and missing_index (under a SQL step). severity: info or warning. change: a JSON Patch (RFC 6902) of the definition, or {"sql": a statement}; empty where there is nothing to be written. The caller owns the workflow, or has the privileges of its owner. Nothing is changed or run; the statements of SQL steps are planned with the rights of the owner.';
