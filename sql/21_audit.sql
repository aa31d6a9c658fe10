-- The audit: who changed which definition, when, and how. It outlives what it tells of.

CREATE TABLE automate.audit (
    id          uuid PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    kind        text NOT NULL,
    object      uuid NOT NULL,
    name        text NOT NULL,
    owner       regrole NOT NULL,
    action      text NOT NULL,
    by_role     text,
    by_session  text,
    application text,
    client      inet,
    old         jsonb,
    new         jsonb
);
CREATE INDEX audit_object ON automate.audit (object, id);
SELECT pg_catalog.pg_extension_config_dump('automate.audit', '');
COMMENT ON TABLE automate.audit IS
'Every change of a definition, written in the transaction that makes it and kept for automate.audit_retention, also when the thing itself is gone. For rules: automate.rule_audit; for tasks: automate.task_audit.';
COMMENT ON COLUMN automate.audit.id IS 'uuid v7: in the order in which the changes were made.';
COMMENT ON COLUMN automate.audit.at IS 'When it was changed.';
COMMENT ON COLUMN automate.audit.kind IS 'What kind of thing: the name of its table in the schema automate, such as rule.';
COMMENT ON COLUMN automate.audit.object IS 'Its id there.';
COMMENT ON COLUMN automate.audit.name IS 'Its name.';
COMMENT ON COLUMN automate.audit.owner IS 'Its owner, who sees the entry.';
COMMENT ON COLUMN automate.audit.action IS 'What was done: create, alter, draft, publish, rollback, import, enable, disable, pause, resume, drop, add test, drop test, follow (it was rewritten after a change of what it mentions) or broken (by the server).';
COMMENT ON COLUMN automate.audit.by_role IS 'Role with whose rights it was done; empty: the server did it by itself.';
COMMENT ON COLUMN automate.audit.by_session IS 'Role that had logged in.';
COMMENT ON COLUMN automate.audit.application IS 'application_name of the session.';
COMMENT ON COLUMN automate.audit.client IS 'Address of the client; empty for a local socket.';
COMMENT ON COLUMN automate.audit.old IS 'What was before: of a change only what differs; empty for what is new.';
COMMENT ON COLUMN automate.audit.new IS 'What is since then; empty for what is gone.';

ALTER TABLE automate.audit ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.audit FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.audit IS 'A role sees what it owns, and what roles own whose privileges it has.';

CREATE VIEW automate.rule_audit WITH (security_invoker = true, security_barrier = true) AS
SELECT a.at, a.name AS rule, a.action, a.by_role, a.by_session, a.application, a.client, a.old, a.new, a.owner,
       a.object AS rule_id, a.id
FROM automate.audit AS a WHERE a.kind OPERATOR(pg_catalog.=) 'rule';
COMMENT ON VIEW automate.rule_audit IS 'Every change of a rule: who, when, and what was before and is since then.';
COMMENT ON COLUMN automate.rule_audit.at IS 'When it was changed.';
COMMENT ON COLUMN automate.rule_audit.rule IS 'Name of the rule.';
COMMENT ON COLUMN automate.rule_audit.action IS 'create, alter, draft, publish, rollback, import, enable, disable, drop, add test, drop test, follow (it was rewritten after a change of what it mentions) or broken (by the server).';
COMMENT ON COLUMN automate.rule_audit.by_role IS 'Role with whose rights it was done; empty: the server did it by itself.';
COMMENT ON COLUMN automate.rule_audit.by_session IS 'Role that had logged in.';
COMMENT ON COLUMN automate.rule_audit.application IS 'application_name of the session.';
COMMENT ON COLUMN automate.rule_audit.client IS 'Address of the client; empty for a local socket.';
COMMENT ON COLUMN automate.rule_audit.old IS 'What was before: of a change only the keys that differ.';
COMMENT ON COLUMN automate.rule_audit.new IS 'What is since then.';
COMMENT ON COLUMN automate.rule_audit.owner IS 'Owner of the rule.';
COMMENT ON COLUMN automate.rule_audit.rule_id IS 'Id of the rule: tells apart rules that had the same name one after the other.';
COMMENT ON COLUMN automate.rule_audit.id IS 'uuid v7: in the order in which the changes were made.';
