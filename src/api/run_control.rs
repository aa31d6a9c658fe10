//! The SQL calls that steer runs.

use super::args::Answer;
use crate::workflow::control;
use crate::{access, sql_function};
use serde_json::json;

/// How long a run is waited for by default, in milliseconds.
const WAIT_MS: i32 = 60_000;

sql_function!(automate_cancel_run, pg_finfo_automate_cancel_run, |args| {
    let event = json!({ "kind": "cancelled", "compensate": args.bool(1, false) });
    control::tell(args.uuid(0, "run")?, access::require_owner()?, &event).map(Answer::Bool)
});

sql_function!(automate_suspend_run, pg_finfo_automate_suspend_run, |args| {
    let event = json!({ "kind": "suspended" });
    control::tell(args.uuid(0, "run")?, access::require_owner()?, &event).map(Answer::Bool)
});

sql_function!(automate_resume_run, pg_finfo_automate_resume_run, |args| {
    let event = json!({ "kind": "resumed" });
    control::tell(args.uuid(0, "run")?, access::require_owner()?, &event).map(Answer::Bool)
});

sql_function!(automate_signal_run, pg_finfo_automate_signal_run, |args| {
    let payload = args.opt_json(2, "payload")?.unwrap_or_else(|| json!({}));
    let (run, user) = (args.uuid(0, "run")?, access::require_owner()?);
    control::signal(run, user, &args.text(1, "name")?, &payload).map(Answer::Uuid)
});

sql_function!(automate_retry_run, pg_finfo_automate_retry_run, |args| {
    let (run, user) = (args.uuid(0, "run")?, access::require_owner()?);
    let (from, patch) = (args.opt_text(1), args.opt_json(2, "patch")?);
    control::retry(run, user, from.as_deref(), patch.as_ref()).map(|()| Answer::Void)
});

sql_function!(automate_retry_runs, pg_finfo_automate_retry_runs, |args| {
    let user = access::require_owner()?;
    let error_type = args.opt_text(1);
    control::retry_all(user, &args.text(0, "workflow")?, error_type.as_deref()).map(Answer::BigInt)
});

sql_function!(automate_wait_for_run, pg_finfo_automate_wait_for_run, |args| {
    let timeout_ms = args.interval_ms(1, "timeout")?.unwrap_or(WAIT_MS);
    control::wait(args.uuid(0, "run")?, access::require_owner()?, timeout_ms).map(Answer::Json)
});
