//! What a rule or a trigger may be on, and whose it may be.

use crate::error::{Error, Result};
use crate::pg;
use crate::spi::as_extension;
use pgrx::prelude::*;

/// Whether foreign tables can have triggers on TRUNCATE.
const FOREIGN_TRUNCATE: bool = !cfg!(any(feature = "pg13", feature = "pg14", feature = "pg15"));

/// Why changes of a relation cannot be captured, and the way out.
struct Reason(&'static str, String);

impl Reason {
    fn new(why: &'static str, hint: &str) -> Reason {
        Reason(why, hint.to_owned())
    }
}

/// Refuses what cannot have our trigger for some operations, by row or by statement, and says why.
pub fn check_table(relid: pg_sys::Oid, operations: &[String], by_statement: bool) -> Result<()> {
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
    match reason(relid, operations, by_statement)? {
        None => Ok(()),
        Some(Reason(why, hint)) => Err(Error::refused(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            format!("changes of \"{name}\" cannot be captured: {why}"),
        )
        .with_detail(
            "Rules and triggers are on ordinary, unlogged, partitioned and foreign tables, and on views with INSTEAD OF triggers.",
        )
        .with_hint(hint)),
    }
}

fn reason(relid: pg_sys::Oid, operations: &[String], by_statement: bool) -> Result<Option<Reason>> {
    // SAFETY: look-ups in the catalog of a relation that is there.
    let (kind, persistence, schema) = unsafe {
        (
            pg_sys::get_rel_relkind(relid) as u8,
            pg_sys::get_rel_persistence(relid) as u8,
            pg_sys::get_rel_namespace(relid),
        )
    };
    // SAFETY: look-ups in the catalog.
    let is_system = unsafe {
        pg_sys::IsCatalogRelationOid(relid)
            || schema == pg_sys::get_namespace_oid(c"automate".as_ptr(), true)
            || schema == pg_sys::get_namespace_oid(c"information_schema".as_ptr(), true)
    };
    if is_system {
        let hint = "Use your own tables, or events.";
        return Ok(Some(Reason::new("it is a system table", hint)));
    }
    let truncates = operations.iter().any(|operation| operation == "truncate");
    Ok(match kind {
        b'f' if truncates && !FOREIGN_TRUNCATE => {
            let hint = "Its triggers on TRUNCATE come with PostgreSQL 16: leave truncate out.";
            Some(Reason::new("it is a foreign table, which has no triggers on TRUNCATE", hint))
        }
        b'r' | b'p' | b'f' if persistence != b't' => None,
        b'v' if by_statement => {
            let hint = "Leave level out, or use the tables below it.";
            Some(Reason::new("it is a view, whose triggers see rows only", hint))
        }
        b'v' if persistence != b't' => reason_of_view(relid, operations)?,
        b'r' | b'p' | b'v' => {
            let hint = "It ends with your session: use one that is not temporary.";
            Some(Reason::new("it is temporary", hint))
        }
        b'm' => {
            let hint = "REFRESH fires no triggers: use the tables below it.";
            Some(Reason::new("it is a materialized view", hint))
        }
        _ => Some(Reason::new("it is not a table", "Use tables, views or events.")),
    })
}

/// A view's writes are done by its INSTEAD OF triggers. Ours beside none of them would swallow
/// what PostgreSQL does by itself for a simple view.
fn reason_of_view(relid: pg_sys::Oid, operations: &[String]) -> Result<Option<Reason>> {
    if operations.iter().any(|operation| operation == "truncate") {
        let hint = "Make a trigger on truncate on the tables below it.";
        return Ok(Some(Reason::new("a view is not truncated", hint)));
    }
    let missing: Vec<String> = as_extension(|own| {
        let rows = own.run(
            "SELECT o.operation
             FROM (VALUES ('insert', 4), ('delete', 8), ('update', 16)) AS o(operation, bit)
             WHERE o.operation = ANY ($2) AND NOT EXISTS (
                 SELECT FROM pg_catalog.pg_trigger AS t
                 WHERE t.tgrelid = $1 AND t.tgtype & 64 <> 0 AND t.tgtype & o.bit <> 0
                   AND t.tgfoid <> 'automate.capture()'::pg_catalog.regprocedure)
             ORDER BY o.bit",
            &[relid.into(), operations.to_vec().into()],
        )?;
        Ok((0..rows.len()).filter_map(|i| rows.get(i, 1)).collect())
    })?;
    Ok((!missing.is_empty()).then(|| {
        Reason(
            "it is a view without an INSTEAD OF trigger",
            format!(
                "Use the tables below it, or make its INSTEAD OF trigger for {} first.",
                missing.join(" and ")
            ),
        )
    }))
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
