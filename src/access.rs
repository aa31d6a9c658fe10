//! Who may do what.

use crate::error::{Error, Result};
use crate::pg;
use pgrx::prelude::*;

/// The role that will own what is defined now: the current user, if jobs can run as it.
pub fn require_owner() -> Result<pg_sys::Oid> {
    let role = pg::current_user();
    if can_log_in(role) {
        return Ok(role);
    }
    let name = pg::role_name(role).unwrap_or_else(|| role.to_u32().to_string());
    Err(Error::refused(
        PgSqlErrorCode::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
        format!("role \"{name}\" cannot own automation, since it is not permitted to log in"),
    )
    .with_hint(format!(
        "Jobs run in a session of their owner: ALTER ROLE \"{name}\" LOGIN, or use another role."
    )))
}

/// True when the role exists and may log in.
pub fn can_log_in(role: pg_sys::Oid) -> bool {
    // SAFETY: a catalog look-up in a transaction; the tuple is released before we return.
    unsafe {
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::AUTHOID as i32,
            pg_sys::Datum::from(role),
        );
        if tuple.is_null() {
            return false;
        }
        let can = (*(pg_sys::GETSTRUCT(tuple) as *mut pg_sys::FormData_pg_authid)).rolcanlogin;
        pg_sys::ReleaseSysCache(tuple);
        can
    }
}

/// Longest name of a definition, in bytes, as of PostgreSQL's own names.
const MAX_NAME: usize = 63;

/// A name fit for a definition.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    if name.trim().is_empty() {
        return Err(Error::invalid(format!("name of a {what} must not be empty")));
    }
    if name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!("name of a {what} is not acceptable"))
            .with_hint(format!("Use at most {MAX_NAME} bytes, and no control characters.")));
    }
    Ok(())
}

/// Says that a name is not there, and which one was perhaps meant.
pub fn no_such(what: &str, name: &str, known: &[String], maker: &str) -> Error {
    let near = automate_core::suggest::nearest(name, known.iter().map(String::as_str));
    Error::missing(format!("{what} \"{name}\" does not exist")).with_hint(match near {
        Some(found) => format!("Did you mean \"{found}\"?"),
        None => format!("Make it with {maker}; only what you own, or roles whose privileges you have, can be used."),
    })
}
