-- What is wrong with tasks: one truth for automate.status, automate.doctor and whoever watches.

CREATE INDEX task_run_failed ON automate.task_run (task)
    WHERE status OPERATOR(pg_catalog.=) ANY (ARRAY['failed', 'interrupted', 'quarantined']);

-- The tasks with failures are found by skipping from one to the next in the index, and of each no
-- more than its last 100 runs are read: this is asked often, also of a task that fails each second.
CREATE VIEW automate.task_trouble WITH (security_invoker = true, security_barrier = true) AS
WITH RECURSIVE failed(task) AS (
    (SELECT r.task FROM automate.task_run AS r
     WHERE r.status OPERATOR(pg_catalog.=) ANY (ARRAY['failed', 'interrupted', 'quarantined'])
     ORDER BY r.task LIMIT 1)
    UNION ALL
    SELECT (SELECT r.task FROM automate.task_run AS r
            WHERE r.task OPERATOR(pg_catalog.>) f.task
              AND r.status OPERATOR(pg_catalog.=) ANY (ARRAY['failed', 'interrupted', 'quarantined'])
            ORDER BY r.task LIMIT 1)
    FROM failed AS f WHERE f.task IS NOT NULL
), paused(now) AS (
    SELECT coalesce(pg_catalog.bool_or(i.paused OR i.system_identifier OPERATOR(pg_catalog.<>) c.system_identifier::pg_catalog.text
               OR i.database_oid OPERATOR(pg_catalog.<>) d.oid), true)
           OR pg_catalog.current_setting('automate.paused', true) OPERATOR(pg_catalog.=) 'on'
    FROM automate.instance AS i, pg_catalog.pg_control_system() AS c, pg_catalog.pg_database AS d
    WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
)
SELECT t.name AS task, 'failing' AS trouble, s.streak, s.since,
       'failed ' OPERATOR(pg_catalog.||) CASE WHEN s.streak OPERATOR(pg_catalog.=) 1 THEN 'once'
           WHEN s.streak OPERATOR(pg_catalog.=) 100 THEN '100 times in a row or more'
           ELSE s.streak::pg_catalog.text OPERATOR(pg_catalog.||) ' times in a row' END
       OPERATOR(pg_catalog.||) coalesce(', last: ' OPERATOR(pg_catalog.||) pg_catalog.split_part(s.error, E'\n', 1), '') AS finding,
       pg_catalog.format('SELECT scheduled_at, status, error FROM automate.task_runs WHERE task = %L ORDER BY 1 DESC', t.name) AS remedy,
       t.owner
FROM failed AS f
JOIN automate.task AS t ON t.id OPERATOR(pg_catalog.=) f.task AND t.status OPERATOR(pg_catalog.<>) 'paused'
    AND (SELECT r.status FROM automate.task_run AS r
         WHERE r.task OPERATOR(pg_catalog.=) t.id
           AND r.status OPERATOR(pg_catalog.=) ANY (ARRAY['succeeded', 'failed', 'interrupted', 'quarantined'])
         ORDER BY r.scheduled_at DESC LIMIT 1) OPERATOR(pg_catalog.<>) 'succeeded'
CROSS JOIN LATERAL (
    SELECT pg_catalog.count(*) AS streak, pg_catalog.min(e.finished_at) AS since,
           (pg_catalog.array_agg(e.error ORDER BY e.scheduled_at DESC))[1] AS error
    FROM (SELECT l.scheduled_at, l.finished_at, l.error,
                 pg_catalog.bool_or(l.status OPERATOR(pg_catalog.=) 'succeeded') OVER (ORDER BY l.scheduled_at DESC) AS before
          FROM (SELECT r.scheduled_at, r.finished_at, r.error, r.status FROM automate.task_run AS r
                WHERE r.task OPERATOR(pg_catalog.=) t.id
                  AND r.status OPERATOR(pg_catalog.=) ANY (ARRAY['succeeded', 'failed', 'interrupted', 'quarantined'])
                ORDER BY r.scheduled_at DESC LIMIT 100) AS l) AS e
    WHERE NOT e.before) AS s
WHERE s.streak OPERATOR(pg_catalog.>) 0
UNION ALL
SELECT t.name, 'disabled', NULL, t.updated_at, 'disabled: ' OPERATOR(pg_catalog.||) t.status_reason,
       pg_catalog.format('mend its cause, then SELECT automate.resume_task(%L)', t.name), t.owner
FROM automate.task AS t
WHERE t.status OPERATOR(pg_catalog.=) 'disabled' AND t.status_reason IS NOT NULL
  AND NOT pg_catalog.starts_with(t.status_reason, 'its schedule has no further run')
UNION ALL
SELECT t.name, 'no login', NULL, NULL, 'its owner ' OPERATOR(pg_catalog.||) t.owner::pg_catalog.text
           OPERATOR(pg_catalog.||) ' may not log in: nobody can run it',
       pg_catalog.format('ALTER ROLE %s LOGIN', t.owner::pg_catalog.text), t.owner
FROM pg_catalog.pg_roles AS a
JOIN automate.task AS t ON t.owner OPERATOR(pg_catalog.=) a.oid AND t.status OPERATOR(pg_catalog.=) 'active'
WHERE NOT a.rolcanlogin
UNION ALL
SELECT t.name, CASE WHEN p.now THEN 'overdue' ELSE 'late' END, NULL, t.next_run_at,
       'was due at ' OPERATOR(pg_catalog.||) pg_catalog.date_trunc('second', t.next_run_at)::pg_catalog.text
           OPERATOR(pg_catalog.||) CASE WHEN p.now THEN ', and nothing runs: paused' ELSE ', and its run is not made yet' END,
       CASE WHEN p.now THEN 'SELECT automate.resume()'
            ELSE 'see whether the coordinator works: SELECT * FROM automate.activity' END, t.owner
FROM paused AS p, automate.task AS t
WHERE t.status OPERATOR(pg_catalog.=) 'active'
  AND t.next_run_at OPERATOR(pg_catalog.<) (pg_catalog.now() OPERATOR(pg_catalog.-)
      CASE WHEN p.now THEN '0 s'::pg_catalog.interval ELSE '30 s'::pg_catalog.interval END);
COMMENT ON VIEW automate.task_trouble IS
'What is wrong with tasks, a row a finding, with the line that mends it or shows more. Empty when all is well.';
COMMENT ON COLUMN automate.task_trouble.task IS 'Name of the task.';
COMMENT ON COLUMN automate.task_trouble.trouble IS 'failing (its last run failed; of tasks that are not paused), disabled (it cannot run, and was disabled for that), no login (its owner may not log in), late (due for more than 30 seconds, and no run was made) or overdue (due, while the database is paused).';
COMMENT ON COLUMN automate.task_trouble.streak IS 'Of failing ones: how many of its runs failed in a row; counted to 100.';
COMMENT ON COLUMN automate.task_trouble.since IS 'When the first of those failed, when it was disabled, or when it was due.';
COMMENT ON COLUMN automate.task_trouble.finding IS 'The same in words, with the reason.';
COMMENT ON COLUMN automate.task_trouble.remedy IS 'What mends it or shows more.';
COMMENT ON COLUMN automate.task_trouble.owner IS 'Owner of the task.';
