//! What the coordinator does now and then: partitions of the history, retention, old priorities,
//! jobs of dropped roles, rules whose table is gone.

use crate::error::Result;
use crate::spi::Own;
use crate::{guc, pg, queue};

/// Between two rounds, in microseconds.
pub const INTERVAL_US: i64 = 10 * 60 * 1_000_000;

/// One round; each step in a transaction of its own.
pub const ROUND: &[fn(&Own) -> Result<()>] = &[
    keep_history,
    age,
    queue::lease::end_ownerless,
    queue::limit::forget_dropped,
    crate::event::forget_old,
    crate::event::receive::forget_old,
    crate::audit::forget_old,
    |own| crate::notify::forget_old(own, guc::history_retention_s()),
    |own| crate::report::forget(own, guc::history_retention_s()),
    crate::task::away::catch_up,
    |own| crate::task::forget(own, guc::history_retention_s()),
    |own| crate::workflow::forget_old(own, guc::history_retention_s()),
    crate::rule::steer::disown_dropped_tables,
    crate::rule::tally::forget_dropped,
    crate::trigger::watch::forget_dropped,
];

fn keep_history(own: &Own) -> Result<()> {
    // A reader of the history must not make everybody who writes it queue up behind us.
    pg::set_local(c"lock_timeout", c"300ms");
    own.run("SELECT automate.keep_history($1)", &[guc::history_retention_s().into()])?;
    Ok(())
}

/// What has waited for long goes first at last. A job that runs now is locked: it is passed over.
fn age(own: &Own) -> Result<()> {
    own.run(
        "UPDATE automate.job SET priority = priority - 10
         WHERE id IN (SELECT id FROM automate.job
                      WHERE status = 'ready' AND priority > 0 AND run_at < now() - interval '10 minutes'
                      FOR UPDATE SKIP LOCKED)",
        &[],
    )?;
    Ok(())
}
