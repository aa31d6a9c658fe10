-- Rules: conditions on data changes and events, and the actions that follow.

CREATE TABLE automate.rule (
    id            uuid PRIMARY KEY,
    name          text NOT NULL,
    description   text,
    owner         regrole NOT NULL,
    status        text NOT NULL,
    on_table      regclass,
    on_event      text,
    on_trigger    uuid REFERENCES automate.trigger,
    event_like    text GENERATED ALWAYS AS (CASE WHEN pg_catalog.strpos(on_event, '*') OPERATOR(pg_catalog.>) 0 THEN
        pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(pg_catalog.replace(
            on_event, '\', '\\'), '%', '\%'), '_', '\_'), '*', '%') END) STORED,
    operations    text[],
    condition     text,
    conditions    jsonb,
    condition_sql text,
    actions       jsonb NOT NULL,
    columns       text[],
    reads         text[] NOT NULL DEFAULT '{new,old}',
    timing        text NOT NULL DEFAULT 'after',
    ruleset       uuid REFERENCES automate.ruleset,
    priority      integer NOT NULL,
    stop          boolean NOT NULL DEFAULT false,
    on_error      text NOT NULL DEFAULT 'skip',
    valid_from    timestamptz,
    valid_until   timestamptz,
    search_path   text NOT NULL,
    version       integer NOT NULL DEFAULT 1,
    errors        bigint NOT NULL DEFAULT 0,
    last_error    text,
    last_error_at timestamptz,
    created_by    regrole NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
    updated_at    timestamptz NOT NULL DEFAULT pg_catalog.now(),
    CONSTRAINT rule_name UNIQUE (owner, name),
    CONSTRAINT rule_status CHECK (
        status OPERATOR(pg_catalog.=) ANY (ARRAY['draft', 'active', 'disabled'])
        OR (status OPERATOR(pg_catalog.=) 'broken' AND last_error IS NOT NULL)),
    CONSTRAINT rule_on CHECK (pg_catalog.num_nonnulls(on_table, on_event, on_trigger) OPERATOR(pg_catalog.<=) 1
        AND pg_catalog.num_nonnulls(on_table, on_event, on_trigger, ruleset) OPERATOR(pg_catalog.>) 0
        AND (on_table IS NULL) OPERATOR(pg_catalog.=) (operations IS NULL)),
    CONSTRAINT rule_timing CHECK (timing OPERATOR(pg_catalog.=) 'after'
        OR (timing OPERATOR(pg_catalog.=) 'before' AND on_table IS NOT NULL)),
    CONSTRAINT rule_columns CHECK (columns IS NULL OR 'update' OPERATOR(pg_catalog.=) ANY (operations)),
    CONSTRAINT rule_on_error CHECK (on_error OPERATOR(pg_catalog.=) ANY (ARRAY['skip', 'fail'])),
    CONSTRAINT rule_table_only CHECK (on_table IS NOT NULL OR (NOT stop AND on_error OPERATOR(pg_catalog.=) 'skip')),
    CONSTRAINT rule_valid CHECK (valid_from OPERATOR(pg_catalog.<) valid_until),
    CONSTRAINT rule_condition CHECK (condition IS NULL OR conditions IS NULL)
) WITH (fillfactor = 70);
CREATE INDEX rule_on_table ON automate.rule (on_table, timing) WHERE on_table IS NOT NULL;
CREATE INDEX rule_event_like ON automate.rule (priority) WHERE event_like IS NOT NULL;
CREATE INDEX rule_on_event ON automate.rule (on_event) WHERE on_event IS NOT NULL;
CREATE INDEX rule_on_trigger ON automate.rule (on_trigger) WHERE on_trigger IS NOT NULL;
CREATE INDEX rule_ruleset ON automate.rule (ruleset) WHERE ruleset IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('automate.rule', '');
COMMENT ON TABLE automate.rule IS
'Rules, written by automate.create_rule and its siblings. How often a rule acted is in automate.job_history, source rule:<name>.';
COMMENT ON COLUMN automate.rule.id IS 'uuid v7.';
COMMENT ON COLUMN automate.rule.name IS 'Unique among the rules of its owner.';
COMMENT ON COLUMN automate.rule.description IS 'For people.';
COMMENT ON COLUMN automate.rule.owner IS 'Role with whose rights the condition is evaluated and the actions are done, whoever writes to the table.';
COMMENT ON COLUMN automate.rule.status IS 'draft (not published yet), active, disabled, or broken (last_error says why; automate.enable_rule checks it anew).';
COMMENT ON COLUMN automate.rule.on_table IS 'Table whose changes it sees; for a partitioned table also those of its partitions.';
COMMENT ON COLUMN automate.rule.on_event IS 'Name of the event it hears, or a pattern of names: * stands for any characters, as in order.*.';
COMMENT ON COLUMN automate.rule.on_trigger IS 'Id in automate.trigger of the trigger that it is subscribed to.';
COMMENT ON COLUMN automate.rule.timing IS 'before: its actions change or refuse the row before it is written; after: they follow the write.';
COMMENT ON COLUMN automate.rule.ruleset IS 'Id in automate.ruleset of the set that it is in.';
COMMENT ON COLUMN automate.rule.event_like IS 'The pattern for LIKE, if on_event is one.';
COMMENT ON COLUMN automate.rule.operations IS 'insert, update, delete: the changes it sees. An update that leaves the row as it was is none.';
COMMENT ON COLUMN automate.rule.condition IS 'SQL over new and old, or over event; empty: always.';
COMMENT ON COLUMN automate.rule.conditions IS 'The condition as JsonLogic.';
COMMENT ON COLUMN automate.rule.condition_sql IS 'The SQL that conditions means.';
COMMENT ON COLUMN automate.rule.actions IS 'What to do on a match, in order: before the write, in its transaction, or after the commit.';
COMMENT ON COLUMN automate.rule.columns IS 'An update counts only if one of these columns really changed; empty: any change.';
COMMENT ON COLUMN automate.rule.reads IS 'What its actions read of the row after the commit, as far as their text shows: new.id for a column, new for the whole row. A match of a change of a table keeps no more than that.';
COMMENT ON COLUMN automate.rule.priority IS 'Smaller acts first; 100 is usual.';
COMMENT ON COLUMN automate.rule.stop IS 'True: rules behind it (larger priority, then by name) do not see a change that it matches.';
COMMENT ON COLUMN automate.rule.on_error IS 'What an error in the condition means: skip (noted here, the write goes on) or fail (the write fails).';
COMMENT ON COLUMN automate.rule.valid_from IS 'It sees nothing before this instant.';
COMMENT ON COLUMN automate.rule.valid_until IS 'It sees nothing from this instant on.';
COMMENT ON COLUMN automate.rule.search_path IS 'search_path under which it was written: for its condition and its SQL actions.';
COMMENT ON COLUMN automate.rule.version IS 'The version in force, or the draft of a rule that is one: see automate.rule_version.';
COMMENT ON COLUMN automate.rule.errors IS 'Transactions in which its condition failed; the writers were not disturbed.';
COMMENT ON COLUMN automate.rule.last_error IS 'The last such error, or why it is broken.';
COMMENT ON COLUMN automate.rule.last_error_at IS 'When that was noted.';
COMMENT ON COLUMN automate.rule.created_by IS 'Session user that created it.';
COMMENT ON COLUMN automate.rule.created_at IS 'When it was created.';
COMMENT ON COLUMN automate.rule.updated_at IS 'When it was last changed.';

ALTER TABLE automate.rule ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON automate.rule FOR SELECT USING (
    pg_catalog.pg_has_role(owner, 'USAGE')
    OR (SELECT pg_catalog.has_function_privilege('automate.see_all()', 'EXECUTE')));
COMMENT ON POLICY own ON automate.rule IS 'A role sees what it owns, and what roles own whose privileges it has.';

CREATE FUNCTION automate.create_rule(
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
    description text DEFAULT NULL)
RETURNS uuid LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_create_rule';
COMMENT ON FUNCTION automate.create_rule(text, jsonb, regclass, text, text, text[], text, jsonb, text[], text, text, integer, boolean, timestamptz, timestamptz, text, boolean, boolean, text) IS
'Makes a rule on a table''s changes, on an event, on a trigger, or, with a ruleset only, one that is asked by automate.evaluate_rules and automate.execute_rules. condition is SQL over new and old (or over event: the keys of the payload, and payload, name, id, at, user, source, depth); conditions is the same as JsonLogic. actions is an array of {"sql": ..., "params": [...]}, {"workflow": name, "input": {...}}, {"notify": template, "recipients": [...], "data": {...}}, {"http": {"url": ..., "method": ..., "headers": {...}, "query": {...}, "body": ..., "timeout_ms": ...}}, {"emit": name, "payload": {...}}, {"report": name, "params": {...}}, {"task": name}; a string that is wholly ${ ... } is jq over {event, new, old, rule}. They are done after the commit, as the rule''s owner, in order and in one transaction: if one fails, none of them is done, and all are tried again, three times in all. {"sql": ..., "timing": "transaction"} runs in the writer''s transaction instead. A rule with timing => ''before'' has the actions {"set": {"column": "SQL over new and old"}} and {"reject": message, "sqlstate": ..., "detail": ..., "hint": ...}: they change or refuse the row before it is written, after the table''s own BEFORE triggers. With columns, an update counts only if one of them really changed; with stop, rules behind this one (larger priority) do not see what it matches; on_error => ''fail'' lets an error in the condition fail the write, where it is otherwise noted and passed over. A row larger than automate.max_payload_bytes comes as its primary key only, with event.truncated = true.';

CREATE FUNCTION automate.alter_rule(
    name        text,
    actions     jsonb DEFAULT NULL,
    operations  text[] DEFAULT NULL,
    condition   text DEFAULT NULL,
    conditions  jsonb DEFAULT NULL,
    columns     text[] DEFAULT NULL,
    priority    integer DEFAULT NULL,
    stop        boolean DEFAULT NULL,
    valid_from  timestamptz DEFAULT NULL,
    valid_until timestamptz DEFAULT NULL,
    on_error    text DEFAULT NULL,
    description text DEFAULT NULL,
    timing      text DEFAULT NULL,
    ruleset     text DEFAULT NULL,
    draft       boolean DEFAULT false)
RETURNS integer LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_alter_rule';
COMMENT ON FUNCTION automate.alter_rule(text, jsonb, text[], text, jsonb, text[], integer, boolean, timestamptz, timestamptz, text, text, text, text, boolean) IS
'Changes what is given of a rule and leaves the rest; returns the version that this makes: see automate.rule_version. All of it is checked anew, with the rights of its owner and under the caller''s search_path, and must pass the rule''s test cases; a broken rule that is good now works again. Every session''s next statement sees it. With draft, the version is a draft beside the one in force until automate.publish_rule; it goes on from the draft there is. A rule that is a draft as a whole stays one. condition and conditions replace each other; to take a condition away, give condition => ''true''; ruleset => '''' takes it out of its set. What a rule listens to (on_table, on_event, on_trigger) and its name cannot be changed: its test cases, and what it has matched, are about that. Make another rule.';

CREATE FUNCTION automate.drop_rule(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_drop_rule';
COMMENT ON FUNCTION automate.drop_rule(text) IS
'Removes a rule. Matches that are already in the queue are dropped when their turn comes.';

CREATE FUNCTION automate.enable_rule(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_enable_rule';
COMMENT ON FUNCTION automate.enable_rule(text) IS
'Puts a disabled or broken rule back to work, after its condition has been checked again. A draft waits for automate.publish_rule.';

CREATE FUNCTION automate.disable_rule(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_disable_rule';
COMMENT ON FUNCTION automate.disable_rule(text) IS
'Lets a rule rest until automate.enable_rule. What it matched before is still done.';
