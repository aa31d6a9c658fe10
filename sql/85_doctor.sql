-- What is wrong, and the line that mends it.

CREATE FUNCTION automate.doctor() RETURNS TABLE (severity text, subject text, finding text, remedy text)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
WITH setting AS (
    SELECT current_setting('max_worker_processes')::integer AS workers,
           current_setting('automate.max_executors', true)::integer AS executors
), instance AS (
    SELECT bool_or(i.paused) AS paused, string_agg(i.paused_reason, '; ') AS reason,
           bool_or(i.system_identifier <> c.system_identifier::text OR i.database_oid <> d.oid) AS copy
    FROM automate.instance AS i, pg_control_system() AS c, pg_database AS d
    WHERE d.datname = current_database()
), found(rank, subject, finding, remedy) AS (
    -- Whether it works at all.
    SELECT 1, 'preload', 'the library is not preloaded: nothing runs in the background',
           'add pg_automate to shared_preload_libraries in postgresql.conf and restart the server'
    WHERE NOT automate.is_preloaded()
    UNION ALL
    SELECT 1, 'copy', 'this database is a copy of the one its definitions were made in: nothing runs and nothing is sent',
           'SELECT automate.resume(), if it is meant to work'
    FROM instance WHERE copy IS NOT FALSE
    UNION ALL
    SELECT 2, 'pause', 'nothing runs: ' || coalesce(reason, 'paused by hand'), 'SELECT automate.resume()'
    FROM instance WHERE paused AND NOT copy
    UNION ALL
    SELECT 2, 'pause', 'nothing runs: the setting automate.paused is on', 'ALTER SYSTEM RESET automate.paused; SELECT pg_reload_conf()'
    WHERE current_setting('automate.paused', true) = 'on'
    UNION ALL
    -- Its processes.
    SELECT 1, 'worker', w.worker || CASE WHEN w.role = 0 THEN '' ELSE ' of ' || w.role::text END || ' cannot be started since '
           || date_trunc('second', w.since), w.reason
    FROM automate.worker_trouble AS w
    UNION ALL
    SELECT 2, 'max_worker_processes',
           'its ' || s.workers || ' places are fewer than launcher, coordinator, courier and ' || s.executors || ' executors need',
           'ALTER SYSTEM SET max_worker_processes = ' || s.executors + 8 || ' and restart the server'
    FROM setting AS s WHERE s.workers < s.executors + 3
    UNION ALL
    -- What waits.
    SELECT 2, 'queue', 'ready jobs of ' || j.owner::text || ' that wait: ' || count(*) || ', the oldest since '
           || date_trunc('second', now() - min(j.run_at)),
           'SELECT * FROM automate.activity shows what runs; more executors: ALTER SYSTEM SET automate.max_executors'
    FROM automate.job AS j
    WHERE j.status = 'ready' AND j.run_at < now() - interval '1 minute'
    GROUP BY j.owner
    UNION ALL
    SELECT 2, 'limit', l.role::text || ' has as many jobs waiting as its limit of ' || l.queued || ' allows: its calls are refused',
           format('SELECT automate.limit_role(%L, running => %s, queued => ...)', l.role::text, coalesce(l.running::text, 'NULL'))
    FROM automate.role_limit AS l
    WHERE l.queued <= (SELECT count(*) FROM automate.job AS j WHERE j.owner = l.role AND j.status = 'ready')
    UNION ALL
    -- What went wrong.
    SELECT 2, 'rule ' || u.name, 'broken: ' || u.last_error, format('mend its cause, then SELECT automate.enable_rule(%L)', u.name)
    FROM automate.rule AS u WHERE u.status = 'broken'
    UNION ALL
    SELECT 3, 'rule ' || u.name, 'its condition failed in ' || u.errors || ' transactions, last: ' || u.last_error,
           'drop it and make it again with a condition that holds for every row'
    FROM automate.rule AS u WHERE u.status = 'active' AND u.last_error_at > now() - interval '1 day'
    UNION ALL
    SELECT 2, 'trigger ' || g.name, 'broken: ' || g.last_error, format('mend its cause, then SELECT automate.enable_trigger(%L)', g.name)
    FROM automate.trigger AS g WHERE g.status = 'broken'
    UNION ALL
    SELECT 3, 'trigger ' || g.name, 'it failed ' || g.errors || ' times, last: ' || g.last_error,
           format('mend its cause, or SELECT automate.alter_trigger(%L, condition => ...)', g.name)
    FROM automate.trigger AS g WHERE g.status = 'active' AND g.last_error_at > now() - interval '1 day'
    UNION ALL
    SELECT 2, 'task ' || p.task, p.finding, p.remedy FROM automate.task_trouble AS p WHERE p.trouble IN ('failing', 'disabled')
    UNION ALL
    -- What stops many tasks at once is one finding.
    SELECT CASE p.trouble WHEN 'overdue' THEN 3 ELSE 2 END, 'tasks of ' || p.owner::text,
           CASE p.trouble WHEN 'no login' THEN 'nobody can run them, since their owner may not log in: '
                          WHEN 'overdue' THEN 'due while nothing runs: ' ELSE 'due, and their runs are not made: ' END
           || count(*) || coalesce(', the first since ' || date_trunc('second', min(p.since)), ''), min(p.remedy)
    FROM automate.task_trouble AS p WHERE p.trouble IN ('no login', 'overdue', 'late')
    GROUP BY p.owner, p.trouble
    UNION ALL
    SELECT 2, 'dead letters', 'failed jobs of ' || coalesce(h.source, h.kind) || ' in the last day: ' || count(*) || ', last: '
           || split_part((array_agg(h.error ORDER BY h.finished_at DESC))[1], E'\n', 1),
           format('SELECT automate.retry_job(%L)', (array_agg(h.id ORDER BY h.finished_at DESC))[1])
    FROM automate.job_history AS h
    WHERE h.status IN ('failed', 'quarantined') AND h.finished_at > now() - interval '1 day'
    GROUP BY coalesce(h.source, h.kind)
    UNION ALL
    SELECT 3, 'workflow ' || r.workflow, 'faulted runs in the last day: ' || count(*) || ', last: '
           || left((array_agg(coalesce(r.error ->> 'detail', r.error ->> 'title') ORDER BY r.finished_at DESC))[1], 200),
           format('SELECT step, error FROM automate.run_step WHERE run = %L AND status = ''faulted''',
                  (array_agg(r.id ORDER BY r.finished_at DESC))[1])
    FROM automate.run AS r
    WHERE r.status = 'faulted' AND r.finished_at > now() - interval '1 day'
    GROUP BY r.workflow
    UNION ALL
    SELECT 2, 'channel ' || d.channel, CASE d.state WHEN 'failed' THEN 'failed deliveries in the last day: ' ELSE 'deliveries that are tried again: ' END
           || count(*) || ', last: '
           || left((array_agg(d.last_error ORDER BY d.created_at DESC))[1], 200),
           CASE d.state WHEN 'failed' THEN format('SELECT automate.retry_job(%L)', (array_agg(d.id ORDER BY d.created_at DESC))[1])
                        ELSE 'see whether its server can be reached from here' END
    FROM automate.delivery AS d
    WHERE (d.state = 'failed' AND d.created_at > now() - interval '1 day') OR d.state = 'retrying'
    GROUP BY d.channel, d.state
    UNION ALL
    -- The server around it.
    SELECT 2, 'fsync', 'off: a crash of the machine can lose or double work', 'ALTER SYSTEM RESET fsync; SELECT pg_reload_conf()'
    WHERE current_setting('fsync') = 'off'
    UNION ALL
    SELECT 2, 'autovacuum', 'off: the queue''s dead rows stay and make it slow', 'ALTER SYSTEM RESET autovacuum; SELECT pg_reload_conf()'
    WHERE current_setting('autovacuum') = 'off'
    UNION ALL
    SELECT 3, 'old transaction', 'process ' || a.pid || ' of ' || a.usename || ' has a transaction open since '
           || date_trunc('second', now() - a.xact_start) || ': finished jobs cannot be vacuumed, the queue gets slow',
           format('end it, or SELECT pg_terminate_backend(%s)', a.pid)
    FROM pg_stat_activity AS a
    WHERE a.xact_start < now() - interval '1 hour' AND a.datname = current_database() AND a.usename IS NOT NULL
)
SELECT (ARRAY['error', 'warning', 'notice'])[f.rank], f.subject, f.finding, f.remedy FROM found AS f
ORDER BY f.rank, f.subject
$$;
COMMENT ON FUNCTION automate.doctor() IS
'What is wrong now, a row a finding, the worst first, each with the line that mends it. severity: error (nothing or something does not work), warning (something was lost, is late or is about to be) or notice. No rows: nothing was found. Looks at what the caller may see.';
