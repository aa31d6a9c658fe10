//! Whether this database may work: it is the one its definitions were made in, and nobody paused it.

use crate::error::Result;
use crate::pg;
use crate::spi::Own;
use pgrx::prelude::*;

/// The cluster's identity, as text.
fn system_identifier() -> String {
    // SAFETY: reads a value of the control file kept in memory.
    unsafe { pg_sys::GetSystemIdentifier() }.to_string()
}

/// True when nothing shall be claimed: paused by hand, or a copy that was not taken over.
pub fn is_paused(own: &Own) -> Result<bool> {
    let rows = own.run(
        "SELECT bool_or(paused OR system_identifier <> $1 OR database_oid <> $2) FROM automate.instance",
        &[system_identifier().into(), pg::my_database().into()],
    )?;
    Ok(rows.get::<bool>(0, 1).unwrap_or(true))
}

/// Stops claiming in this database.
pub fn pause(own: &Own, reason: Option<&str>) -> Result<()> {
    own.run("UPDATE automate.instance SET paused = true, paused_reason = $1", &[reason.into()])?;
    Ok(())
}

/// Lets it work again, as the owner of its definitions.
pub fn resume(own: &Own) -> Result<()> {
    own.run("DELETE FROM automate.instance", &[])?;
    own.run(
        "INSERT INTO automate.instance (system_identifier, database_oid) VALUES ($1, $2)",
        &[system_identifier().into(), pg::my_database().into()],
    )?;
    Ok(())
}
