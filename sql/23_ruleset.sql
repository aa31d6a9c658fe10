-- Rule sets: rules that are decided together, by a hit policy.

CREATE TABLE automate.ruleset (
    id          uuid PRIMARY KEY,
    name        text NOT NULL,
    description text,
    owner       regrole NOT NULL,
    hit_policy  text NOT NULL,
    created_by  regrole NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at  timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT ruleset_name UNIQUE (owner, name),
    CONSTRAINT ruleset_hit_policy CHECK (hit_policy OPERATOR(pg_catalog.=) ANY (ARRAY['all', 'first', 'unique', 'collect']))
);
SELECT pg_catalog.pg_extension_config_dump('automate.ruleset', '');
COMMENT ON TABLE automate.ruleset IS 'Rule sets: automate.create_rule(..., ruleset => name) puts a rule in one.';
COMMENT ON COLUMN automate.ruleset.id IS 'uuid v7.';
COMMENT ON COLUMN automate.ruleset.name IS 'Unique among the rule sets of its owner.';
COMMENT ON COLUMN automate.ruleset.description IS 'For people.';
COMMENT ON COLUMN automate.ruleset.owner IS 'Role whose rules it joins.';
COMMENT ON COLUMN automate.ruleset.hit_policy IS 'Which of the rules that match act: all, the first (by priority and name), unique (more than one is an error) or collect.';
COMMENT ON COLUMN automate.ruleset.created_by IS 'Session user that created it.';
COMMENT ON COLUMN automate.ruleset.created_at IS 'When it was created.';
COMMENT ON COLUMN automate.ruleset.updated_at IS 'When it was last changed.';

ALTER TABLE automate.ruleset ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.ruleset FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.ruleset IS 'A role sees what it owns, and what roles own whose privileges it has.';
