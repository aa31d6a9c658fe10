//! What CREATE EXTENSION makes: the files of sql/, each after the one that it builds upon.

use pgrx::prelude::*;

extension_sql_file!("../sql/00_schema.sql", name = "schema", bootstrap);
extension_sql_file!("../sql/10_queue.sql", name = "queue", requires = ["schema"]);
extension_sql_file!("../sql/15_limit.sql", name = "limit", requires = ["queue"]);
extension_sql_file!("../sql/20_event.sql", name = "event", requires = ["limit"]);
extension_sql_file!("../sql/21_audit.sql", name = "audit", requires = ["event"]);
extension_sql_file!("../sql/21_event_calls.sql", name = "event_calls", requires = ["audit"]);
extension_sql_file!("../sql/22_trigger.sql", name = "trigger", requires = ["event_calls"]);
extension_sql_file!("../sql/23_ruleset.sql", name = "ruleset", requires = ["trigger"]);
extension_sql_file!("../sql/24_trigger_calls.sql", name = "trigger_calls", requires = ["ruleset"]);
extension_sql_file!(
    "../sql/24_trigger_table.sql",
    name = "trigger_table",
    requires = ["trigger_calls"]
);
extension_sql_file!("../sql/25_rule.sql", name = "rule", requires = ["trigger_table"]);
extension_sql_file!("../sql/26_capture.sql", name = "capture", requires = ["rule"]);
extension_sql_file!("../sql/26_rule_version.sql", name = "versions", requires = ["capture"]);
extension_sql_file!("../sql/27_rule_insight.sql", name = "insight", requires = ["versions"]);
extension_sql_file!("../sql/28_rule_stats.sql", name = "rule_stats", requires = ["insight"]);
extension_sql_file!(
    "../sql/28_trigger_stats.sql",
    name = "trigger_stats",
    requires = ["rule_stats"]
);
extension_sql_file!("../sql/29_rule_test.sql", name = "rule_test", requires = ["trigger_stats"]);
extension_sql_file!("../sql/29_evaluate.sql", name = "evaluate", requires = ["rule_test"]);
extension_sql_file!("../sql/29_decision.sql", name = "decision", requires = ["evaluate"]);
extension_sql_file!("../sql/29_calendar.sql", name = "calendar", requires = ["decision"]);
extension_sql_file!("../sql/30_task.sql", name = "task", requires = ["calendar"]);
extension_sql_file!("../sql/31_calendar_use.sql", name = "calendar_use", requires = ["task"]);
extension_sql_file!(
    "../sql/31_task_upstream.sql",
    name = "task_upstream",
    requires = ["calendar_use"]
);
extension_sql_file!(
    "../sql/32_task_control.sql",
    name = "task_control",
    requires = ["task_upstream"]
);
extension_sql_file!("../sql/32_task_alert.sql", name = "task_alert", requires = ["task_control"]);
extension_sql_file!("../sql/40_workflow.sql", name = "workflow", requires = ["task_alert"]);
extension_sql_file!(
    "../sql/41_workflow_steps.sql",
    name = "workflow_steps",
    requires = ["workflow"]
);
extension_sql_file!(
    "../sql/41_workflow_draw.sql",
    name = "workflow_draw",
    requires = ["workflow_steps"]
);
extension_sql_file!(
    "../sql/42_workflow_import.sql",
    name = "workflow_import",
    requires = ["workflow_draw"]
);
extension_sql_file!(
    "../sql/43_workflow_version.sql",
    name = "workflow_versions",
    requires = ["workflow_import"]
);
extension_sql_file!(
    "../sql/45_workflow_listen.sql",
    name = "listen",
    requires = ["workflow_versions"]
);
extension_sql_file!("../sql/46_workflow_people.sql", name = "people", requires = ["listen"]);
extension_sql_file!("../sql/47_run_control.sql", name = "run_control", requires = ["people"]);
extension_sql_file!("../sql/50_notify.sql", name = "notify", requires = ["run_control"]);
extension_sql_file!("../sql/60_report.sql", name = "report", requires = ["notify"]);
extension_sql_file!("../sql/79_task_trouble.sql", name = "task_trouble", requires = ["report"]);
extension_sql_file!("../sql/80_operate.sql", name = "operate", requires = ["task_trouble"]);
extension_sql_file!("../sql/82_task_runs.sql", name = "task_runs", requires = ["operate"]);
extension_sql_file!("../sql/83_task_stats.sql", name = "task_stats", requires = ["task_runs"]);
extension_sql_file!(
    "../sql/84_workflow_stats.sql",
    name = "workflow_stats",
    requires = ["task_stats"]
);
extension_sql_file!("../sql/85_doctor.sql", name = "doctor", requires = ["workflow_stats"]);
extension_sql_file!("../sql/90_grants.sql", name = "grants", requires = ["doctor"]);
extension_sql_file!("../sql/92_follow.sql", name = "follow", requires = ["grants"]);
extension_sql_file!("../sql/95_preload.sql", name = "preload", requires = ["follow"], finalize);
