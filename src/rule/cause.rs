//! What causes what happens now: the rule whose action runs, or the trigger for which a task runs,
//! and how many of them led to it.

use serde_json::{Value, json};
use std::cell::Cell;
use uuid::Uuid;

/// Most rules in a chain, each caused by the action of the one before.
pub const MAX_DEPTH: i32 = 16;

thread_local! {
    static CAUSE: Cell<Option<(Uuid, i32)>> = const { Cell::new(None) };
}

/// The rule whose action runs now, or the trigger for which a task runs.
pub fn rule() -> Option<Uuid> {
    CAUSE.get().map(|(rule, _)| rule)
}

/// How many rules led to what runs now; 0 outside of actions.
pub fn depth() -> i32 {
    CAUSE.get().map_or(0, |(_, depth)| depth)
}

/// A cause as it stands in a job's payload.
pub fn to_json(by: Uuid, depth: i32) -> Value {
    json!({"by": by, "depth": depth})
}

/// Does a job under the cause that its payload names, if there is one.
pub fn of_job<R>(payload: &Value, work: impl FnOnce() -> R) -> R {
    let cause = &payload["cause"];
    let by = cause["by"].as_str().and_then(|id| Uuid::parse_str(id).ok());
    match (by, cause["depth"].as_i64().and_then(|depth| i32::try_from(depth).ok())) {
        (Some(by), Some(depth)) => within(by, depth, work),
        _ => work(),
    }
}

/// Puts back what was, also while an error unwinds.
struct Before(Option<(Uuid, i32)>);

impl Drop for Before {
    fn drop(&mut self) {
        CAUSE.set(self.0);
    }
}

/// Runs an action of a rule.
pub fn within<R>(rule: Uuid, depth: i32, action: impl FnOnce() -> R) -> R {
    let _before = Before(CAUSE.replace(Some((rule, depth))));
    action()
}
