-- How rules do: what they matched, what came of it, and how fast.

CREATE VIEW automate.rule_stats WITH (security_invoker = true, security_barrier = true) AS
SELECT r.name AS rule, r.status, coalesce(h.matched, 0) AS matched, coalesce(h.failed, 0) AS failed,
       coalesce(q.waiting, 0) AS waiting, h.p50_ms, h.p95_ms, h.p99_ms, h.last_at,
       r.errors, r.last_error, r.owner
FROM automate.rule AS r
LEFT JOIN LATERAL (
    SELECT pg_catalog.count(*) AS matched, pg_catalog.count(*) FILTER (WHERE j.status OPERATOR(pg_catalog.<>) 'succeeded') AS failed,
           pg_catalog.round((pg_catalog.percentile_cont(0.5) WITHIN GROUP (ORDER BY j.ms))::pg_catalog.numeric, 3) AS p50_ms,
           pg_catalog.round((pg_catalog.percentile_cont(0.95) WITHIN GROUP (ORDER BY j.ms))::pg_catalog.numeric, 3) AS p95_ms,
           pg_catalog.round((pg_catalog.percentile_cont(0.99) WITHIN GROUP (ORDER BY j.ms))::pg_catalog.numeric, 3) AS p99_ms,
           pg_catalog.max(j.finished_at) AS last_at
    FROM (SELECT d.status, d.finished_at,
                 pg_catalog.date_part('epoch', d.finished_at OPERATOR(pg_catalog.-) d.enqueued_at) OPERATOR(pg_catalog.*) 1000 AS ms
          FROM automate.job_history AS d
          WHERE d.kind OPERATOR(pg_catalog.=) 'rule' AND d.owner OPERATOR(pg_catalog.=) r.owner
            AND d.source OPERATOR(pg_catalog.=) ('rule:' OPERATOR(pg_catalog.||) r.name)) AS j) AS h ON true
LEFT JOIN LATERAL (
    SELECT pg_catalog.count(*) AS waiting FROM automate.job AS w
    WHERE w.kind OPERATOR(pg_catalog.=) 'rule' AND w.owner OPERATOR(pg_catalog.=) r.owner
      AND w.source OPERATOR(pg_catalog.=) ('rule:' OPERATOR(pg_catalog.||) r.name)) AS q ON true;
COMMENT ON VIEW automate.rule_stats IS
'A row a rule: its matches in the history that is kept, how many of them failed for good, how many wait, and how long it took from the change to the end of its actions.';
COMMENT ON COLUMN automate.rule_stats.rule IS 'Name of the rule.';
COMMENT ON COLUMN automate.rule_stats.status IS 'active, disabled or broken.';
COMMENT ON COLUMN automate.rule_stats.matched IS 'Matches whose actions are over.';
COMMENT ON COLUMN automate.rule_stats.failed IS 'Those of them whose actions failed for good: see automate.job_history, automate.retry_job(id).';
COMMENT ON COLUMN automate.rule_stats.waiting IS 'Matches whose actions are still to be done.';
COMMENT ON COLUMN automate.rule_stats.p50_ms IS 'Half of the matches were done within so many milliseconds after the start of the changing transaction.';
COMMENT ON COLUMN automate.rule_stats.p95_ms IS '95 % of them.';
COMMENT ON COLUMN automate.rule_stats.p99_ms IS '99 % of them.';
COMMENT ON COLUMN automate.rule_stats.last_at IS 'When the actions of the last match ended.';
COMMENT ON COLUMN automate.rule_stats.errors IS 'Transactions in which its condition failed.';
COMMENT ON COLUMN automate.rule_stats.last_error IS 'The last such error, or why it is broken.';
COMMENT ON COLUMN automate.rule_stats.owner IS 'Owner of the rule.';
