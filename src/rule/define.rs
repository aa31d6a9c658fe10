//! Making, removing and switching rules.

use super::cache;
use super::columns::TableColumns;
use super::expression::{self, Sides};
use super::perform::check_event_condition;
use super::terms;
use crate::error::{Error, Result, shown};
use crate::noun::{REPORT, RULE, TASK, TEMPLATE, WORKFLOW};
use crate::spi::{Own, as_extension, statement};
use crate::{access, event, pg};
use automate_core::problem::Problem;
use automate_core::rule::action::{self, Action};
use automate_core::rule::{event_to_sql, to_sql};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::prelude::*;
use serde_json::Value;
use std::ffi::CString;
use uuid::Uuid;

/// Longest name of a rule, in bytes.
const MAX_NAME: usize = 128;
const OPERATIONS: [&str; 3] = ["insert", "update", "delete"];

/// A rule as its author says it.
pub struct Definition {
    pub name: String,
    pub actions: Value,
    pub on_table: Option<pg_sys::Oid>,
    pub on_event: Option<String>,
    pub operations: Vec<String>,
    pub condition: Option<String>,
    pub conditions: Option<Value>,
    pub columns: Option<Vec<String>>,
    pub priority: i32,
    pub stop: bool,
    pub valid_from: Option<TimestampWithTimeZone>,
    pub valid_until: Option<TimestampWithTimeZone>,
    pub on_error: String,
    pub enabled: bool,
    pub description: Option<String>,
}

/// What a rule listens to.
enum Source<'a> {
    Table { relid: pg_sys::Oid, operations: Vec<String>, sides: Sides },
    Event(&'a str),
}

/// A definition that was found good, with what was made of it.
pub(super) struct Checked<'a> {
    source: Source<'a>,
    /// The SQL that its JsonLogic means.
    generated: Option<String>,
    path: String,
}

/// Makes a rule; returns its id.
pub fn create(owner: pg_sys::Oid, definition: &Definition) -> Result<Uuid> {
    let checked = check(owner, definition)?;
    let id = Uuid::now_v7();
    as_extension(|own| {
        refuse_duplicate(own, owner, &definition.name)?;
        store(own, id, owner, definition, &checked).map(|_| id)
    })
}

/// Looks at a definition with the rights in force, which are the owner's.
pub(super) fn check(owner: pg_sys::Oid, d: &Definition) -> Result<Checked<'_>> {
    access::check_length("a rule", &d.name, MAX_NAME, "Name what it is for, such as big_order.")?;
    let source = source(d)?;
    if let (Some(condition), Some(_)) = (&d.condition, &d.conditions) {
        return Err(Error::invalid("a rule has a condition or conditions, not both")
            .with_detail(format!("Beside conditions, condition is {}.", shown(condition)))
            .with_hint("condition is SQL, conditions is JsonLogic."));
    }
    if let Source::Table { relid, .. } = &source {
        check_table(*relid)?;
        check_rights(*relid, owner)?;
    }
    check_terms(d, &source)?;
    let path = search_path();
    let generated = generate(d, &source)?;
    let condition = generated.as_deref().or(d.condition.as_deref());
    check_condition(condition, &source, &path)?;
    let actions =
        action::parse(&d.actions).map_err(|p| Error::problems("actions", &p, RULE.help))?;
    check_actions(owner, &actions)?;
    Ok(Checked { source, generated, path })
}

/// search_path as it is kept: temporary objects last, so that no writer's can stand in.
fn search_path() -> String {
    let path = pg::search_path();
    if path.trim().is_empty() { "pg_temp".into() } else { format!("{path}, pg_temp") }
}

fn source(d: &Definition) -> Result<Source<'_>> {
    match (d.on_table, d.on_event.as_deref()) {
        (Some(relid), None) => {
            let operations = operations(&d.operations)?;
            let has = |name: &str| operations.iter().any(|o| o == name);
            let sides =
                Sides { new: has("insert") || has("update"), old: has("update") || has("delete") };
            Ok(Source::Table { relid, operations, sides })
        }
        (None, Some(name)) => {
            event::check_pattern(name)?;
            Ok(Source::Event(name))
        }
        (None, None) => Err(Error::invalid("a rule is on a table or on an event")
            .with_detail("Neither on_table nor on_event was given.")
            .with_hint("Give on_table => 'orders' or on_event => 'order.paid'.")),
        (Some(_), Some(name)) => {
            Err(Error::invalid("a rule is on a table or on an event, not both")
                .with_detail(format!("Beside on_table, on_event is {}.", shown(name)))
                .with_hint("Make two rules with the same actions."))
        }
    }
}

fn operations(given: &[String]) -> Result<Vec<String>> {
    let mut found: Vec<String> = Vec::new();
    for operation in given {
        let lower = operation.to_lowercase();
        if !OPERATIONS.contains(&lower.as_str()) {
            let message = format!("unknown operation {}", shown(operation));
            return Err(Error::unknown_word(message, operation, &OPERATIONS));
        }
        if !found.contains(&lower) {
            found.push(lower);
        }
    }
    if found.is_empty() {
        return Err(Error::invalid("a rule on a table needs an operation")
            .with_detail("The array of operations has no members.")
            .with_hint("Known here: insert, update, delete."));
    }
    Ok(found)
}

/// Refuses what cannot have our trigger, and says why.
fn check_table(relid: pg_sys::Oid) -> Result<()> {
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

/// The SQL that JsonLogic means.
fn generate(d: &Definition, source: &Source) -> Result<Option<String>> {
    let Some(logic) = &d.conditions else { return Ok(None) };
    let made = match source {
        Source::Table { relid, sides, .. } => to_sql(logic, &TableColumns::of(*relid, *sides)),
        Source::Event(_) => event_to_sql(logic),
    };
    made.map(Some)
        .map_err(|problems: Vec<Problem>| Error::problems("conditions", &problems, RULE.help))
}

fn check_condition(condition: Option<&str>, source: &Source, path: &str) -> Result<()> {
    let Some(text) = condition else { return Ok(()) };
    match source {
        Source::Table { relid, sides, .. } => {
            let path = CString::new(path).map_err(|e| Error::Internal(e.to_string()))?;
            expression::check(*relid, text, *sides, &path)
        }
        Source::Event(_) => {
            expression::check_shape(text)?;
            check_event_condition(text)
        }
    }
}

/// What is asked beyond the condition must make sense for the source.
fn check_terms(d: &Definition, source: &Source) -> Result<()> {
    if !terms::ON_ERROR.contains(&d.on_error.as_str()) {
        let message = format!("unknown policy {} for on_error", shown(&d.on_error));
        return Err(Error::unknown_word(message, &d.on_error, &terms::ON_ERROR));
    }
    if let (Some(from), Some(until)) = (d.valid_from, d.valid_until)
        && i64::from(from) >= i64::from(until)
    {
        return Err(Error::invalid("valid_from must be before valid_until")
            .with_detail("The rule would never be valid.")
            .with_hint("Exchange them, or leave one out."));
    }
    match source {
        Source::Table { relid, operations, .. } => {
            let Some(columns) = &d.columns else { return Ok(()) };
            if columns.is_empty() || !operations.iter().any(|o| o == "update") {
                return Err(Error::invalid("columns are for updates")
                    .with_detail("An update counts only if one of the columns changed.")
                    .with_hint("Name at least one, and have update among the operations."));
            }
            terms::attribute_numbers(*relid, columns).map(|_| ())
        }
        Source::Event(_) if d.columns.is_some() || d.stop || d.on_error != "skip" => {
            Err(Error::invalid("columns, stop and on_error are for rules on tables")
                .with_detail("Rules on events act each for itself, after the commit.")
                .with_hint("Leave them out; say in the condition what the rule is to pass over."))
        }
        Source::Event(_) => Ok(()),
    }
}

/// Statements must make sense, and what is named must be there.
fn check_actions(owner: pg_sys::Oid, actions: &[Action]) -> Result<()> {
    for (index, action) in actions.iter().enumerate() {
        match action {
            Action::Sql { statement, .. } => {
                statement::check(&format!("action {}: sql", index + 1), statement)?;
            }
            Action::Workflow { name, .. } => {
                as_extension(|own| WORKFLOW.require(own, owner, name))?;
            }
            Action::Notify { template, .. } => {
                as_extension(|own| TEMPLATE.require(own, owner, template))?;
            }
            Action::Emit { name, .. } => event::check_name(name)?,
            Action::Report { name, .. } => {
                as_extension(|own| REPORT.require(own, owner, name))?;
            }
            Action::Task { name } => {
                as_extension(|own| TASK.require(own, owner, name))?;
            }
        }
    }
    Ok(())
}

fn refuse_duplicate(own: &Own, owner: pg_sys::Oid, name: &str) -> Result<()> {
    let there: Option<bool> = own.one(
        "SELECT true FROM automate.rule WHERE owner = $1 AND name = $2",
        &[owner.into(), name.into()],
    )?;
    match there {
        None => Ok(()),
        Some(_) => Err(RULE
            .duplicate(owner, name)
            .with_hint("Drop it first, in the same transaction: SELECT automate.drop_rule(name).")),
    }
}

/// Writes a rule, or the next version of it, and tells every session; returns the version.
pub(super) fn store(
    own: &Own,
    id: Uuid,
    owner: pg_sys::Oid,
    d: &Definition,
    checked: &Checked,
) -> Result<i32> {
    let (relid, operations, event) = match &checked.source {
        Source::Table { relid, operations, .. } => (Some(*relid), Some(operations.clone()), None),
        Source::Event(name) => (None, None, Some(*name)),
    };
    // SAFETY: reads a process-local variable.
    let session = unsafe { pg_sys::GetSessionUserId() };
    let version: Option<i32> = own.one(
        "INSERT INTO automate.rule AS r (id, name, description, owner, status, on_table, on_event, operations,
                condition, conditions, condition_sql, actions, priority, search_path, created_by,
                columns, stop, valid_from, valid_until, on_error)
         VALUES ($1, $2, $3, $4, CASE WHEN $5 THEN 'active' ELSE 'disabled' END, $6::pg_catalog.oid, $7, $8, $9,
                $10::pg_catalog.text::pg_catalog.jsonb, $11, $12::pg_catalog.text::pg_catalog.jsonb, $13, $14, $15,
                $16, $17, $18, $19, $20)
         ON CONFLICT (id) DO UPDATE SET (description, status, operations, condition, conditions, condition_sql,
                actions, priority, search_path, columns, stop, valid_from, valid_until, on_error,
                version, errors, last_error, last_error_at, updated_at)
              = (EXCLUDED.description, EXCLUDED.status, EXCLUDED.operations, EXCLUDED.condition,
                EXCLUDED.conditions, EXCLUDED.condition_sql, EXCLUDED.actions, EXCLUDED.priority,
                EXCLUDED.search_path, EXCLUDED.columns, EXCLUDED.stop, EXCLUDED.valid_from,
                EXCLUDED.valid_until, EXCLUDED.on_error, r.version + 1, 0, NULL, NULL, pg_catalog.now())
         RETURNING version",
        &[
            pgrx::Uuid::from_bytes(*id.as_bytes()).into(),
            d.name.as_str().into(),
            d.description.as_deref().into(),
            owner.into(),
            d.enabled.into(),
            relid.into(),
            event.into(),
            operations.into(),
            d.condition.as_deref().into(),
            d.conditions.as_ref().map(Value::to_string).into(),
            checked.generated.as_deref().into(),
            d.actions.to_string().into(),
            d.priority.into(),
            checked.path.as_str().into(),
            session.into(),
            d.columns.clone().into(),
            d.stop.into(),
            d.valid_from.into(),
            d.valid_until.into(),
            d.on_error.as_str().into(),
        ],
    )?;
    if let Some(relid) = relid {
        own.run("SELECT automate.keep_capture($1::pg_catalog.oid)", &[relid.into()])?;
        cache::announce(own, relid)?;
    }
    version.ok_or_else(|| Error::Internal("a rule was not written".into()))
}

/// A rule that was found by its name.
struct Found {
    id: pgrx::Uuid,
    owner: pg_sys::Oid,
    table: Option<pg_sys::Oid>,
    condition: Option<String>,
    operations: Vec<String>,
    search_path: String,
}

/// The rule of a name: the user's own first, then those of roles whose privileges it has.
fn find(own: &Own, user: pg_sys::Oid, name: &str) -> Result<Found> {
    let rows = own.run(
        "SELECT id, owner::pg_catalog.oid, on_table::pg_catalog.oid, coalesce(condition_sql, condition),
                operations, search_path
         FROM automate.rule WHERE name = $1 AND pg_has_role($2, owner, 'USAGE')
         ORDER BY owner = $2 DESC, owner LIMIT 1 FOR UPDATE",
        &[name.into(), user.into()],
    )?;
    let (Some(id), Some(owner)) = (rows.get(0, 1), rows.get(0, 2)) else {
        return Err(RULE.missing(own, user, name));
    };
    Ok(Found {
        id,
        owner,
        table: rows.get(0, 3),
        condition: rows.get(0, 4),
        operations: rows.get(0, 5).unwrap_or_default(),
        search_path: rows.get(0, 6).unwrap_or_default(),
    })
}

/// Removes a rule.
pub fn remove(user: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let found = find(own, user, name)?;
        own.run("DELETE FROM automate.rule WHERE id = $1", &[found.id.into()])?;
        let Some(table) = found.table else { return Ok(()) };
        cache::announce(own, table)?;
        own.run("SELECT automate.keep_capture($1::pg_catalog.oid)", &[table.into()])?;
        Ok(())
    })
}

/// Lets a rule rest.
pub fn disable(user: pg_sys::Oid, name: &str) -> Result<()> {
    as_extension(|own| {
        let found = find(own, user, name)?;
        set_status(own, &found, "disabled")
    })
}

/// Puts a rule back to work, if its condition still makes sense.
pub fn enable(user: pg_sys::Oid, name: &str) -> Result<()> {
    let found = as_extension(|own| find(own, user, name))?;
    if let Some(table) = found.table {
        check_rights(table, found.owner)?;
        let has = |name: &str| found.operations.iter().any(|o| o == name);
        let sides =
            Sides { new: has("insert") || has("update"), old: has("update") || has("delete") };
        let path =
            CString::new(found.search_path.as_str()).map_err(|e| Error::Internal(e.to_string()))?;
        if let Some(text) = &found.condition {
            crate::spi::own::as_role(found.owner, || expression::check(table, text, sides, &path))?;
        }
    }
    as_extension(|own| {
        set_status(own, &found, "active")?;
        if let Some(table) = found.table {
            own.run("SELECT automate.keep_capture($1::pg_catalog.oid)", &[table.into()])?;
        }
        Ok(())
    })
}

fn set_status(own: &Own, found: &Found, status: &str) -> Result<()> {
    own.run(
        "UPDATE automate.rule SET status = $2, version = version + 1, updated_at = pg_catalog.now()
         WHERE id = $1",
        &[found.id.into(), status.into()],
    )?;
    match found.table {
        Some(table) => cache::announce(own, table),
        None => Ok(()),
    }
}

/// Says of rules whose table was dropped that they are broken.
pub fn disown_dropped_tables(own: &Own) -> Result<()> {
    own.run(
        "UPDATE automate.rule SET status = 'broken', last_error = 'its table was dropped',
                last_error_at = pg_catalog.now(), updated_at = pg_catalog.now()
         WHERE on_table IS NOT NULL AND status = 'active'
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = on_table)",
        &[],
    )?;
    Ok(())
}
