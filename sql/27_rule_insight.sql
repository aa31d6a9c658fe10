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

CREATE VIEW automate.backtest_progress WITH (security_barrier = true) AS
SELECT a.pid, pg_catalog.substring(a.query, '^backtest_rule "(.*)": [0-9]+ %$') AS rule,
       pg_catalog.substring(a.query, '([0-9]+) %$')::pg_catalog.numeric OPERATOR(pg_catalog./) 100 AS fraction,
       a.usename AS by_role, a.query_start AS started_at
FROM pg_catalog.pg_stat_activity AS a
WHERE a.state OPERATOR(pg_catalog.=) 'active'
  AND a.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
  AND a.query OPERATOR(pg_catalog.~) '^backtest_rule ".*": [0-9]+ %$';
COMMENT ON VIEW automate.backtest_progress IS
'Backtests of large tables that run now, as far as pg_stat_activity shows the caller their sessions: its own role''s, all of them to a member of pg_read_all_stats. Small tables, partitioned ones, and backtests with where_sql are not here.';
COMMENT ON COLUMN automate.backtest_progress.pid IS 'Process of the session: pg_cancel_backend(pid) ends it.';
COMMENT ON COLUMN automate.backtest_progress.rule IS 'Name of the rule.';
COMMENT ON COLUMN automate.backtest_progress.fraction IS 'How much of the table has been looked at: 0 to 1.';
COMMENT ON COLUMN automate.backtest_progress.by_role IS 'Who had logged in.';
COMMENT ON COLUMN automate.backtest_progress.started_at IS 'When the statement began.';

CREATE FUNCTION automate.explain_rule_json(name text, new jsonb, old jsonb) RETURNS json
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_explain_rule';
COMMENT ON FUNCTION automate.explain_rule_json(text, jsonb, jsonb) IS
'The parts of a rule''s condition on a change, as a JSON array; automate.explain_rule shows it.';

CREATE FUNCTION automate.explain_rule(
    name text,
    new  jsonb DEFAULT NULL,
    old  jsonb DEFAULT NULL)
RETURNS TABLE (depth integer, expression text, value text, operands jsonb, decided boolean)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.depth, p.expression, p.value, p.operands, p.decided
    FROM json_array_elements(automate.explain_rule_json($1, $2, $3)) WITH ORDINALITY AS e(part, number),
         json_to_record(e.part) AS p(depth integer, expression text, value text, operands jsonb, decided boolean)
    ORDER BY e.number
$$;
COMMENT ON FUNCTION automate.explain_rule(text, jsonb, jsonb) IS
'Why a change would match a rule on a table or not: a row for each part of its condition, in reading order, those inside of AND, OR and NOT indented below it. new and old are the rows as JSON objects, such as to_jsonb(a_row); columns that are left out are NULL. value is true, false, null, or the error that evaluating the part alone raises; operands are the values it looks at; decided marks the way from the outcome down to the parts that decided it. The rule matches if the first row''s value is true. Everything is evaluated as the rule''s owner, read only; the caller owns the rule, or has the privileges of its owner.';

CREATE FUNCTION automate.rule_conflicts_json(on_table regclass) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_rule_conflicts';
COMMENT ON FUNCTION automate.rule_conflicts_json(regclass) IS
'How the rules of a table stand to each other, as a JSON array; automate.rule_conflicts shows it.';

CREATE FUNCTION automate.rule_conflicts(on_table regclass)
RETURNS TABLE (rule text, other text, relation text, note text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT c.rule, c.other, c.relation, c.note
    FROM jsonb_to_recordset(automate.rule_conflicts_json($1)) AS c(rule text, other text, relation text, note text)
$$;
COMMENT ON FUNCTION automate.rule_conflicts(regclass) IS
'How the active rules of a table stand to each other, as far as PostgreSQL can prove it from their conditions, with their operations, columns and times, and without their stop: equivalent (both match the same changes), shadowed (whenever rule matches, other matches, too), exclusive (no change matches both), or, for rules of the same priority of which nothing was proved, may overlap. Left out are pairs that see no operation in common, rules that the caller may not see, and rules that cannot work as things are. A proof does not look at rows on which a condition fails.';
