-- How tasks do: figures of their runs, and a picture of the last hour for psql.

CREATE VIEW automate.task_stats WITH (security_invoker = true, security_barrier = true) AS
SELECT t.name AS task, t.status, s.runs, s.succeeded, s.failed, s.cancelled, s.skipped,
       CASE WHEN s.succeeded OPERATOR(pg_catalog.+) s.failed OPERATOR(pg_catalog.>) 0
            THEN pg_catalog.round(s.succeeded::pg_catalog.numeric OPERATOR(pg_catalog./) (s.succeeded OPERATOR(pg_catalog.+) s.failed), 4) END AS success_rate,
       pg_catalog.round(s.took[1]::pg_catalog.numeric, 3) AS p50_ms,
       pg_catalog.round(s.took[2]::pg_catalog.numeric, 3) AS p95_ms,
       pg_catalog.round(s.took[3]::pg_catalog.numeric, 3) AS p99_ms,
       pg_catalog.round(s.late[1]::pg_catalog.numeric, 3) AS late_p50_ms,
       pg_catalog.round(s.late[2]::pg_catalog.numeric, 3) AS late_p95_ms,
       pg_catalog.round(s.late[3]::pg_catalog.numeric, 3) AS late_p99_ms,
       l.status AS last_status, l.scheduled_at AS last_at,
       CASE WHEN s.good OPERATOR(pg_catalog.>) 0 THEN s.good::pg_catalog.text OPERATOR(pg_catalog.||) ' succeeded'
            WHEN s.bad OPERATOR(pg_catalog.>) 0 THEN s.bad::pg_catalog.text OPERATOR(pg_catalog.||) ' failed' END AS streak,
       t.next_run_at, t.owner
FROM automate.task AS t
CROSS JOIN LATERAL (
    SELECT pg_catalog.count(*) FILTER (WHERE r.status OPERATOR(pg_catalog.<>) 'skipped') AS runs,
           pg_catalog.count(*) FILTER (WHERE r.ok) AS succeeded,
           pg_catalog.count(*) FILTER (WHERE NOT r.ok) AS failed,
           pg_catalog.count(*) FILTER (WHERE r.status OPERATOR(pg_catalog.=) 'cancelled') AS cancelled,
           coalesce(pg_catalog.sum(r.instants) FILTER (WHERE r.status OPERATOR(pg_catalog.=) 'skipped'), 0) AS skipped,
           pg_catalog.percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY r.took) AS took,
           pg_catalog.percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY r.late) AS late,
           pg_catalog.count(*) FILTER (WHERE r.ok AND (r.last_bad OPERATOR(pg_catalog.<) r.scheduled_at) IS NOT FALSE) AS good,
           pg_catalog.count(*) FILTER (WHERE NOT r.ok AND (r.last_good OPERATOR(pg_catalog.<) r.scheduled_at) IS NOT FALSE) AS bad
    FROM (SELECT e.*, pg_catalog.max(e.scheduled_at) FILTER (WHERE e.ok) OVER () AS last_good,
                 pg_catalog.max(e.scheduled_at) FILTER (WHERE NOT e.ok) OVER () AS last_bad
          FROM (SELECT d.scheduled_at, d.status, d.instants,
                       CASE WHEN d.status OPERATOR(pg_catalog.=) 'succeeded' THEN true
                            WHEN d.status OPERATOR(pg_catalog.=) ANY (ARRAY['failed', 'interrupted', 'quarantined']) THEN false END AS ok,
                       pg_catalog.date_part('epoch', d.finished_at OPERATOR(pg_catalog.-) d.started_at) OPERATOR(pg_catalog.*) 1000 AS took,
                       pg_catalog.date_part('epoch', d.lateness) OPERATOR(pg_catalog.*) 1000 AS late
                FROM automate.task_run AS d
                WHERE d.task OPERATOR(pg_catalog.=) t.id) AS e) AS r) AS s
LEFT JOIN LATERAL (
    SELECT d.status, d.scheduled_at FROM automate.task_run AS d
    WHERE d.task OPERATOR(pg_catalog.=) t.id
    ORDER BY d.scheduled_at DESC LIMIT 1) AS l ON true;
COMMENT ON VIEW automate.task_stats IS
'A row a task: what came of its runs in the history that is kept (automate.history_retention), how long they took, how late they began, and when it runs next. All figures are exact.';
COMMENT ON COLUMN automate.task_stats.task IS 'Name of the task.';
COMMENT ON COLUMN automate.task_stats.status IS 'active, paused or disabled.';
COMMENT ON COLUMN automate.task_stats.runs IS 'Runs that were made, those that are not over among them.';
COMMENT ON COLUMN automate.task_stats.succeeded IS 'Runs that succeeded.';
COMMENT ON COLUMN automate.task_stats.failed IS 'Runs that failed for good, were interrupted or quarantined.';
COMMENT ON COLUMN automate.task_stats.cancelled IS 'Runs that were cancelled; they count neither as success nor as failure.';
COMMENT ON COLUMN automate.task_stats.skipped IS 'Instants that passed without a run; the column error of automate.task_runs says why.';
COMMENT ON COLUMN automate.task_stats.success_rate IS 'Share of succeeded among succeeded and failed, 0 to 1; empty before the first.';
COMMENT ON COLUMN automate.task_stats.p50_ms IS 'Half of the runs took at most so many milliseconds, from the begin of the last attempt to the end.';
COMMENT ON COLUMN automate.task_stats.p95_ms IS '95 % of them.';
COMMENT ON COLUMN automate.task_stats.p99_ms IS '99 % of them.';
COMMENT ON COLUMN automate.task_stats.late_p50_ms IS 'Half of the runs began at most so many milliseconds after they were due; of retried ones the last attempt counts.';
COMMENT ON COLUMN automate.task_stats.late_p95_ms IS '95 % of them.';
COMMENT ON COLUMN automate.task_stats.late_p99_ms IS '99 % of them.';
COMMENT ON COLUMN automate.task_stats.last_status IS 'Status of the latest instant, as in automate.task_run.';
COMMENT ON COLUMN automate.task_stats.last_at IS 'That instant.';
COMMENT ON COLUMN automate.task_stats.streak IS 'How many of the latest runs had the same outcome, such as 5 succeeded or 3 failed; cancelled ones and skipped instants are passed over.';
COMMENT ON COLUMN automate.task_stats.next_run_at IS 'The next instant of its schedule.';
COMMENT ON COLUMN automate.task_stats.owner IS 'Owner of the task.';

CREATE FUNCTION automate.task_timeline(
    since interval DEFAULT '1 hour',
    width integer  DEFAULT 60)
RETURNS TABLE (task text, timeline text, outcome text)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
DECLARE
    until timestamptz := clock_timestamp();
    ago timestamptz := until - task_timeline.since;
    step float8;
    clock text;
BEGIN
    IF since IS NULL OR since < interval '1 second' OR since > interval '10 years' THEN
        RAISE EXCEPTION 'since must be between 1 second and 10 years'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', coalesce(since::text, 'NULL')),
                  HINT = 'It says how far back the line goes, such as interval ''1 day''.';
    END IF;
    IF width IS NULL OR width NOT BETWEEN 10 AND 1000 THEN
        RAISE EXCEPTION 'width must be between 10 and 1000'
            USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It is %s.', coalesce(width::text, 'NULL')),
                  HINT = 'It counts the marks of a line: 60 fit well beside the names.';
    END IF;
    step := date_part('epoch', until - ago) / width;
    clock := CASE WHEN step * width <= 900 THEN 'HH24:MI:SS' WHEN step * width <= 172800 THEN 'HH24:MI' ELSE 'MM-DD' END;
    RETURN QUERY
    WITH run AS (
        -- A run that is not over lasts until now; one that has not begun stands where it is due.
        SELECT r.task AS id, r.status, r.instants, r.started_at IS NULL AND a.since IS NULL AND r.status <> 'skipped' AS waits,
               coalesce(r.started_at, a.since, r.due_at) AS begun, coalesce(r.finished_at, until) AS ended, r.finished_at IS NULL AS open
        FROM automate.task_run AS r LEFT JOIN automate.activity AS a ON a.job = r.job AND r.finished_at IS NULL
        WHERE r.recorded_at >= ago OR r.finished_at IS NULL OR r.finished_at >= ago
    ), mark AS (
        SELECT run.id, cell,
               CASE WHEN cell < span.last THEN 5
                    WHEN run.open THEN CASE WHEN run.waits THEN 6 ELSE 4 END
                    WHEN run.status = 'succeeded' THEN 3 WHEN run.status = 'skipped' THEN 2
                    WHEN run.status = 'cancelled' THEN 1 ELSE 0 END AS rank
        FROM run
        CROSS JOIN LATERAL (
            SELECT floor(date_part('epoch', run.begun - ago) / step) AS first,
                   least(width - 1, floor(date_part('epoch', CASE WHEN run.waits OR run.status = 'skipped' THEN run.begun ELSE run.ended END
                                                             - ago) / step)) AS last) AS span
        CROSS JOIN LATERAL generate_series(greatest(0, span.first)::integer, span.last::integer) AS cell
    ), cell AS (
        SELECT mark.id, mark.cell, min(mark.rank) AS rank FROM mark GROUP BY 1, 2
    ), line AS (
        SELECT seen.id, string_agg(coalesce(substr('xc-+>=w', cell.rank + 1, 1), '.'), '' ORDER BY place) AS marks
        FROM (SELECT DISTINCT cell.id FROM cell) AS seen CROSS JOIN generate_series(0, width - 1) AS place
        LEFT JOIN cell ON cell.id = seen.id AND cell.cell = place
        GROUP BY seen.id
    ), outcome AS (
        SELECT run.id, count(*) FILTER (WHERE run.status = 'succeeded') AS good,
               count(*) FILTER (WHERE run.status IN ('failed', 'interrupted', 'quarantined')) AS bad,
               coalesce(sum(run.instants) FILTER (WHERE run.status = 'skipped'), 0) AS skipped,
               count(*) FILTER (WHERE run.status = 'cancelled') AS cancelled, count(*) FILTER (WHERE run.open) AS open
        FROM run GROUP BY 1
    ), shown(rank, task, timeline, outcome) AS (
        SELECT 1, t.name || CASE WHEN count(*) OVER (PARTITION BY t.name) > 1 THEN ' (' || t.owner::text || ')' ELSE '' END, line.marks,
               concat_ws(', ', nullif(o.good, 0) || ' succeeded', nullif(o.bad, 0) || ' failed', nullif(o.skipped, 0) || ' skipped',
                         nullif(o.cancelled, 0) || ' cancelled', nullif(o.open, 0) || ' open')
        FROM line JOIN outcome AS o ON o.id = line.id JOIN automate.task AS t ON t.id = line.id
        UNION ALL
        SELECT 0, '', left(string_agg(rpad('|' || to_char(ago + place * step * interval '1 second', clock), 12), '' ORDER BY place), width),
               'one mark: ' || date_trunc('milliseconds', step * interval '1 second')
        FROM generate_series(0, width - 1, 12) AS place
        UNION ALL VALUES (2, '', '+ succeeded  x failed  - skipped  c cancelled', ''), (3, '', '= its length  > runs now  w waits', '')
    )
    SELECT s.task, s.timeline, s.outcome FROM shown AS s ORDER BY s.rank, s.task;
END
$$;
COMMENT ON FUNCTION automate.task_timeline(interval, integer) IS
'A picture for psql of what ran since so long ago, a line a task, with an axis in the session''s time zone above and a legend below; width is the number of marks. Where several fall on one mark the worst is shown. Tasks of which nothing ran are left out.';
