-- The life of a rule: its versions, drafts that become published, and rules as documents.

CREATE TABLE automate.rule_version (
    rule         uuid NOT NULL REFERENCES automate.rule ON DELETE CASCADE,
    version      integer NOT NULL,
    owner        regrole NOT NULL,
    status       text NOT NULL,
    definition   jsonb NOT NULL,
    search_path  text NOT NULL,
    note         text,
    created_by   regrole NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT pg_catalog.now(),
    published_at timestamptz,
    PRIMARY KEY (rule, version),
    CONSTRAINT rule_version_status CHECK (
        (status OPERATOR(pg_catalog.=) 'draft' AND published_at IS NULL)
        OR (status OPERATOR(pg_catalog.=) 'published' AND published_at IS NOT NULL)
        OR status OPERATOR(pg_catalog.=) 'retired')
);
-- At most one is in force, and at most one waits to be.
CREATE UNIQUE INDEX rule_version_current ON automate.rule_version (rule, status) WHERE status OPERATOR(pg_catalog.<>) 'retired';
SELECT pg_catalog.pg_extension_config_dump('automate.rule_version', '');
COMMENT ON TABLE automate.rule_version IS
'Every version of every rule, as it was defined. Written by create_rule, alter_rule, publish_rule, rollback_rule and import_rules; a definition is never changed afterwards.';
COMMENT ON COLUMN automate.rule_version.rule IS 'Id in automate.rule.';
COMMENT ON COLUMN automate.rule_version.version IS 'Counts from 1.';
COMMENT ON COLUMN automate.rule_version.owner IS 'Owner of the rule.';
COMMENT ON COLUMN automate.rule_version.status IS 'draft (automate.publish_rule puts it in force), published (in force), or retired (another took its place).';
COMMENT ON COLUMN automate.rule_version.definition IS 'Everything that automate.create_rule takes; tables with their schema, rule sets and triggers by name.';
COMMENT ON COLUMN automate.rule_version.search_path IS 'search_path under which it was written.';
COMMENT ON COLUMN automate.rule_version.note IS 'What automate.publish_rule was told of it.';
COMMENT ON COLUMN automate.rule_version.created_by IS 'Session user that wrote it.';
COMMENT ON COLUMN automate.rule_version.created_at IS 'When it was written.';
COMMENT ON COLUMN automate.rule_version.published_at IS 'When it came into force; empty: never.';

ALTER TABLE automate.rule_version ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.rule_version FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.rule_version IS 'A role sees what it owns, and what roles own whose privileges it has.';

CREATE FUNCTION automate.publish_rule(name text, note text DEFAULT NULL) RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_publish_rule';
COMMENT ON FUNCTION automate.publish_rule(text, text) IS
'Puts the draft of a rule in force, after all of it was checked anew and the rule''s test cases were tried on it; returns its version. Refused if a case fails, and if a version came into force after the draft was written. note says why, for automate.rule_version.';

CREATE FUNCTION automate.rollback_rule(name text, version integer DEFAULT NULL) RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_rollback_rule';
COMMENT ON FUNCTION automate.rollback_rule(text, integer) IS
'Puts a version of a rule that was in force before (without version: the last one before the present) in force again, as a new version; returns that. It is checked anew and must pass the rule''s test cases. Whether the rule is enabled stays as it is, and so does a draft.';

CREATE FUNCTION automate.export_rules_json(pattern text, ruleset text) RETURNS json
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_export_rules';
COMMENT ON FUNCTION automate.export_rules_json(text, text) IS
'The caller''s rules as a document; automate.export_rules answers it.';

CREATE FUNCTION automate.export_rules(pattern text DEFAULT '%', ruleset text DEFAULT NULL) RETURNS jsonb
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$ SELECT automate.export_rules_json($1, $2)::jsonb $$;
COMMENT ON FUNCTION automate.export_rules(text, text) IS
'The caller''s own rules whose names are LIKE the pattern (and that are in the rule set, if one is given) as a document for automate.import_rules, with their test cases: the versions in force, and rules that are drafts as drafts. It is fit for version control: sorted by name, only what differs from the defaults of automate.create_rule, no ids and no times; jsonb_pretty makes lines of it. Tables have their schema; rule sets, triggers and what actions name stand by name and are not part of it. search_path is told where it is not "$user", public.';

CREATE FUNCTION automate.import_rules_json(document jsonb, dry_run boolean) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_import_rules';
COMMENT ON FUNCTION automate.import_rules_json(jsonb, boolean) IS
'Takes a document in, and answers what came of it as a JSON array; automate.import_rules shows it.';

CREATE FUNCTION automate.import_rules(document jsonb, dry_run boolean DEFAULT false)
RETURNS TABLE (rule text, outcome text, changes jsonb)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT i.rule, i.outcome, i.changes
    FROM jsonb_to_recordset(automate.import_rules_json($1, $2)) AS i(rule text, outcome text, changes jsonb)
$$;
COMMENT ON FUNCTION automate.import_rules(jsonb, boolean) IS
'Makes the caller''s rules as a document of automate.export_rules says: a row a rule, created, changed (changes has what differs, as {key: {old, new}}) or unchanged. All or nothing: if one rule or one test case of it is not as it must be, nothing is done, and the error tells the rule and the place in the document. Rules that the document does not name stay. With dry_run everything is checked and nothing is written. A document may be as large as 64 MB.';

CREATE FUNCTION automate.validate_rule_json(
    name        text,
    actions     jsonb,
    on_table    regclass,
    on_event    text,
    on_trigger  text,
    operations  text[],
    condition   text,
    conditions  jsonb,
    columns     text[],
    timing      text,
    ruleset     text,
    priority    integer,
    stop        boolean,
    valid_from  timestamptz,
    valid_until timestamptz,
    on_error    text,
    draft       boolean,
    enabled     boolean,
    description text,
    path        text)
RETURNS jsonb LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_validate_rule';
COMMENT ON FUNCTION automate.validate_rule_json(text, jsonb, regclass, text, text, text[], text, jsonb, text[], text, text, integer, boolean, timestamptz, timestamptz, text, boolean, boolean, text, text) IS
'What automate.validate_rule answers, as a JSON array.';

CREATE FUNCTION automate.validate_rule(
    name        text,
    actions     jsonb,
    on_table    regclass DEFAULT NULL,
    on_event    text DEFAULT NULL,
    on_trigger  text DEFAULT NULL,
    operations  text[] DEFAULT '{insert,update}',
    condition   text DEFAULT NULL,
    conditions  jsonb DEFAULT NULL,
    columns     text[] DEFAULT NULL,
    timing      text DEFAULT 'after',
    ruleset     text DEFAULT NULL,
    priority    integer DEFAULT 100,
    stop        boolean DEFAULT false,
    valid_from  timestamptz DEFAULT NULL,
    valid_until timestamptz DEFAULT NULL,
    on_error    text DEFAULT 'skip',
    draft       boolean DEFAULT false,
    enabled     boolean DEFAULT true,
    description text DEFAULT NULL,
    path        text DEFAULT pg_catalog.current_setting('search_path'))
RETURNS TABLE (severity text, pointer text, "position" integer, code text, message text, hint text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT f.severity, f.pointer, f."position", f.code, f.message, f.hint
    FROM jsonb_to_recordset(automate.validate_rule_json(
             $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20))
         AS f(severity text, pointer text, "position" integer, code text, message text, hint text)
$$;
COMMENT ON FUNCTION automate.validate_rule(text, jsonb, regclass, text, text, text[], text, jsonb, text[], text, text, integer, boolean, timestamptz, timestamptz, text, boolean, boolean, text, text) IS
'Everything that is wrong with a rule, for the arguments of automate.create_rule (name may be NULL), a row a finding. No row of severity error: create_rule would take it; warning: it would, but it is perhaps not what was meant. pointer is a JSON Pointer that begins with the argument, such as /actions/0/sql; position counts the characters of the SQL there, from 1. path is the search_path under which it is looked at: the caller''s. Nothing is made.';
