//! What a rule or a trigger may be on, and whose it may be.

use crate::error::{Error, Result};
use crate::pg;
use pgrx::prelude::*;

/// Refuses what cannot have our trigger, and says why.
pub fn check_table(relid: pg_sys::Oid) -> Result<()> {
    // SAFETY: a look-up in the catalog; the name is copied.
    let name = unsafe {
        let name = pg_sys::get_rel_name(relid);
        (!name.is_null()).then(|| std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned())
    };
    let Some(name) = name else {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            format!("there is no table with OID {}", relid.to_u32()),
        )
        .with_detail("The table was dropped meanwhile, or on_table was given as a number.")
        .with_hint("Give on_table => 'schema.table'."));
    };
    // SAFETY: look-ups in the catalog of a relation that is there.
    let (kind, persistence, schema) = unsafe {
        (
            pg_sys::get_rel_relkind(relid) as u8,
            pg_sys::get_rel_persistence(relid) as u8,
            pg_sys::get_rel_namespace(relid),
        )
    };
    let refuse = |reason: &str, hint: &str| {
        let message = format!("a rule cannot be on \"{name}\": {reason}");
        Err(Error::refused(PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE, message)
            .with_detail("A rule has a row trigger, on an ordinary, unlogged or partitioned table.")
            .with_hint(hint))
    };
    match kind {
        b'r' | b'p' => {}
        b'v' => return refuse("it is a view", "Make the rule on the tables below it."),
        b'm' => {
            return refuse("it is a materialized view", "Make the rule on the tables below it.");
        }
        b'f' => {
            let hint = "Its changes happen on another server: make the rule there.";
            return refuse("it is a foreign table", hint);
        }
        _ => return refuse("it is not a table", "Rules are on tables and on events."),
    }
    if persistence == b't' {
        let hint = "It ends with your session: use an ordinary or an unlogged table.";
        return refuse("it is a temporary table", hint);
    }
    // SAFETY: look-ups in the catalog.
    let ours = unsafe {
        pg_sys::IsCatalogRelationOid(relid)
            || schema == pg_sys::get_namespace_oid(c"automate".as_ptr(), true)
            || schema == pg_sys::get_namespace_oid(c"information_schema".as_ptr(), true)
    };
    if ours {
        return refuse("it is a system table", "Rules are on your own tables and on events.");
    }
    Ok(())
}

/// The owner of a rule that sets a column must be allowed to write it himself.
pub fn check_column(
    relid: pg_sys::Oid,
    number: i16,
    name: &str,
    owner: pg_sys::Oid,
    needed: &[&str],
) -> Result<()> {
    let right = |word: &str| match word {
        "INSERT" => pg_sys::ACL_INSERT as pg_sys::AclMode,
        _ => pg_sys::ACL_UPDATE as pg_sys::AclMode,
    };
    let ok = pg_sys::AclResult::ACLCHECK_OK;
    // SAFETY: look-ups in the catalog of a table and a column that are there.
    let lacks = |word: &&&str| unsafe {
        pg_sys::pg_class_aclcheck(relid, owner, right(word)) != ok
            && pg_sys::pg_attribute_aclcheck(relid, number, owner, right(word)) != ok
    };
    let missing: Vec<&str> = needed.iter().filter(lacks).copied().collect();
    if missing.is_empty() {
        return Ok(());
    }
    let role = pg::role_name(owner).unwrap_or_default();
    let missing = missing.join(" and ");
    Err(Error::forbidden(format!("permission denied for column \"{name}\" of the table"))
        .with_detail(format!(
            "Role \"{role}\" lacks {missing} on it, and owns a rule that sets it."
        ))
        .with_hint(format!(
            "The table's owner can GRANT {} ({name}) ON it TO {role}.",
            needed.join(", ")
        )))
}

/// The owner of a rule must be allowed to see every row of the table and to attach triggers.
pub fn check_rights(relid: pg_sys::Oid, owner: pg_sys::Oid) -> Result<()> {
    // SAFETY: look-ups in the catalog.
    let (name, missing, hidden) = unsafe {
        let name = pg_sys::get_rel_name(relid);
        if name.is_null() {
            return Err(Error::refused(
                PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
                "the table of the rule was dropped",
            )
            .with_detail(format!("Its OID was {}.", relid.to_u32()))
            .with_hint("Drop the rule: SELECT automate.drop_rule(name)."));
        }
        let lacks = |right| {
            pg_sys::pg_class_aclcheck(relid, owner, right) != pg_sys::AclResult::ACLCHECK_OK
        };
        let missing = match (
            lacks(pg_sys::ACL_SELECT as pg_sys::AclMode),
            lacks(pg_sys::ACL_TRIGGER as pg_sys::AclMode),
        ) {
            (true, true) => Some("SELECT and TRIGGER"),
            (true, false) => Some("SELECT"),
            (false, true) => Some("TRIGGER"),
            (false, false) => None,
        };
        let rls = pg_sys::check_enable_rls(relid, owner, true);
        (
            std::ffi::CStr::from_ptr(name).to_string_lossy().into_owned(),
            missing,
            rls == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32,
        )
    };
    let role = pg::role_name(owner).unwrap_or_default();
    if let Some(missing) = missing {
        return Err(Error::forbidden(format!("permission denied for table {name}"))
            .with_detail(format!("Role \"{role}\" lacks {missing} on it."))
            .with_hint(format!("Its owner can say: GRANT SELECT, TRIGGER ON {name} TO {role}.")));
    }
    if hidden {
        return Err(Error::forbidden(format!(
            "row security of table {name} hides rows from role \"{role}\""
        ))
        .with_detail("Policies of the table apply to the role, also in its triggers.")
        .with_hint(
            "A rule sees every row: let the table's owner, or a role with BYPASSRLS, make it.",
        ));
    }
    Ok(())
}
