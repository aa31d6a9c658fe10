-- Looking into rules on tables: what they would match, why, and how they stand to each other.

CREATE FUNCTION automate.backtest_rule_json(name text, where_sql text, sample integer) RETURNS json
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_backtest_rule';
COMMENT ON FUNCTION automate.backtest_rule_json(text, text, integer) IS
'What a rule would match, as one JSON object; automate.backtest_rule shows it.';

CREATE FUNCTION automate.backtest_rule(
    name      text,
    where_sql text DEFAULT NULL,
    sample    integer DEFAULT 10)
RETURNS TABLE (scanned bigint, matched bigint, sample jsonb, actions jsonb)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT b.scanned, b.matched, b.sample, b.actions
    FROM json_to_record(automate.backtest_rule_json($1, $2, $3))
        AS b(scanned bigint, matched bigint, sample jsonb, actions jsonb)
$$;
COMMENT ON FUNCTION automate.backtest_rule(text, text, integer) IS
'How many of the rows that the table holds now a rule would match; nothing is done. Each row counts as inserted, and old is a row of NULLs (for a rule on delete only, the row is old). where_sql, an expression like a condition, narrows the rows: scanned counts those that it lets pass, matched those that match. sample shows up to that many of them (0 to 1000), actions what the rule would do for the first. Everything is evaluated as the rule''s owner, read only; the caller owns the rule, or has the privileges of its owner.';
