//! A rule on a table as those see it who look into it: found by its name, and tried with the rights
//! and the settings of its owner, read only.

use super::define::{Checked, Definition, Source};
use super::expression::{self, Sides};
use super::rights::check_rights;
use crate::error::{Error, Failure, Result, shown};
use crate::noun::RULE;
use crate::pg;
use crate::spi::own::as_role;
use crate::spi::query::ReadOnly;
use crate::spi::{Own, as_extension, step};
use pgrx::pg_sys::errcodes::PgSqlErrorCode::*;
use pgrx::prelude::*;
use std::ffi::{CStr, CString};

/// A rule on a table.
pub struct Looked {
    pub name: String,
    pub owner: pg_sys::Oid,
    pub table: pg_sys::Oid,
    pub operations: Vec<String>,
    pub condition: Option<String>,
    pub actions: String,
    pub search_path: CString,
}

/// The rule of a name that a role may use: its own first, as for drop_rule. `what` is the function
/// that looks.
pub fn find(user: pg_sys::Oid, name: &str, what: &str) -> Result<Looked> {
    let found = as_extension(|own| find_row(own, user, name, what))?;
    check_rights(found.table, found.owner)?;
    if let Some(condition) = &found.condition {
        found.check("condition", condition)?;
    }
    Ok(found)
}

fn find_row(own: &Own, user: pg_sys::Oid, name: &str, what: &str) -> Result<Looked> {
    let rows = own.run(
        "SELECT owner::pg_catalog.oid, on_table::pg_catalog.oid,
                coalesce(on_event, (SELECT t.name FROM automate.trigger AS t WHERE t.id = on_trigger)), operations,
                coalesce(condition_sql, condition), actions::pg_catalog.text, search_path
         FROM automate.rule WHERE name = $1 AND pg_has_role($2, owner, 'USAGE')
         ORDER BY owner = $2 DESC, owner LIMIT 1",
        &[name.into(), user.into()],
    )?;
    let Some(owner) = rows.get(0, 1) else { return Err(RULE.missing(own, user, name)) };
    let Some(table) = rows.get(0, 2) else {
        return Err(on_no_table(name, rows.get(0, 3), what));
    };
    Ok(Looked {
        name: name.to_owned(),
        owner,
        table,
        operations: rows.get(0, 4).unwrap_or_default(),
        condition: rows.get(0, 5),
        actions: rows.get(0, 6).unwrap_or_default(),
        search_path: path(rows.get(0, 7)),
    })
}

/// A search_path as it is kept.
pub fn path(kept: Option<String>) -> CString {
    CString::new(kept.unwrap_or_default()).unwrap_or_default()
}

fn on_no_table(name: &str, event: Option<String>, what: &str) -> Error {
    let detail = match event {
        Some(event) => format!("It is on an event: it hears {}.", shown(&event)),
        None => "It is asked about contexts.".into(),
    };
    Error::refused(
        ERRCODE_FEATURE_NOT_SUPPORTED,
        format!("{what} looks into rules on tables, and rule {} is on none", shown(name)),
    )
    .with_detail(detail)
    .with_hint("Ask it about a context, such as the payload of an event in automate.event: SELECT * FROM automate.evaluate_rules(payload, all_rules => true).")
}

/// The operations that `what` is to see, each once and in small letters.
pub fn operations(what: &str, given: &[String], known: &[&str]) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    for operation in given {
        let lower = operation.to_lowercase();
        if !known.contains(&lower.as_str()) {
            let message = format!("unknown operation {}", shown(operation));
            return Err(Error::unknown_word(message, operation, known));
        }
        if !found.contains(&lower) {
            found.push(lower);
        }
    }
    if found.is_empty() {
        return Err(Error::invalid(format!("{what} needs an operation"))
            .with_detail("The array of operations has no members.")
            .with_hint(format!("Known here: {}.", known.join(", "))));
    }
    Ok(found)
}

/// The rows that changes of these operations have.
pub fn sides(operations: &[String]) -> Sides {
    let has = |name: &str| operations.iter().any(|o| o == name);
    Sides { new: has("insert") || has("update"), old: has("update") || has("delete") }
}

impl Looked {
    /// A rule on a table as a definition of it says; None for other rules.
    pub(super) fn of(owner: pg_sys::Oid, d: &Definition, checked: &Checked) -> Option<Looked> {
        let Source::Table { relid, operations, .. } = &checked.source else { return None };
        Some(Looked {
            name: d.name.clone(),
            owner,
            table: *relid,
            operations: operations.clone(),
            condition: checked.generated.clone().or_else(|| d.condition.clone()),
            actions: d.actions.to_string(),
            search_path: path(Some(checked.path.clone())),
        })
    }

    pub fn sides(&self) -> Sides {
        sides(&self.operations)
    }

    /// Checks an expression over the rule's rows; an error tells its place.
    pub fn check(&self, what: &str, text: &str) -> Result<()> {
        as_role(self.owner, || {
            expression::check_named(what, self.table, text, self.sides(), &self.search_path)
        })
    }

    /// Runs `f` as the owner; an error in it is a value.
    pub fn as_owner<R>(&self, f: impl FnOnce() -> R) -> std::result::Result<R, Failure> {
        as_owner(self.owner, &self.search_path, f)
    }
}

/// Runs `f` with the rights of a rule's owner and the settings of its condition, read only; an
/// error in it is a value, unless the session itself is to stop.
pub fn as_owner<R>(
    owner: pg_sys::Oid,
    search_path: &CStr,
    f: impl FnOnce() -> R,
) -> std::result::Result<R, Failure> {
    as_role(owner, || {
        let _read_only = ReadOnly::start();
        tried(|| {
            let nest = pg::GucNest::open();
            expression::fix_settings(search_path);
            let result = f();
            nest.undo();
            result
        })
    })
}

/// Runs `f` in a subtransaction. What asks the session or the transaction to stop is raised.
pub fn tried<R>(f: impl FnOnce() -> R) -> std::result::Result<R, Failure> {
    step::in_subtransaction(f)
        .map_err(|failure| if failure.stops() { Error::from(failure).raise() } else { failure })
}

/// A table's name as it stands in a statement.
pub fn quoted_name(relid: pg_sys::Oid) -> String {
    // SAFETY: look-ups in the catalog; both names are palloc'd, or null for what is gone.
    unsafe {
        let schema = pg_sys::get_namespace_name(pg_sys::get_rel_namespace(relid));
        let name = pg_sys::get_rel_name(relid);
        if schema.is_null() || name.is_null() {
            return String::new();
        }
        let quoted = pg_sys::quote_qualified_identifier(schema, name);
        CStr::from_ptr(quoted).to_string_lossy().into_owned()
    }
}
