-- Rule sets, and rules that are asked about a JSON context.

CREATE FUNCTION automate.create_ruleset(name text, hit_policy text DEFAULT 'all', description text DEFAULT NULL) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_create_ruleset';
COMMENT ON FUNCTION automate.create_ruleset(text, text, text) IS
'Makes a set for rules that are decided together: automate.create_rule(..., ruleset => name) puts one in it. hit_policy says which of those that match act: all; first, by priority and name; unique: at most one may match, and if more do, none acts and the error is noted with each (a write fails if one of them has on_error => ''fail''); collect: all, in order. Returns the set''s id.';

CREATE FUNCTION automate.alter_ruleset(name text, hit_policy text DEFAULT NULL, description text DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_alter_ruleset';
COMMENT ON FUNCTION automate.alter_ruleset(text, text, text) IS
'Changes what is given of a rule set. Every session''s next statement sees it.';

CREATE FUNCTION automate.drop_ruleset(name text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_drop_ruleset';
COMMENT ON FUNCTION automate.drop_ruleset(text) IS
'Removes a rule set. Refused while rules are in it.';

CREATE FUNCTION automate.evaluate_rules_json(context jsonb, ruleset text, all_rules boolean) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_evaluate_rules';
COMMENT ON FUNCTION automate.evaluate_rules_json(jsonb, text, boolean) IS
'Which rules match a context, as a JSON array; automate.evaluate_rules shows it.';

CREATE FUNCTION automate.evaluate_rules(
    context   jsonb,
    ruleset   text DEFAULT NULL,
    all_rules boolean DEFAULT false)
RETURNS TABLE (rule text, matched boolean, actions jsonb, error text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.rule, r.matched, r.actions, r.error
    FROM jsonb_to_recordset(automate.evaluate_rules_json($1, $2, $3)) AS r(rule text, matched boolean, actions jsonb, error text)
$$;
COMMENT ON FUNCTION automate.evaluate_rules(jsonb, text, boolean) IS
'Which rules match a JSON context, by priority and name; nothing is done. Asked are the active rules that are on no table (on events, on triggers, and those that are in a rule set only) of the caller and of roles whose privileges it has, whatever event they hear; with ruleset, those of that set. Their conditions see the context as event and are evaluated as their owners, read only. Hit policies are applied. actions are the rule''s actions with their values; error says why a rule could not be asked or does not act, and matched is then NULL or true. With all_rules, rules that do not match (or that a hit policy keeps back) are shown, too.';

CREATE FUNCTION automate.execute_rules_json(context jsonb, ruleset text) RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_execute_rules';
COMMENT ON FUNCTION automate.execute_rules_json(jsonb, text) IS
'Queues the actions of the rules that match a context, and tells them as a JSON array; automate.execute_rules shows it.';

CREATE FUNCTION automate.execute_rules(context jsonb, ruleset text DEFAULT NULL)
RETURNS TABLE (rule text, job uuid, actions jsonb, error text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT r.rule, r.job, r.actions, r.error
    FROM jsonb_to_recordset(automate.execute_rules_json($1, $2)) AS r(rule text, job uuid, actions jsonb, error text)
$$;
COMMENT ON FUNCTION automate.execute_rules(jsonb, text) IS
'Asks the rules as automate.evaluate_rules does, and queues the actions of those that match in the caller''s transaction: they are done as the rules'' owners if and when it commits. job is the id in automate.job; a row with an error has none, unless only its actions could not be shown.';
