//! Who may do what.

use crate::error::{Error, Result, shown};
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
    .with_detail("The role has the attribute NOLOGIN.")
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
    let message = if name.trim().is_empty() {
        format!("name of a {what} must not be empty")
    } else if name.len() > MAX_NAME || name.chars().any(char::is_control) {
        format!("name of a {what} is not acceptable")
    } else {
        return Ok(());
    };
    Err(Error::invalid(message)
        .with_detail(given(name))
        .with_hint(format!("Use 1 to {MAX_NAME} bytes, and no control characters.")))
}

/// A name of a bounded length; `advice`, a sentence, says how to choose one.
pub fn check_length(what: &str, name: &str, most: usize, advice: &str) -> Result<()> {
    if !name.trim().is_empty() && name.len() <= most {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the name of {what} must have 1 to {most} bytes, not {}",
        name.trim().len()
    ))
    .with_detail(given(name))
    .with_hint(advice))
}

/// The name that was given, for a DETAIL.
pub fn given(name: &str) -> String {
    format!("The name given is {}, of {} bytes.", shown(name), name.len())
}
