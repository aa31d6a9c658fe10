//! Tasks: what is done on a schedule. `define` checks and stores them, `fire` makes their jobs
//! when they are due, `run` writes them, `perform` does what a job says, `ended` what became of it,
//! `away` of what it has started. `news` passes that on: to the runs of other tasks that wait for it
//! (`upstream`, `release`), and to people (`alert`, `tell`). `alter`, `steer`, `cancel` and `backfill`
//! are what people do with them, `import` takes over those of pg_cron.

pub mod alert;
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
pub mod news;
pub mod output;
pub mod perform;
mod release;
mod request;
mod routine;
mod row;
pub mod run;
pub mod steer;
pub mod tell;
pub mod toplevel;
pub mod upstream;
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

/// For the coordinator: reads the news of tasks, and lets those runs go that need wait no longer;
/// true when there may be more to do at once.
pub fn pass_on(own: &Own) -> Result<bool> {
    let more = news::read(own)?;
    Ok(release::release(own)? || more)
}

/// Forgets what became of instants, after so many seconds; but the last run of a task on which
/// others depend is kept, since they go by it.
pub fn forget(own: &Own, retention_s: i64) -> Result<()> {
    own.run(
        "DELETE FROM automate.task_run
         WHERE recorded_at < now() - $1 * interval '1 second' AND finished_at IS NOT NULL
           AND NOT (EXISTS (SELECT FROM automate.task_dependency AS d WHERE d.upstream = task_run.task)
                    AND scheduled_at = (SELECT max(l.scheduled_at) FROM automate.task_run AS l
                                        WHERE l.task = task_run.task AND l.status <> 'skipped'))",
        &[retention_s.into()],
    )?;
    backfill::forget(own, retention_s)
}
