-- Test cases of rules: rows that a rule must match, and rows that it must not.

CREATE TABLE automate.rule_test (
    rule       uuid NOT NULL REFERENCES automate.rule ON DELETE CASCADE,
    name       text NOT NULL,
    owner      regrole NOT NULL,
    new        jsonb,
    old        jsonb,
    matches    boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (rule, name),
    CONSTRAINT rule_test_rows CHECK (new IS NOT NULL OR old IS NOT NULL)
);
SELECT pg_catalog.pg_extension_config_dump('automate.rule_test', '');
COMMENT ON TABLE automate.rule_test IS
'Test cases that live with their rules: automate.add_rule_test writes them, automate.test_rule runs them.';
COMMENT ON COLUMN automate.rule_test.rule IS 'Id in automate.rule.';
COMMENT ON COLUMN automate.rule_test.name IS 'What the case is about; unique among those of its rule.';
COMMENT ON COLUMN automate.rule_test.owner IS 'Owner of the rule.';
COMMENT ON COLUMN automate.rule_test.new IS 'The new row as a JSON object; columns that are left out are NULL.';
COMMENT ON COLUMN automate.rule_test.old IS 'The old row.';
COMMENT ON COLUMN automate.rule_test.matches IS 'Whether the rule is to match.';
COMMENT ON COLUMN automate.rule_test.created_at IS 'When it was written.';

ALTER TABLE automate.rule_test ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.rule_test FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.rule_test IS 'A role sees what it owns, and what roles own whose privileges it has.';

CREATE FUNCTION automate.add_rule_test(
    rule    text,
    name    text,
    new     jsonb DEFAULT NULL,
    old     jsonb DEFAULT NULL,
    matches boolean DEFAULT true)
RETURNS void LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_add_rule_test';
COMMENT ON FUNCTION automate.add_rule_test(text, text, jsonb, jsonb, boolean) IS
'Adds a test case to a rule on a table, or replaces the one of that name: a row, such as to_jsonb(a_row), that its condition must match or (matches => false) must not.';

CREATE FUNCTION automate.drop_rule_test(rule text, name text) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_drop_rule_test';
COMMENT ON FUNCTION automate.drop_rule_test(text, text) IS 'Removes a test case of a rule.';

CREATE FUNCTION automate.test_rule_json(rule text, version integer) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_test_rule';
COMMENT ON FUNCTION automate.test_rule_json(text, integer) IS
'What came of the test cases of a rule, as a JSON array; automate.test_rule shows it.';

CREATE FUNCTION automate.test_rule(rule text, version integer DEFAULT NULL)
RETURNS TABLE (name text, passed boolean, expected text, got text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT t.name, t.passed, t.expected, t.got
    FROM jsonb_to_recordset(automate.test_rule_json($1, $2)) AS t(name text, passed boolean, expected text, got text)
    ORDER BY t.passed, t.name
$$;
COMMENT ON FUNCTION automate.test_rule(text, integer) IS
'Tries the test cases of a rule on its condition as it is now, or as it is in a version of automate.rule_version, such as a draft; the failures first; automate.explain_rule tells why. expected and got are match, no match, or the error that evaluating the condition raises. Nothing is done.';
