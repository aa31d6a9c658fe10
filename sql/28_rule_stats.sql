-- How rules do: what they matched, what came of it, and how fast.

CREATE FUNCTION automate.counted(id uuid) RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'automate_counted';
COMMENT ON FUNCTION automate.counted(uuid) IS
'For automate.rule_stats and its siblings: what was counted of a rule or trigger since the server started; NULL if nothing was. Counted in shared memory, for some 16,000 of them in a server.';

CREATE VIEW automate.rule_stats WITH (security_invoker = true, security_barrier = true) AS
SELECT r.name AS rule, r.status, coalesce(c.evaluated, 0) AS evaluated, coalesce(c.matched, 0) AS matched,
       coalesce(c.skipped, 0) AS skipped, coalesce(h.done, 0) AS done, coalesce(h.failed, 0) AS failed,
       coalesce(q.waiting, 0) AS waiting, h.p50_ms, h.p95_ms, h.p99_ms, c.last_at,
       r.errors, r.last_error, r.owner
FROM automate.rule AS r
LEFT JOIN LATERAL pg_catalog.jsonb_to_record(automate.counted(r.id))
    AS c(evaluated bigint, matched bigint, skipped bigint, last_at timestamptz) ON true
LEFT JOIN LATERAL (
    SELECT pg_catalog.count(*) AS done, pg_catalog.count(*) FILTER (WHERE j.status OPERATOR(pg_catalog.<>) 'succeeded') AS failed,
           pg_catalog.round((pg_catalog.percentile_cont(0.5) WITHIN GROUP (ORDER BY j.ms))::pg_catalog.numeric, 3) AS p50_ms,
           pg_catalog.round((pg_catalog.percentile_cont(0.95) WITHIN GROUP (ORDER BY j.ms))::pg_catalog.numeric, 3) AS p95_ms,
           pg_catalog.round((pg_catalog.percentile_cont(0.99) WITHIN GROUP (ORDER BY j.ms))::pg_catalog.numeric, 3) AS p99_ms
    FROM (SELECT d.status,
                 pg_catalog.date_part('epoch', d.finished_at OPERATOR(pg_catalog.-) d.enqueued_at) OPERATOR(pg_catalog.*) 1000 AS ms
          FROM automate.job_history AS d
          WHERE d.kind OPERATOR(pg_catalog.=) 'rule' AND d.owner OPERATOR(pg_catalog.=) r.owner
            AND d.source OPERATOR(pg_catalog.=) ('rule:' OPERATOR(pg_catalog.||) r.name)) AS j) AS h ON true
LEFT JOIN LATERAL (
    SELECT pg_catalog.count(*) AS waiting FROM automate.job AS w
    WHERE w.kind OPERATOR(pg_catalog.=) 'rule' AND w.owner OPERATOR(pg_catalog.=) r.owner
      AND w.source OPERATOR(pg_catalog.=) ('rule:' OPERATOR(pg_catalog.||) r.name)) AS q ON true;
COMMENT ON VIEW automate.rule_stats IS
'A row a rule: what its condition said since the server started (a row that cannot match by its values is not counted), what came of its matches in the history that is kept, how many wait, and how long it took from the change to the end of its actions.';
COMMENT ON COLUMN automate.rule_stats.rule IS 'Name of the rule.';
COMMENT ON COLUMN automate.rule_stats.status IS 'draft, active, disabled or broken.';
COMMENT ON COLUMN automate.rule_stats.evaluated IS 'Changes or events for which its condition was evaluated since the server started. Of many rules on a table only those are evaluated whose values a row has.';
COMMENT ON COLUMN automate.rule_stats.matched IS 'Of these, matches in transactions that committed.';
COMMENT ON COLUMN automate.rule_stats.skipped IS 'Matches that it passed over: none of its columns changed, out of its time, behind a rule with stop, by the hit policy of its set, or caused by itself.';
COMMENT ON COLUMN automate.rule_stats.done IS 'Matches whose actions are over, in the history that is kept.';
COMMENT ON COLUMN automate.rule_stats.failed IS 'Those of them whose actions failed for good: see automate.job_history, automate.retry_job(id).';
COMMENT ON COLUMN automate.rule_stats.waiting IS 'Matches whose actions are still to be done.';
COMMENT ON COLUMN automate.rule_stats.p50_ms IS 'Half of the matches were done within so many milliseconds after the start of the changing transaction.';
COMMENT ON COLUMN automate.rule_stats.p95_ms IS '95 % of them.';
COMMENT ON COLUMN automate.rule_stats.p99_ms IS '99 % of them.';
COMMENT ON COLUMN automate.rule_stats.last_at IS 'When a transaction with a match last committed, since the server started.';
COMMENT ON COLUMN automate.rule_stats.errors IS 'Transactions in which its condition failed.';
COMMENT ON COLUMN automate.rule_stats.last_error IS 'The last such error, or why it is broken.';
COMMENT ON COLUMN automate.rule_stats.owner IS 'Owner of the rule.';
