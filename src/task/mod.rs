//! Tasks: what is done on a schedule. `define` checks and stores them, `fire` makes their jobs
//! when they are due, `run` writes them, `perform` does what a job says, `ended` what became of it,
//! `away` of what it has started. `alter`, `steer`, `cancel` and `backfill` are what people do with
//! them, `import` takes over those of pg_cron.

pub mod alter;
mod arguments;
pub mod away;
pub mod backfill;
pub mod cancel;
mod command;
pub mod define;
pub mod ended;
pub mod fire;
pub mod import;
pub mod output;
pub mod perform;
mod request;
mod routine;
mod row;
pub mod run;
pub mod steer;
pub mod toplevel;
pub mod when;

pub use perform::perform;

use crate::error::Result;
use crate::queue::Job;
use crate::spi::{Own, statement};

/// True when a run may share its commit with other jobs: it is known to be short here.
pub fn may_share(job: &Job) -> bool {
    let text = |key: &str| job.payload[key].as_str().unwrap_or_default();
    match text("type") {
        "sql" => statement::is_known_short(text("command")),
        kind => !matches!(kind, "report" | "function"),
    }
}

/// Forgets what became of instants, after so many seconds.
pub fn forget(own: &Own, retention_s: i64) -> Result<()> {
    own.run(
        "DELETE FROM automate.task_run
         WHERE recorded_at < now() - $1 * interval '1 second' AND finished_at IS NOT NULL",
        &[retention_s.into()],
    )?;
    backfill::forget(own, retention_s)
}
