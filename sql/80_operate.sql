-- Seeing and steering.

CREATE FUNCTION automate.is_preloaded() RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_is_preloaded';
COMMENT ON FUNCTION automate.is_preloaded() IS
'True when the library is in shared_preload_libraries, so that background workers can run.';

CREATE FUNCTION automate.keep_history(retention_s bigint) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    today date := (now() AT TIME ZONE 'UTC')::date;
    keep_from timestamptz := now() - retention_s * interval '1 second';
    day date;
    part text;
    part_from timestamptz;
BEGIN
    FOR day IN SELECT today + n FROM generate_series(1, 2) AS n LOOP
        part := 'job_history_' || to_char(day, 'YYYYMMDD');
        CONTINUE WHEN to_regclass('automate.' || part) IS NOT NULL;
        CONTINUE WHEN EXISTS (SELECT FROM automate.job_history_default
                              WHERE finished_at >= day::timestamp AT TIME ZONE 'UTC');
        EXECUTE format('CREATE TABLE automate.%I PARTITION OF automate.job_history FOR VALUES FROM (%L) TO (%L)',
            part, day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC');
        EXECUTE format('ALTER TABLE automate.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', part);
        EXECUTE format('COMMENT ON TABLE automate.%I IS %L', part, 'History of jobs that finished on ' || day || ' UTC.');
        EXECUTE format('ALTER EXTENSION pg_automate ADD TABLE automate.%I', part);
    END LOOP;
    FOR part IN SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = 'automate.job_history'::regclass AND c.relname ~ '^job_history_\d{8}$' LOOP
        part_from := to_date(right(part, 8), 'YYYYMMDD')::timestamp AT TIME ZONE 'UTC';
        IF part_from + interval '1 day' < keep_from THEN
            EXECUTE format('ALTER EXTENSION pg_automate DROP TABLE automate.%I', part);
            EXECUTE format('DROP TABLE automate.%I', part);
        END IF;
    END LOOP;
    DELETE FROM automate.job_history_default WHERE finished_at < keep_from;
END
$$;
COMMENT ON FUNCTION automate.keep_history(bigint) IS
'For the coordinator: makes the history partitions of the next days and drops what is older than the retention, in seconds.';

CREATE FUNCTION automate.pause(reason text DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_pause';
COMMENT ON FUNCTION automate.pause(text) IS
'Stops claiming work in this database until automate.resume(); what runs now is finished. Nothing is lost: jobs wait.';

CREATE FUNCTION automate.resume() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_resume';
COMMENT ON FUNCTION automate.resume() IS
'Lets the database work again, and takes it over as the owner of its definitions if it is a restored copy.';

CREATE FUNCTION automate.activity_json() RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_activity';
COMMENT ON FUNCTION automate.activity_json() IS
'The workers of this database as a JSON array, read from shared memory; the view automate.activity shows it.';

CREATE VIEW automate.activity WITH (security_invoker = true, security_barrier = true) AS
SELECT a.pid, a.worker, a.role::pg_catalog.regrole AS role, a.state, a.job,
       '2000-01-01 00:00:00+00'::pg_catalog.timestamptz OPERATOR(pg_catalog.+) (a.since_us OPERATOR(pg_catalog.*) '1 microsecond'::pg_catalog.interval) AS since
FROM pg_catalog.jsonb_to_recordset(automate.activity_json())
     AS a(pid integer, worker text, role oid, state text, job uuid, since_us bigint)
WHERE a.role OPERATOR(pg_catalog.=) 0
   OR pg_catalog.pg_has_role(a.role, 'USAGE')
   OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE'));
COMMENT ON VIEW automate.activity IS
'What the workers of this database do now: one row a process. Own roles only, unless level monitor.';

COMMENT ON COLUMN automate.activity.pid IS 'Its process id, as in pg_stat_activity.';
COMMENT ON COLUMN automate.activity.worker IS 'launcher (one for the server), coordinator, executor or courier.';
COMMENT ON COLUMN automate.activity.role IS 'Role in whose session an executor runs; - for the others.';
COMMENT ON COLUMN automate.activity.state IS 'starting, idle or busy.';
COMMENT ON COLUMN automate.activity.job IS 'The job it does now.';
COMMENT ON COLUMN automate.activity.since IS 'Since when it is in this state.';

CREATE FUNCTION automate.status() RETURNS TABLE (item text, state text, detail text)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
WITH worker AS (
    SELECT * FROM automate.activity
), own AS (
    SELECT bool_or(paused) AS paused, string_agg(paused_reason, '; ') AS reason,
           bool_or(i.system_identifier <> c.system_identifier::text OR i.database_oid <> d.oid) AS copy
    FROM automate.instance AS i, pg_control_system() AS c, pg_database AS d
    WHERE d.datname = current_database()
), queue AS (
    SELECT count(*) FILTER (WHERE j.status = 'ready') AS ready,
           count(*) FILTER (WHERE j.status = 'scheduled') AS scheduled,
           count(*) FILTER (WHERE j.status = 'running') AS running,
           date_trunc('second', now() - min(j.run_at) FILTER (WHERE j.status = 'ready')) AS oldest
    FROM automate.job AS j
), history AS (
    SELECT count(*) AS done, count(*) FILTER (WHERE h.status IN ('failed', 'quarantined')) AS failed
    FROM automate.job_history AS h WHERE h.finished_at > now() - interval '1 day'
), runs AS (
    SELECT count(*) FILTER (WHERE r.status IN ('pending', 'running')) AS active,
           count(*) FILTER (WHERE r.status = 'waiting') AS waiting,
           count(*) FILTER (WHERE r.status = 'completed' AND r.finished_at > now() - interval '1 day') AS completed,
           count(*) FILTER (WHERE r.status = 'faulted' AND r.finished_at > now() - interval '1 day') AS faulted
    FROM automate.run AS r
), tasks AS (
    SELECT count(*) AS total, count(*) FILTER (WHERE t.status <> 'active') AS off, min(t.next_run_at) AS next
    FROM automate.task AS t
), triggers AS (
    SELECT count(*) AS total, count(*) FILTER (WHERE g.status = 'active') AS active, min(g.next_at) AS next
    FROM automate.trigger AS g
), rules AS (
    SELECT count(*) AS total, count(*) FILTER (WHERE u.status = 'active') AS active FROM automate.rule AS u
), mails AS (
    SELECT count(*) FILTER (WHERE d.state IN ('queued', 'retrying')) AS open,
           count(*) FILTER (WHERE d.state = 'sent' AND d.sent_at > now() - interval '1 day') AS sent,
           count(*) FILTER (WHERE d.state = 'failed' AND d.created_at > now() - interval '1 day') AS failed
    FROM automate.delivery AS d
)
SELECT 'version', automate.version(), 'database ' || quote_ident(current_database())
UNION ALL
SELECT 'processing',
       CASE WHEN NOT automate.is_preloaded() THEN 'off'
            WHEN own.copy IS NOT FALSE OR own.paused OR current_setting('automate.paused', true) = 'on' THEN 'paused'
            WHEN NOT EXISTS (SELECT FROM worker WHERE worker.worker = 'coordinator') THEN 'starting'
            ELSE 'on' END,
       CASE WHEN NOT automate.is_preloaded() THEN 'add pg_automate to shared_preload_libraries and restart the server'
            WHEN own.copy IS NOT FALSE THEN 'this database is a copy: nothing is sent until SELECT automate.resume()'
            WHEN own.paused THEN coalesce(own.reason, 'paused by hand') || ': SELECT automate.resume()'
            WHEN current_setting('automate.paused', true) = 'on' THEN 'by the setting automate.paused'
            ELSE (SELECT string_agg(w.n || ' ' || w.worker || CASE WHEN w.n = 1 THEN '' ELSE 's' END, ', ')
                  FROM (SELECT worker.worker, count(*) AS n FROM worker GROUP BY 1 ORDER BY 1) AS w) END
FROM own
UNION ALL
SELECT 'trouble', w.worker, CASE WHEN w.role = 0 THEN '' ELSE w.role::text || ': ' END || w.reason
       || ' (since ' || date_trunc('second', w.since) || ')'
FROM automate.worker_trouble AS w
UNION ALL
SELECT 'queue', queue.ready || ' ready', queue.scheduled || ' scheduled, ' || queue.running || ' running'
       || coalesce(', oldest waits ' || queue.oldest, '')
FROM queue
UNION ALL
SELECT 'jobs, last day', history.done || ' done', history.failed || ' of them failed'
       || CASE WHEN history.failed > 0 THEN ': see automate.job_history, automate.retry_job(id)' ELSE '' END
FROM history
UNION ALL
SELECT 'triggers', triggers.active || ' active', triggers.total - triggers.active || ' disabled or broken'
       || coalesce(', next at ' || triggers.next, '') FROM triggers
UNION ALL
SELECT 'rules', rules.active || ' active', rules.total - rules.active || ' disabled or broken' FROM rules
UNION ALL
SELECT 'tasks', tasks.total - tasks.off || ' active', tasks.off || ' off' || coalesce(', next at ' || tasks.next, '') FROM tasks
UNION ALL
SELECT 'task runs, last day', count(*) FILTER (WHERE r.status <> 'skipped') || ' made',
       count(*) FILTER (WHERE r.status IN ('failed', 'interrupted', 'quarantined')) || ' failed, '
       || coalesce(sum(r.instants) FILTER (WHERE r.status = 'skipped'), 0) || ' instants skipped: see automate.task_runs'
FROM automate.task_run AS r WHERE r.recorded_at > now() - interval '1 day'
UNION ALL
SELECT 'tasks ' || p.trouble, count(*)::text,
       string_agg(p.task || coalesce(' (' || p.streak || ' in a row)', ''), ', ' ORDER BY p.place) FILTER (WHERE p.place <= 5)
       || CASE WHEN count(*) > 5 THEN ', ...' ELSE '' END || ': see automate.task_trouble'
FROM (SELECT k.*, row_number() OVER (PARTITION BY k.trouble ORDER BY k.streak DESC, k.since, k.task) AS place
      FROM automate.task_trouble AS k) AS p
GROUP BY p.trouble
UNION ALL
SELECT 'workflow runs', runs.active || ' active', runs.waiting || ' waiting; last day: ' || runs.completed || ' completed, '
       || runs.faulted || ' faulted'
FROM runs
UNION ALL
SELECT 'deliveries', mails.open || ' to send', 'last day: ' || mails.sent || ' sent, ' || mails.failed || ' failed' FROM mails
$$;
COMMENT ON FUNCTION automate.status() IS
'One screen for psql: is it running, what waits, what went wrong, and the way out. Counts what the caller may see.';

CREATE FUNCTION automate.get_metrics() RETURNS jsonb
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
WITH done(system, ok, seconds) AS (
    SELECT CASE h.kind WHEN 'rule' THEN 'rules' WHEN 'sql' THEN 'jobs' WHEN 'report' THEN 'reports'
                       ELSE h.kind END,
           h.status = 'succeeded', extract(epoch FROM h.finished_at - h.started_at)
    FROM automate.job_history AS h
    WHERE h.kind IN ('rule', 'sql', 'report') AND h.status <> 'cancelled'
    UNION ALL
    SELECT 'tasks', r.status = 'succeeded', extract(epoch FROM r.finished_at - r.started_at)
    FROM automate.task_run AS r WHERE r.status IN ('succeeded', 'failed', 'interrupted', 'quarantined')
    UNION ALL
    SELECT 'workflows', r.status = 'completed', extract(epoch FROM r.finished_at - r.started_at)
    FROM automate.run AS r WHERE r.status IN ('completed', 'faulted')
    UNION ALL
    SELECT 'notifications', d.state = 'sent', extract(epoch FROM d.sent_at - d.created_at)
    FROM automate.delivery AS d WHERE d.state IN ('sent', 'failed')
    UNION ALL
    SELECT 'triggers', true, NULL FROM automate.event
), systems(system) AS (
    VALUES ('triggers'), ('rules'), ('tasks'), ('jobs'), ('workflows'), ('notifications'), ('reports')
), sums AS (
    SELECT s.system, count(d.ok) AS count,
           round(avg(d.ok::int), 4) AS success_rate,
           round((percentile_cont(0.5) WITHIN GROUP (ORDER BY d.seconds) * 1000)::numeric, 3) AS p50_ms,
           round((percentile_cont(0.95) WITHIN GROUP (ORDER BY d.seconds) * 1000)::numeric, 3) AS p95_ms,
           round((percentile_cont(0.99) WITHIN GROUP (ORDER BY d.seconds) * 1000)::numeric, 3) AS p99_ms
    FROM systems AS s LEFT JOIN done AS d USING (system) GROUP BY s.system
), late AS (
    SELECT percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY extract(epoch FROM r.lateness)::float8 * 1000) AS ms,
           coalesce(sum(r.instants) FILTER (WHERE r.status = 'skipped'), 0) AS skipped
    FROM automate.task_run AS r
), more(system, members) AS (
    SELECT 'tasks', jsonb_build_object('skipped', late.skipped, 'lateness', jsonb_build_object('p50_ms', round(late.ms[1]::numeric, 3),
               'p95_ms', round(late.ms[2]::numeric, 3), 'p99_ms', round(late.ms[3]::numeric, 3)),
           'trouble', (SELECT coalesce(jsonb_object_agg(k.trouble, k.count), '{}')
                       FROM (SELECT p.trouble, count(*) FROM automate.task_trouble AS p GROUP BY 1) AS k))
    FROM late
)
SELECT jsonb_object_agg(system, jsonb_build_object('count', count, 'success_rate', success_rate,
           'latency', jsonb_build_object('p50_ms', p50_ms, 'p95_ms', p95_ms, 'p99_ms', p99_ms)) || coalesce(members, '{}'))
FROM sums LEFT JOIN more USING (system)
$$;
COMMENT ON FUNCTION automate.get_metrics() IS
'Count, success rate (0 to 1, null without data) and latency (milliseconds) of each system over the history that is kept and that the caller may see. Of tasks also how late runs began (lateness, milliseconds), the instants skipped, and how many are in each kind of trouble (see automate.task_trouble).';
