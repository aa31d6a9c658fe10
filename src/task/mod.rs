//! Tasks: what is done on a schedule. `define` checks and stores them, `fire` makes their jobs
//! when they are due, `perform` does what a job says.

pub mod define;
pub mod fire;
pub mod perform;
pub mod steer;
pub mod when;

pub use fire::fire_due;
pub use perform::perform;

use crate::error::Result;
use crate::spi::Own;

/// Forgets what became of instants, after so many seconds.
pub fn forget(own: &Own, retention_s: i64) -> Result<()> {
    own.run(
        "DELETE FROM automate.task_instant WHERE recorded_at < now() - $1 * interval '1 second'",
        &[retention_s.into()],
    )?;
    Ok(())
}
