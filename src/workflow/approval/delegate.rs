//! People who let others decide in their stead.

use super::decide::{check, check_person, decided, lock};
use super::key;
use crate::error::{Error, Result};
use crate::spi::as_extension;
use pgrx::prelude::*;
use uuid::Uuid;

/// Hands the part of `role` in an approval on to another role.
pub fn delegate(id: Uuid, role: pg_sys::Oid, to: pg_sys::Oid, comment: Option<&str>) -> Result<()> {
    check_person(role)?;
    check_person(to)?;
    if role == to {
        return Err(Error::invalid("a role cannot hand a decision on to itself")
            .with_detail("to_role is the current role.")
            .with_hint("Decide with automate.decide_approval, or name another role."));
    }
    as_extension(|own| {
        let rows = lock(own, id, role)?;
        check(&rows, id)?;
        let has: Option<bool> = own.one(
            "SELECT true FROM automate.approval_decision WHERE approval = $1 AND by = $2",
            &[key(id).into(), role.into()],
        )?;
        if has.is_some() {
            return Err(decided(id));
        }
        // SAFETY: reads a process-local variable.
        let session = unsafe { pg_sys::GetSessionUserId() };
        own.run(
            "INSERT INTO automate.approval_delegation (approval, by, to_role, comment, session, owner)
             SELECT id, $2, $3, $4, $5, owner FROM automate.approval WHERE id = $1",
            &[key(id).into(), role.into(), to.into(), comment.into(), session.into()],
        )?;
        Ok(())
    })
}
