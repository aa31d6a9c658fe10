-- Who may do what. Nothing is granted to PUBLIC; automate.grant_usage gives a role one of four levels.

CREATE TABLE automate.privilege (
    level  text NOT NULL,
    object text NOT NULL,
    PRIMARY KEY (level, object),
    CONSTRAINT privilege_level CHECK (level OPERATOR(pg_catalog.=) ANY (ARRAY['user', 'network', 'gateway', 'monitor', 'admin']))
);
COMMENT ON TABLE automate.privilege IS
'What each level of automate.grant_usage holds: functions by name (all their forms), tables and views (to read).';
COMMENT ON COLUMN automate.privilege.level IS 'user, network (user and channels), gateway (hands webhooks in), monitor (reads every owner''s rows) or admin (all of it).';
COMMENT ON COLUMN automate.privilege.object IS 'Name of a function, table or view in the schema automate.';
ALTER TABLE automate.privilege ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY read ON automate.privilege FOR SELECT USING (true);
COMMENT ON POLICY read ON automate.privilege IS 'What the levels hold is no secret.';

INSERT INTO automate.privilege (level, object)
SELECT 'user', o FROM pg_catalog.unnest(ARRAY[
    'version', 'is_preloaded', 'status', 'doctor', 'get_metrics', 'activity', 'activity_json', 'instance', 'privilege',
    'job', 'job_history', 'role_limit', 'enqueue_sql', 'retry_job', 'cancel_job', 'worker_trouble', 'worker_trouble_json',
    'event', 'emit_event', 'trigger', 'ruleset', 'rule', 'rule_stats', 'trigger_stats', 'counted', 'create_rule', 'alter_rule', 'drop_rule', 'enable_rule', 'disable_rule',
    'rule_test', 'add_rule_test', 'drop_rule_test', 'test_rule', 'test_rule_json', 'backtest_rule', 'backtest_rule_json', 'explain_rule', 'explain_rule_json',
    'rule_conflicts', 'rule_conflicts_json',
    'create_trigger', 'alter_trigger', 'drop_trigger', 'enable_trigger', 'disable_trigger', 'evaluate_triggers', 'evaluate_triggers_json', 'test_trigger', 'test_trigger_json',
    'audit', 'rule_audit', 'rule_version', 'publish_rule', 'rollback_rule', 'export_rules', 'export_rules_json', 'import_rules',
    'import_rules_json', 'validate_rule', 'validate_rule_json', 'backtest_progress',
    'create_ruleset', 'alter_ruleset', 'drop_ruleset', 'evaluate_rules', 'evaluate_rules_json', 'execute_rules', 'execute_rules_json',
    'decision_table', 'decision_version', 'create_decision_table', 'alter_decision_table', 'drop_decision_table', 'decide',
    'decision_matches', 'decision_matches_json', 'decision_table_csv', 'import_decision_table', 'validate_decision_table',
    'validate_decision_table_json', 'decision_table_problems', 'decision_table_problems_json',
    'task', 'task_runs', 'task_run', 'task_dependency', 'schedule_task', 'unschedule_task', 'execute_task', 'pause_task', 'resume_task', 'next_runs', 'next_runs_json',
    'alter_task', 'cancel_task_run', 'backfill_task', 'cancel_backfill', 'task_backfill', 'task_backfill_progress', 'task_audit',
    'workflow', 'workflow_version', 'run', 'run_news', 'run_item', 'run_listen', 'run_step', 'create_workflow', 'drop_workflow', 'enable_workflow',
    'disable_workflow', 'validate_workflow', 'validate_workflow_json', 'execute_workflow', 'cancel_run',
    'suspend_run', 'resume_run', 'signal_run', 'retry_run', 'retry_runs', 'wait_for_run', 'wait_for_run_json',
    'channel', 'template', 'create_template', 'drop_template', 'preview_template',
    'notification', 'attachment', 'delivery', 'notify',
    'report', 'report_version', 'report_run', 'create_report', 'drop_report', 'run_report', 'report_text', 'report_html',
    'report_csv', 'report_file']) AS o
UNION ALL
SELECT 'network', o FROM pg_catalog.unnest(ARRAY[
    'create_channel', 'alter_channel', 'drop_channel', 'enable_channel', 'disable_channel']) AS o
UNION ALL
SELECT v.level, 'trigger_table' FROM (VALUES ('user'), ('monitor')) AS v(level)
UNION ALL
SELECT v.level, o FROM (VALUES ('user', '{calendar,create_calendar,alter_calendar,drop_calendar}'), ('monitor', '{calendar}'))
    AS v(level, objects), pg_catalog.unnest(v.objects::pg_catalog.text[]) AS o
UNION ALL
SELECT v.level, o FROM (VALUES ('user'), ('monitor')) AS v(level), pg_catalog.unnest(ARRAY['task_trouble', 'task_stats', 'task_timeline']) AS o
UNION ALL
SELECT v.level, o FROM (VALUES ('user'), ('monitor')) AS v(level), pg_catalog.unnest(ARRAY['task_wait', 'task_alert']) AS o
UNION ALL
-- What people decide for runs.
SELECT v.level, o FROM (VALUES ('user', '{approval,approval_decision,approval_delegation,my_approvals,decide_approval,delegate_approval}'),
    ('monitor', '{approval,approval_decision,approval_delegation,my_approvals}'))
    AS v(level, objects), pg_catalog.unnest(v.objects::pg_catalog.text[]) AS o
UNION ALL
SELECT v.level, o FROM (VALUES
    ('user', '{workflow_stats,workflow_step_stats,workflow_step_figures,workflow_step_kind,workflow_since,workflow_advice,workflow_advice_json}'),
    ('monitor', '{workflow_stats,workflow_step_stats,workflow_step_figures,workflow_step_kind,workflow_since}'))
    AS v(level, objects), pg_catalog.unnest(v.objects::pg_catalog.text[]) AS o
UNION ALL
SELECT 'user', o FROM pg_catalog.unnest(ARRAY['workflow_problems', 'workflow_problems_json', 'workflow_complexity', 'workflow_complexity_json', 'workflow_dependencies', 'workflow_dependencies_json', 'workflow_versions', 'workflow_versions_json', 'workflow_diff', 'workflow_diff_json', 'activate_version', 'migrate_run', 'migrate_run_json', 'alter_workflow']) AS o
UNION ALL
-- Events: what comes in by webhooks, schemas, replay.
SELECT v.level, o FROM (VALUES
    ('user', '{webhook_source,webhook_grant,webhook_receipt,event_schema}'),
    ('monitor', '{webhook_source,webhook_grant,webhook_receipt,event_schema}'),
    ('user', '{create_webhook_source,alter_webhook_source,drop_webhook_source,enable_webhook_source,disable_webhook_source}'),
    ('user', '{grant_webhook_source,revoke_webhook_source,receive_webhook,set_event_schema,drop_event_schema,replay_events}'),
    ('gateway', '{receive_webhook}')) AS v(level, objects), pg_catalog.unnest(v.objects::pg_catalog.text[]) AS o
UNION ALL
-- Workflows in other forms: builders, YAML, nodes.
SELECT 'user', o FROM pg_catalog.unnest(ARRAY[
    'steps', 'sql_step', 'http_step', 'notify_step', 'report_step', 'wait_step', 'approval_step', 'listen_step', 'emit_step',
    'set_step', 'do_step', 'switch_step', 'case_when', 'case_else', 'fork_step', 'for_each_step', 'try_step', 'raise_step',
    'run_workflow_step', 'compensate', 'create_workflow_yaml', 'workflow_yaml', 'workflow_sql']) AS o
UNION ALL
SELECT v.level, o FROM (VALUES ('user'), ('monitor')) AS v(level), pg_catalog.unnest(ARRAY[
    'draw_workflow', 'workflow_text', 'workflow_mermaid', 'workflow_svg', 'workflow_html', 'run_timeline', 'run_timeline_json', 'run_timeline_svg']) AS o
UNION ALL
SELECT 'monitor', o FROM pg_catalog.unnest(ARRAY[
    'decision_table', 'decision_version',
    'see_all', 'version', 'is_preloaded', 'status', 'doctor', 'get_metrics', 'activity', 'activity_json', 'instance', 'privilege',
    'job', 'job_history', 'role_limit', 'worker_trouble', 'worker_trouble_json', 'event', 'trigger', 'ruleset', 'rule', 'rule_stats', 'trigger_stats', 'counted', 'rule_test', 'rule_conflicts', 'rule_conflicts_json', 'task', 'task_runs', 'task_run', 'task_dependency', 'workflow', 'workflow_version',
    'audit', 'rule_audit', 'rule_version', 'backtest_progress',
    'task_backfill', 'task_backfill_progress', 'task_audit',
    'run', 'run_news', 'run_item', 'run_listen', 'run_step', 'channel', 'template', 'notification', 'delivery', 'report', 'report_version', 'report_run']) AS o
UNION ALL
SELECT 'admin', o FROM pg_catalog.unnest(ARRAY['import_pg_cron', 'import_pg_cron_json']) AS o
UNION ALL
SELECT 'admin', o FROM pg_catalog.unnest(ARRAY['see_all', 'pause', 'resume', 'grant_usage', 'revoke_usage', 'limit_role']) AS o;

CREATE FUNCTION automate.grant_usage(role regrole, level text DEFAULT 'user') RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_grant_usage';
COMMENT ON FUNCTION automate.grant_usage(regrole, text) IS
'Lets a role use pg_automate. Levels: user (own automation), network (user, and may create channels that send to the outside), gateway (may hand in what came for webhook sources that were granted to it, and nothing else), monitor (reads everybody''s automation), admin (all of these, pause, resume and grant_usage).';

CREATE FUNCTION automate.revoke_usage(role regrole) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'automate_revoke_usage';
COMMENT ON FUNCTION automate.revoke_usage(regrole) IS
'Takes every level away from a role. What it has defined stays and goes on; drop or disable that, or the role.';

CREATE FUNCTION automate.apply_usage(role regrole, level text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    to_role text := role::text;
    levels text[] := CASE level WHEN 'network' THEN '{user,network}' WHEN 'admin' THEN '{user,network,gateway,monitor,admin}' ELSE ARRAY[level] END;
    object record;
BEGIN
    EXECUTE format('REVOKE ALL ON ALL FUNCTIONS IN SCHEMA automate FROM %s', to_role);
    EXECUTE format('REVOKE ALL ON ALL TABLES IN SCHEMA automate FROM %s', to_role);
    EXECUTE format('REVOKE ALL ON SCHEMA automate FROM %s', to_role);
    IF level IS NULL THEN
        RETURN;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA automate TO %s', to_role);
    FOR object IN
        SELECT p.oid::regprocedure::text AS name FROM pg_proc p
        WHERE p.pronamespace = 'automate'::regnamespace
          AND EXISTS (SELECT FROM automate.privilege v WHERE v.object = p.proname AND v.level = ANY (levels))
    LOOP
        EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', object.name, to_role);
    END LOOP;
    FOR object IN
        SELECT c.oid::regclass::text AS name FROM pg_class c
        WHERE c.relnamespace = 'automate'::regnamespace AND c.relkind IN ('r', 'p', 'v')
          AND EXISTS (SELECT FROM automate.privilege v WHERE v.object = c.relname AND v.level = ANY (levels))
    LOOP
        EXECUTE format('GRANT SELECT ON %s TO %s', object.name, to_role);
    END LOOP;
END
$$;
COMMENT ON FUNCTION automate.apply_usage(regrole, text) IS
'For grant_usage and revoke_usage: gives a role exactly what its level holds; level NULL: nothing.';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA automate FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA automate FROM PUBLIC;
REVOKE ALL ON SCHEMA automate FROM PUBLIC;
