//! Rules and data triggers survive change: when something that they mention gets another name they
//! follow; when it goes, or no longer fits, they are marked broken with the reason. The command
//! itself is never disturbed: what cannot be done here is found out at the next write.

use super::ddl::Change;
use super::mentioned::{self, Mentioned};
use super::{cache, fault, read, rewrite, steer, version};
use crate::error::{Error, Failure, Result};
use crate::pg;
use crate::spi::{Own, as_extension, step};
use pgrx::pg_sys::errcodes::PgSqlErrorCode::*;
use pgrx::prelude::*;
use serde_json::Value;
use std::collections::HashSet;

/// What a command does, and whom that concerns.
pub struct Concerned {
    change: Change,
    rules: Vec<Mentioned>,
    /// Tables with rules may be gone.
    disowns: bool,
}

/// Looks at a command before it runs; None if it concerns no rule.
///
/// # Safety
/// `node` is a utility statement from the parser.
pub unsafe fn before(node: *mut pg_sys::Node) -> Option<Concerned> {
    // SAFETY: reads process-local variables; then a look-up in the catalog, in a transaction.
    unsafe {
        if !pg_sys::IsTransactionState() || pg_sys::XactReadOnly || pg_sys::creating_extension {
            return None;
        }
        let change = Change::of(node)?;
        if !is_installed() {
            return None;
        }
        undisturbed(|| {
            let mut rules = as_extension(|own| mentioned::find(own, &change))?;
            // Those that cannot be read now are left to the next write.
            rules.retain_mut(|rule| {
                if !can_lock(rule, &change) {
                    return false;
                }
                let trees = rule.read();
                rule.trees = trees.unwrap_or_default();
                !rule.trees.is_empty() || rule.columns.is_some() || change.renames()
            });
            let disowns = as_extension(|own| disowns(own, &change))?;
            let concerns = disowns || !rules.is_empty();
            Ok(concerns.then_some(Concerned { change, rules, disowns }))
        })
        .flatten()
    }
}

/// True when a table with rules may be dropped.
fn disowns(own: &Own, change: &Change) -> Result<bool> {
    let Change::Drop { tables, cascades, .. } = change else { return Ok(false) };
    if *cascades || tables.is_empty() {
        return Ok(*cascades);
    }
    own.plan_for_queue();
    let found: Option<bool> = own.one(
        "SELECT true FROM automate.rule WHERE on_table = ANY ($1::pg_catalog.regclass[]) LIMIT 1",
        &[tables.clone().into()],
    )?;
    Ok(found.is_some())
}

/// True while the extension is here.
fn is_installed() -> bool {
    // SAFETY: a look-up in the catalog, in a transaction.
    unsafe { pg_sys::get_namespace_oid(c"automate".as_ptr(), true) != pg_sys::InvalidOid }
}

/// A command that has nothing to do with a rule's table does not wait for it.
fn can_lock(rule: &Mentioned, change: &Change) -> bool {
    let Some(table) = rule.table.filter(|_| change.table().is_none()) else { return true };
    let mode = pg_sys::AccessShareLock as i32;
    // SAFETY: takes a lock if it is free, and gives it back at once.
    unsafe {
        let is_free = pg_sys::ConditionalLockRelationOid(table, mode);
        if is_free {
            pg_sys::UnlockRelationOid(table, mode);
        }
        is_free
    }
}

/// Brings the rules up to date after the command.
pub fn after(concerned: Concerned) {
    let Concerned { change, mut rules, disowns } = concerned;
    undisturbed(|| {
        // SAFETY: what the command did is to be seen by what follows.
        unsafe { pg_sys::CommandCounterIncrement() };
        if !is_installed() {
            return Ok(());
        }
        let (mut followed, mut broken) = (Vec::new(), Vec::new());
        for rule in &mut rules {
            let outcome = match change.renames() {
                true => rewrite::rewrite(rule, &change),
                false => rule.read().map(|_| false),
            };
            match outcome {
                Ok(false) => {}
                Ok(true) => followed.push(&*rule),
                Err(failure) => broken.push((&*rule, failure)),
            }
        }
        let user = pg::current_user();
        as_extension(|own| {
            own.plan_for_queue();
            followed.iter().try_for_each(|rule| store(own, user, rule))?;
            broken.iter().try_for_each(|(rule, failure)| mark_broken(own, rule, failure))?;
            let changed = followed.iter().copied().chain(broken.iter().map(|(rule, _)| *rule));
            let tables: HashSet<pg_sys::Oid> = changed.filter_map(|rule| rule.table).collect();
            tables.iter().try_for_each(|table| cache::announce(own, *table))?;
            match disowns {
                true => steer::disown_dropped_tables(own),
                false => Ok(()),
            }
        })?;
        tell(&followed, &broken);
        Ok(())
    });
}

/// Runs `f` in a subtransaction; what goes wrong is written to the server's log.
fn undisturbed<R>(f: impl FnOnce() -> Result<R>) -> Option<R> {
    let failure = match step::in_subtransaction(|| f().unwrap_or_else(|e| e.raise())) {
        Ok(found) => return Some(found),
        Err(failure) => failure,
    };
    let stops = [ERRCODE_QUERY_CANCELED, ERRCODE_ADMIN_SHUTDOWN, ERRCODE_CRASH_SHUTDOWN];
    if stops.contains(&failure.code) {
        Error::from(failure).raise();
    }
    log!("pg_automate: rules could not follow a command: {}", failure.text());
    None
}

/// Writes what changed. A rule that somebody else is changing is left to him.
fn store(own: &Own, user: pg_sys::Oid, rule: &Mentioned) -> Result<()> {
    let json = |value: &Option<Value>| value.as_ref().map(Value::to_string);
    let mut arguments = vec![
        rule.id.into(),
        rule.condition.as_deref().into(),
        json(&rule.conditions).into(),
        rule.condition_sql.as_deref().into(),
        rule.columns.clone().into(),
        rule.search_path.as_str().into(),
    ];
    if rule.is_trigger {
        own.run(
            "UPDATE automate.trigger SET condition = $2, conditions = $3::pg_catalog.text::pg_catalog.jsonb,
                    condition_sql = $4, columns = $5, search_path = $6, version = version + 1, updated_at = pg_catalog.now()
             WHERE id IN (SELECT t.id FROM automate.trigger AS t WHERE t.id = $1 FOR UPDATE SKIP LOCKED)",
            &arguments,
        )?;
    } else {
        arguments.push(json(&rule.actions).into());
        let Some(before) = read::owned(own, rule.owner, &rule.name, false)? else { return Ok(()) };
        let changed = own.run(
            "UPDATE automate.rule SET condition = $2, conditions = $3::pg_catalog.text::pg_catalog.jsonb,
                    condition_sql = $4, columns = $5, search_path = $6, updated_at = pg_catalog.now(),
                    actions = coalesce($7::pg_catalog.text::pg_catalog.jsonb, actions)
             WHERE id IN (SELECT r.id FROM automate.rule AS r WHERE r.id = $1 FOR UPDATE SKIP LOCKED)",
            &arguments,
        )?;
        if changed.processed > 0 {
            version::keep_followed(own, user, &before)?;
        }
    }
    Ok(())
}

macro_rules! mark {
    ($noun:literal) => {
        concat!(
            "UPDATE automate.",
            $noun,
            " SET status = 'broken', last_error = $2, last_error_at = pg_catalog.clock_timestamp()
             WHERE id IN (SELECT r.id FROM automate.",
            $noun,
            " AS r WHERE r.id = $1 AND r.status = 'active' FOR UPDATE SKIP LOCKED)
             RETURNING id, owner::pg_catalog.oid, name"
        )
    };
}

fn mark_broken(own: &Own, rule: &Mentioned, failure: &Failure) -> Result<()> {
    let (kind, sql) = match rule.is_trigger {
        true => ("trigger", mark!("trigger")),
        false => ("rule", mark!("rule")),
    };
    let reason = failure.text();
    let marked = own.run(sql, &[rule.id.into(), reason.as_str().into()])?;
    fault::note_broken(own, kind, &marked, &reason)
}

/// Tells who gave the command what it meant for rules.
fn tell(followed: &[&Mentioned], broken: &[(&Mentioned, Failure)]) {
    let broken: Vec<&Mentioned> = broken.iter().map(|(rule, _)| *rule).collect();
    let user = pg::current_user();
    let name = pg::role_name(user).unwrap_or_default();
    // SAFETY: a look-up of role memberships.
    let may_see = |rule: &&Mentioned| unsafe { pg_sys::has_privs_of_role(user, rule.owner) };
    if let Some(names) = names(followed.iter().copied()) {
        log!("pg_automate: a command of role \"{name}\" rewrote rules and triggers: {names}");
    }
    if let Some(names) = names(broken.iter().copied()) {
        log!("pg_automate: a command of role \"{name}\" broke rules and triggers: {names}");
    }
    if let Some(names) = names(followed.iter().copied().filter(may_see)) {
        notice!("rules and triggers that follow the change: {names}");
    }
    if let Some(names) = names(broken.iter().copied().filter(may_see)) {
        warning!("rules and triggers that are broken by the change: {names}");
    }
}

/// A list of names for people.
fn names<'r>(rules: impl Iterator<Item = &'r Mentioned>) -> Option<String> {
    let all: Vec<String> = rules.map(|rule| format!("\"{}\"", rule.name)).collect();
    match all.len() {
        0 => None,
        1..=10 => Some(all.join(", ")),
        count => Some(format!("{} and {} more", all[..10].join(", "), count - 10)),
    }
}
