//! What causes what happens now: the rule whose action runs, and how many rules led to it.

use std::cell::Cell;
use uuid::Uuid;

/// Most rules in a chain, each caused by the action of the one before.
pub const MAX_DEPTH: i32 = 16;

thread_local! {
    static CAUSE: Cell<Option<(Uuid, i32)>> = const { Cell::new(None) };
}

/// The rule whose action runs now.
pub fn rule() -> Option<Uuid> {
    CAUSE.get().map(|(rule, _)| rule)
}

/// How many rules led to what runs now; 0 outside of actions.
pub fn depth() -> i32 {
    CAUSE.get().map_or(0, |(_, depth)| depth)
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
