-- Decision tables: rows of tests on inputs, and what a row means.

CREATE TABLE automate.decision_table (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    description text,
    owner       regrole NOT NULL,
    version     integer NOT NULL DEFAULT 1,
    created_by  regrole NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT decision_table_name UNIQUE (owner, name)
);
CREATE TABLE automate.decision_version (
    decision_table uuid NOT NULL REFERENCES automate.decision_table,
    version        integer NOT NULL,
    owner          regrole NOT NULL,
    hit_policy     text NOT NULL,
    inputs         jsonb NOT NULL,
    outputs        jsonb NOT NULL,
    rows           jsonb NOT NULL,
    created_by     regrole NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT pg_catalog.now(),
    PRIMARY KEY (decision_table, version),
    CONSTRAINT decision_version_hit_policy CHECK (hit_policy OPERATOR(pg_catalog.=) ANY (ARRAY[
        'unique', 'first', 'priority', 'any', 'collect', 'sum', 'min', 'max', 'count', 'rule_order', 'output_order']))
);
SELECT pg_catalog.pg_extension_config_dump('automate.decision_table', '');
SELECT pg_catalog.pg_extension_config_dump('automate.decision_version', '');
COMMENT ON TABLE automate.decision_table IS
'Decision tables: automate.create_decision_table makes one, automate.decide asks it.';
COMMENT ON COLUMN automate.decision_table.id IS 'uuid v7.';
COMMENT ON COLUMN automate.decision_table.name IS 'Unique among the decision tables of its owner.';
COMMENT ON COLUMN automate.decision_table.description IS 'For people.';
COMMENT ON COLUMN automate.decision_table.owner IS 'Role that may change it; it and roles with its privileges may ask it.';
COMMENT ON COLUMN automate.decision_table.version IS 'The version that decides now.';
COMMENT ON COLUMN automate.decision_table.created_by IS 'Session user that created it.';
COMMENT ON COLUMN automate.decision_table.created_at IS 'When it was created.';
COMMENT ON COLUMN automate.decision_table.updated_at IS 'When it was last changed.';
COMMENT ON TABLE automate.decision_version IS 'The definitions of decision tables, one a version.';
COMMENT ON COLUMN automate.decision_version.decision_table IS 'The decision table.';
COMMENT ON COLUMN automate.decision_version.version IS 'Counts from 1.';
COMMENT ON COLUMN automate.decision_version.owner IS 'Owner of the decision table.';
COMMENT ON COLUMN automate.decision_version.hit_policy IS 'What the rows that match mean together: see automate.create_decision_table.';
COMMENT ON COLUMN automate.decision_version.inputs IS 'The columns that are tested.';
COMMENT ON COLUMN automate.decision_version.outputs IS 'The columns of the answer.';
COMMENT ON COLUMN automate.decision_version.rows IS 'The rows: the cells of the inputs, then those of the outputs.';
COMMENT ON COLUMN automate.decision_version.created_by IS 'Session user that made this version.';
COMMENT ON COLUMN automate.decision_version.created_at IS 'When it was made.';

ALTER TABLE automate.decision_table ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.decision_table FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.decision_table IS 'A role sees what it owns, and what roles own whose privileges it has.';
ALTER TABLE automate.decision_version ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.decision_version FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.decision_version IS 'A role sees what it owns, and what roles own whose privileges it has.';

CREATE FUNCTION automate.create_decision_table(
    name        text,
    inputs      jsonb,
    outputs     jsonb,
    rows        jsonb,
    hit_policy  text DEFAULT 'first',
    description text DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_create_decision_table';
COMMENT ON FUNCTION automate.create_decision_table(text, jsonb, jsonb, jsonb, text, text) IS
'Makes a decision table. inputs is an array of {"name", "type", "expression", "values", "label"}: type is number (exact decimals), integer, text (the default; case matters), boolean, date or timestamp (UTC without a zone); expression is {"var": "customer.tier"} if the value is not at the name; values, a cell, says what it may be. outputs is an array of {"name", "type", "values", "default", "label"}: type may be json, too; values is an array, the most important first; default is the answer when no row matches. rows is an array of arrays (cells of the inputs, then of the outputs) or of objects by name. A cell of an input is a value, a list of values ["a", "b"], or a text: "10", ">= 5", "< 3", "!= 4", "[10..20)" (] and [ take the bound in, ( and ) leave it out), several of these with commas ("\"a\", \"b\"": texts in quotes), not(...), null (only NULL), and - or nothing or JSON null: any value, NULL too. NULL matches nothing else. hit_policy (or DMN''s letter): unique (U; two rows that match are an error), first (F), priority (P; by the values of the outputs), any (A; rows that match must agree), collect (C), rule_order (R) and output_order (O): an array, sum (C+), min (C<), max (C>): of each output, count (C#). Returns the table''s id.';

CREATE FUNCTION automate.alter_decision_table(
    name        text,
    inputs      jsonb DEFAULT NULL,
    outputs     jsonb DEFAULT NULL,
    rows        jsonb DEFAULT NULL,
    hit_policy  text DEFAULT NULL,
    description text DEFAULT NULL)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_alter_decision_table';
COMMENT ON FUNCTION automate.alter_decision_table(text, jsonb, jsonb, jsonb, text, text) IS
'Makes the next version of a decision table of what is given, and of the current version for the rest; returns its number. Every session''s next statement decides by it. A description alone makes no version.';

CREATE FUNCTION automate.drop_decision_table(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_drop_decision_table';
COMMENT ON FUNCTION automate.drop_decision_table(text) IS 'Removes a decision table with its versions.';

CREATE FUNCTION automate.decide(decision text, input jsonb, version integer DEFAULT NULL) RETURNS jsonb
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_decide';
COMMENT ON FUNCTION automate.decide(text, jsonb, integer) IS
'What a decision table says of an input, a JSON object: the outputs as an object, or, by the hit policy, an array of these, or {"count": n}. NULL: no row matches, and there is no default. An input that is not there is NULL, unless a key that no column asks for looks like a slip of it. It is STABLE, so that conditions of rules and queries can call it; the caller owns the table, or has the privileges of its owner. An error of class 21000: the rows that match do not agree with the hit policy.';

CREATE FUNCTION automate.decision_matches_json(decision text, input jsonb, version integer) RETURNS jsonb
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_decision_matches';
COMMENT ON FUNCTION automate.decision_matches_json(text, jsonb, integer) IS
'For each row of a decision table whether it matches, as a JSON array; automate.decision_matches shows it.';

CREATE FUNCTION automate.decision_matches(decision text, input jsonb, version integer DEFAULT NULL)
RETURNS TABLE (number integer, matched boolean, failed text, outputs jsonb)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT m.number, m.matched, m.failed, m.outputs
    FROM jsonb_to_recordset(automate.decision_matches_json($1, $2, $3)) AS m(number integer, matched boolean, failed text, outputs jsonb)
$$;
COMMENT ON FUNCTION automate.decision_matches(text, jsonb, integer) IS
'Why a decision table decides as it does: each row, whether it matches the input, and the first column that it does not let pass. The hit policy is not applied.';

CREATE FUNCTION automate.decision_table_csv(name text, version integer DEFAULT NULL) RETURNS text
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_decision_table_csv';
COMMENT ON FUNCTION automate.decision_table_csv(text, integer) IS
'A decision table as CSV, which automate.import_decision_table reads: the first line has the hit policy and the names of the columns, the second what each is, and each line behind these is a row, with its number.';

CREATE FUNCTION automate.import_decision_table(name text, csv text, description text DEFAULT NULL) RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_import_decision_table';
COMMENT ON FUNCTION automate.import_decision_table(text, text, text) IS
'Makes a decision table, or the next version of one, of CSV as automate.decision_table_csv writes it; returns the version. The first cell is the hit policy (or DMN''s letter for it); the numbers of rows are not looked at.';

CREATE FUNCTION automate.validate_decision_table_json(inputs jsonb, outputs jsonb, rows jsonb, hit_policy text) RETURNS jsonb
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_validate_decision_table';
COMMENT ON FUNCTION automate.validate_decision_table_json(jsonb, jsonb, jsonb, text) IS
'What is wrong with a definition, as a JSON array; automate.validate_decision_table shows it.';

CREATE FUNCTION automate.validate_decision_table(inputs jsonb, outputs jsonb, rows jsonb, hit_policy text DEFAULT 'first')
RETURNS TABLE (kind text, rows integer[], message text, example jsonb, hint text)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.kind, p.rows, p.message, p.example, p.hint
    FROM jsonb_to_recordset(automate.validate_decision_table_json($1, $2, $3, $4))
        AS p(kind text, rows integer[], message text, example jsonb, hint text)
$$;
COMMENT ON FUNCTION automate.validate_decision_table(jsonb, jsonb, jsonb, text) IS
'Everything that is wrong with a definition (kind error), or else what automate.decision_table_problems would say of it. Nothing is stored.';

CREATE FUNCTION automate.decision_table_problems_json(name text, version integer) RETURNS jsonb
LANGUAGE c STABLE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_decision_table_problems';
COMMENT ON FUNCTION automate.decision_table_problems_json(text, integer) IS
'Gaps and overlaps of a decision table, as a JSON array; automate.decision_table_problems shows it.';

CREATE FUNCTION automate.decision_table_problems(name text, version integer DEFAULT NULL)
RETURNS TABLE (kind text, rows integer[], message text, example jsonb, hint text)
LANGUAGE sql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT p.kind, p.rows, p.message, p.example, p.hint
    FROM jsonb_to_recordset(automate.decision_table_problems_json($1, $2))
        AS p(kind text, rows integer[], message text, example jsonb, hint text)
$$;
COMMENT ON FUNCTION automate.decision_table_problems(text, integer) IS
'What a decision table with one answer (unique, first, priority, any) leaves open: gap, an input without NULLs that no row matches (not if every output has a default); overlap, two rows that can match together and do not agree (or, for unique, at all); shadowed, a row behind one that takes all it would. Exact; at most 50 of a kind are shown. incomplete: the search was ended after 100 million steps.';
