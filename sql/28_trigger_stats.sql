-- How triggers do: what they saw, how often they fired, and how fast their subscribers were.

CREATE VIEW automate.trigger_stats WITH (security_invoker = true, security_barrier = true) AS
SELECT t.name AS trigger, t.trigger_type, t.status,
       coalesce(c.matched, 0) OPERATOR(pg_catalog.-) coalesce(c.skipped, 0) AS fired,
       coalesce(c.evaluated, 0) AS evaluated, coalesce(c.matched, 0) AS matched, coalesce(c.skipped, 0) AS skipped,
       t.errors, c.p50_ms, c.p95_ms, c.p99_ms, c.last_at AS last_fired_at, t.last_error, t.owner
FROM automate.trigger AS t
LEFT JOIN LATERAL pg_catalog.jsonb_to_record(automate.counted(t.id))
    AS c(evaluated bigint, matched bigint, skipped bigint, last_at timestamptz,
         p50_ms numeric, p95_ms numeric, p99_ms numeric) ON true;
COMMENT ON VIEW automate.trigger_stats IS
'A row a trigger: what it saw and how often it fired since the server started, counted in shared memory, and how long its subscribers took.';
COMMENT ON COLUMN automate.trigger_stats.trigger IS 'Name of the trigger.';
COMMENT ON COLUMN automate.trigger_stats.trigger_type IS 'data, event, time or custom.';
COMMENT ON COLUMN automate.trigger_stats.status IS 'active, disabled or broken.';
COMMENT ON COLUMN automate.trigger_stats.fired IS 'How often it fired in transactions that committed.';
COMMENT ON COLUMN automate.trigger_stats.evaluated IS 'Changes, events, instants or looks for which its condition was evaluated. Of many on a table only those are evaluated whose values a row has.';
COMMENT ON COLUMN automate.trigger_stats.matched IS 'Of these, those for which it was true.';
COMMENT ON COLUMN automate.trigger_stats.skipped IS 'Of these, those that it passed over: none of its columns changed, or it was not yet ready to fire again.';
COMMENT ON COLUMN automate.trigger_stats.errors IS 'Transactions in which it failed.';
COMMENT ON COLUMN automate.trigger_stats.p50_ms IS 'Half of its subscribers were done within so many milliseconds after the event: an estimate from classes, each 1.4 times as long as the one before.';
COMMENT ON COLUMN automate.trigger_stats.p95_ms IS '95 % of them.';
COMMENT ON COLUMN automate.trigger_stats.p99_ms IS '99 % of them.';
COMMENT ON COLUMN automate.trigger_stats.last_fired_at IS 'When a transaction in which it fired last committed, since the server started.';
COMMENT ON COLUMN automate.trigger_stats.last_error IS 'The last error, or why it is broken.';
COMMENT ON COLUMN automate.trigger_stats.owner IS 'Owner of the trigger.';
