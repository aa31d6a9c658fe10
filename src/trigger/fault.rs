//! Triggers that fail: their owner is told, and nobody else is disturbed.

use crate::error::Result;
use crate::spi::Own;

/// Notes that a trigger failed; `broken`: it cannot work as it is.
pub fn note(own: &Own, id: pgrx::Uuid, text: &str, broken: bool) -> Result<()> {
    own.run(
        "UPDATE automate.trigger
         SET errors = errors + 1, last_error = $2, last_error_at = pg_catalog.clock_timestamp(),
             status = CASE WHEN $3 AND status = 'active' THEN 'broken' ELSE status END,
             next_at = CASE WHEN NOT $3 THEN next_at END
         WHERE id = $1",
        &[id.into(), text.into(), broken.into()],
    )?;
    Ok(())
}
