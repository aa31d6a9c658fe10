//! The tables after whose changes a custom trigger looks: checked, kept with their triggers of
//! PostgreSQL, and, for the coordinator, heard of.

use crate::error::{Error, Result, shown};
use crate::pg;
use crate::rule::look::quoted_name;
use crate::shmem::registry;
use crate::spi::Own;
use pgrx::prelude::*;
use std::cell::{Cell, RefCell};
use uuid::Uuid;

/// Least time between two looks that changes ask for, in milliseconds: many commits are one look.
const PAUSE_MS: i64 = 500;

/// Finds the tables by their names, and asks whether their changes can be seen by a role.
pub fn resolve(names: &[String], owner: pg_sys::Oid) -> Result<Vec<pg_sys::Oid>> {
    let mut found = Vec::with_capacity(names.len());
    for name in names {
        let table = resolve_one(name, owner)?;
        if !found.contains(&table) {
            found.push(table);
        }
    }
    found.sort_unstable_by_key(|table| table.to_u32());
    Ok(found)
}

fn resolve_one(name: &str, owner: pg_sys::Oid) -> Result<pg_sys::Oid> {
    // SAFETY: answers NULL for a name that means nothing.
    let found: Option<pg_sys::Oid> =
        unsafe { pgrx::direct_function_call(pg_sys::to_regclass, &[name.into_datum()]) };
    let Some(table) = found else {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            format!("options: tables: table {} does not exist", shown(name)),
        )
        .with_detail("The query is asked again after each change of the tables named.")
        .with_hint(
            "Look for it with \\d in psql, or name it with its schema, such as public.orders.",
        ));
    };
    if let Some((why, hint)) = reason(table) {
        return Err(Error::refused(
            PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            format!("options: tables: changes of {} cannot be heard of: {why}", shown(name)),
        )
        .with_detail("The tables named are ordinary, unlogged or partitioned ones.")
        .with_hint(hint));
    }
    check_rights(name, table, owner)?;
    Ok(table)
}

/// Why changes of a relation cannot be heard of, and the way out.
fn reason(table: pg_sys::Oid) -> Option<(&'static str, &'static str)> {
    // SAFETY: look-ups in the catalog of a relation that is there.
    let (kind, persistence, is_system) = unsafe {
        let schema = pg_sys::get_rel_namespace(table);
        let is_system = pg_sys::IsCatalogRelationOid(table)
            || schema == pg_sys::get_namespace_oid(c"automate".as_ptr(), true)
            || schema == pg_sys::get_namespace_oid(c"information_schema".as_ptr(), true);
        (pg_sys::get_rel_relkind(table) as u8, pg_sys::get_rel_persistence(table) as u8, is_system)
    };
    const BELOW: &str = "Name the tables below it, or poll: {\"every\": \"30 s\"}.";
    match kind {
        _ if is_system => Some(("it is a system table", "Poll instead: {\"every\": \"30 s\"}.")),
        b'v' => Some(("it is a view", BELOW)),
        b'm' => Some(("it is a materialized view", BELOW)),
        b'f' => Some((
            "it is a foreign table",
            "Others change it on their server: poll instead, {\"every\": \"30 s\"}.",
        )),
        b'r' | b'p' if persistence != b't' => None,
        b'r' | b'p' => Some(("it is temporary", "It ends with your session: name others.")),
        _ => Some(("it is not a table", "Name tables.")),
    }
}

fn check_rights(name: &str, table: pg_sys::Oid, owner: pg_sys::Oid) -> Result<()> {
    let rights = [("SELECT", pg_sys::ACL_SELECT), ("TRIGGER", pg_sys::ACL_TRIGGER)];
    // SAFETY: look-ups in the catalog.
    let lacks = |right: u32| unsafe {
        pg_sys::pg_class_aclcheck(table, owner, right as pg_sys::AclMode)
            != pg_sys::AclResult::ACLCHECK_OK
    };
    let missing: Vec<&str> =
        rights.iter().filter(|(_, right)| lacks(*right)).map(|(word, _)| *word).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let role = pg::role_name(owner).unwrap_or_default();
    Err(Error::forbidden(format!("options: tables: permission denied for table {}", shown(name)))
        .with_detail(format!("Role \"{role}\" lacks {} on it.", missing.join(" and ")))
        .with_hint(format!("Its owner can say: GRANT SELECT, TRIGGER ON {name} TO {role}.")))
}

/// The same of tables that were found good before; one that was dropped is no matter.
pub fn check_still(tables: &[pg_sys::Oid], owner: pg_sys::Oid) -> Result<()> {
    tables.iter().try_for_each(|table| match quoted_name(*table).as_str() {
        "" => Ok(()),
        name => check_rights(name, *table, owner),
    })
}

/// Writes down which tables a trigger waits for, and sees to their triggers of PostgreSQL.
pub fn keep(own: &Own, id: Uuid, owner: pg_sys::Oid, tables: &[pg_sys::Oid]) -> Result<()> {
    let key = pgrx::Uuid::from_bytes(*id.as_bytes());
    let mut all = of(own, key)?;
    if all.is_empty() && tables.is_empty() {
        return Ok(());
    }
    own.run("DELETE FROM automate.trigger_table WHERE trigger = $1", &[key.into()])?;
    own.run(
        "INSERT INTO automate.trigger_table (trigger, relation, owner) SELECT $1, t, $3 FROM unnest($2) AS t",
        &[key.into(), tables.to_vec().into(), owner.into()],
    )?;
    all.extend_from_slice(tables);
    see_to(own, all)
}

/// The tables that a trigger waits for.
pub fn of(own: &Own, trigger: pgrx::Uuid) -> Result<Vec<pg_sys::Oid>> {
    let rows = own.run(
        "SELECT relation::oid FROM automate.trigger_table WHERE trigger = $1",
        &[trigger.into()],
    )?;
    Ok((0..rows.len()).filter_map(|row| rows.get(row, 1)).collect())
}

/// Gives tables our trigger, or takes it away, as is wanted now.
pub fn see_to(own: &Own, tables: Vec<pg_sys::Oid>) -> Result<()> {
    if tables.is_empty() {
        return Ok(());
    }
    own.run("SELECT automate.keep_recheck($1)", &[tables.into()]).map(|_| ())
}

/// Forgets tables that were dropped.
pub fn forget_dropped(own: &Own) -> Result<()> {
    own.run(
        "DELETE FROM automate.trigger_table
         WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_class AS c WHERE c.oid = relation)",
        &[],
    )?;
    Ok(())
}

thread_local! {
    /// What the coordinator has heard is not written down: every table may have changed. So it is
    /// when it begins, since what was noted before a crash is gone.
    static UNSURE: Cell<bool> = const { Cell::new(true) };
    /// Changes that found no place, as far as they are known.
    static LOST: Cell<u64> = const { Cell::new(0) };
    /// The triggers that somebody had locked when they were to be made due.
    static LOCKED: RefCell<Vec<pgrx::Uuid>> = const { RefCell::new(Vec::new()) };
}

/// The transaction in which changes were heard of was undone.
pub fn unsure() {
    UNSURE.set(true);
}

/// Makes the triggers due that wait for tables that were changed. What was heard of is in the rows
/// afterwards; if the transaction fails, say so with [`unsure`]. Waits for nobody: false when a row
/// was locked, which is for the next time.
pub fn hear(own: &Own) -> Result<bool> {
    let Some(registry) = registry() else { return Ok(true) };
    let lost = registry.changed.lost();
    let changed = registry.changed.take(pg::my_database());
    let all = UNSURE.replace(false) | (LOST.replace(lost) != lost);
    let locked = LOCKED.take();
    if changed.is_empty() && locked.is_empty() && !all {
        return Ok(true);
    }
    // A failed look is repeated when its pause is over, and sees the change then.
    let rows = own.run(
        "WITH RECURSIVE above(relid) AS (
             SELECT unnest($1)
             UNION SELECT i.inhparent FROM above AS a JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = a.relid),
         meant AS (
             SELECT DISTINCT w.trigger FROM automate.trigger_table AS w
             WHERE $2 OR w.trigger = ANY ($4) OR w.relation::oid IN (SELECT relid FROM above)),
         waiting AS (
             SELECT t.id, greatest(clock_timestamp(),
                        (t.state ->> 'looked_at')::timestamptz + $3 * interval '1 millisecond') AS at
             FROM automate.trigger AS t
             WHERE t.id IN (SELECT trigger FROM meant) AND t.status = 'active' AND NOT t.state ? 'failures'),
         late AS (
             SELECT t.id, w.at FROM automate.trigger AS t JOIN waiting AS w ON w.id = t.id
             WHERE t.next_at IS NULL OR t.next_at > w.at),
         free AS (
             SELECT t.id FROM automate.trigger AS t WHERE t.id IN (SELECT id FROM late)
             FOR NO KEY UPDATE SKIP LOCKED),
         moved AS (
             UPDATE automate.trigger AS t SET next_at = l.at FROM late AS l
             WHERE t.id = l.id AND t.id IN (SELECT id FROM free) RETURNING t.id)
         SELECT id FROM late EXCEPT SELECT id FROM moved",
        &[changed.into(), all.into(), PAUSE_MS.into(), locked.into()],
    )?;
    let left: Vec<pgrx::Uuid> = (0..rows.len()).filter_map(|row| rows.get(row, 1)).collect();
    let none = left.is_empty();
    LOCKED.set(left);
    Ok(none)
}
