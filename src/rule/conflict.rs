//! How the rules of a table stand to each other, as far as PostgreSQL's own provers can tell: the
//! ones that decide whether a partial index or a partition is of use to a query.

use super::define::Definition;
use super::expression;
use super::look::{self, Looked, as_owner, tried};
use crate::error::{Error, Result};
use crate::pg;
use crate::spi::{Own, as_extension};
use pgrx::datum::TimestampWithTimeZone;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::*;
use pgrx::prelude::*;
use serde_json::{Value, json};
use std::ffi::CString;

/// An active rule.
struct Rule {
    name: String,
    owner: pg_sys::Oid,
    operations: Vec<String>,
    condition: Option<String>,
    search_path: CString,
    priority: i32,
    /// An update counts only if one of these changed; None: any.
    columns: Option<Vec<String>>,
    /// The instants between which it is valid.
    valid: (pg_sys::TimestampTz, pg_sys::TimestampTz),
    stop: bool,
}

/// What was proved of a rule that is to be and one that there is.
pub(super) struct Beside {
    pub other: String,
    /// equivalent, or stopped: the other comes first and stops whatever this one matches.
    pub relation: &'static str,
}

impl Rule {
    /// True when every change that this rule may see is one that the other sees: operations,
    /// columns and validity, whatever the conditions.
    fn is_within(&self, other: &Rule) -> bool {
        let all_in = |all: &[String], set: &[String]| all.iter().all(|item| set.contains(item));
        let columns = match (&self.columns, &other.columns) {
            (_, None) => true,
            (Some(mine), Some(theirs)) => all_in(mine, theirs),
            // A rule on inserts only is not asked for columns.
            (None, Some(_)) => !self.operations.iter().any(|operation| operation == "update"),
        };
        columns
            && all_in(&self.operations, &other.operations)
            && other.valid.0 <= self.valid.0
            && self.valid.1 <= other.valid.1
    }

    /// True when one ends before the other begins.
    fn is_never_with(&self, other: &Rule) -> bool {
        self.valid.1 <= other.valid.0 || other.valid.1 <= self.valid.0
    }
}

/// A rule with its condition as the provers want it.
struct Ready<'a> {
    rule: &'a Rule,
    /// The parts of which all must be true; null when there are none.
    clauses: *mut pg_sys::List,
}

/// What was proved of two rules that see the same change.
#[derive(Clone, Copy, Default)]
struct Proof {
    /// Whenever the first matches, so does the second; and the other way round.
    forth: bool,
    back: bool,
    /// Never do both.
    apart: bool,
}

/// The relations between the rules of a table that a role may see, as a JSON array.
pub fn run(user: pg_sys::Oid, table: pg_sys::Oid) -> Result<Value> {
    // SAFETY: a look-up in the catalog.
    if unsafe { pg_sys::get_rel_name(table) }.is_null() {
        let message = format!("there is no table with OID {}", table.to_u32());
        return Err(Error::refused(ERRCODE_UNDEFINED_TABLE, message)
            .with_detail("The table was dropped meanwhile, or on_table was given as a number.")
            .with_hint("Give on_table => 'schema.table'."));
    }
    let rules = as_extension(|own| read(own, user, table))?;
    let ready: Vec<Ready> = rules.iter().filter_map(|rule| ready(table, rule)).collect();
    let mut found = Vec::new();
    for (index, first) in ready.iter().enumerate() {
        relations(first, &ready[index + 1..], &mut found);
    }
    Ok(Value::Array(found))
}

/// How a rule that is to be stands to the active ones of its table.
pub(super) fn beside(d: &Definition, looked: &Looked) -> Result<Vec<Beside>> {
    let (table, owner) = (looked.table, looked.owner);
    let mut others = as_extension(|own| read(own, owner, table))?;
    others.retain(|other| other.owner != owner || other.name != d.name);
    let rule = Rule {
        name: d.name.clone(),
        owner,
        operations: looked.operations.clone(),
        condition: looked.condition.clone(),
        search_path: looked.search_path.clone(),
        priority: d.priority,
        columns: d.columns.clone(),
        valid: (
            d.valid_from.map_or(i64::MIN, i64::from),
            d.valid_until.map_or(i64::MAX, i64::from),
        ),
        stop: d.stop,
    };
    let Some(this) = ready(table, &rule) else { return Ok(Vec::new()) };
    let (scratch, mut found) = (Scratch::new(), Vec::new());
    for other in &others {
        pg::check_interrupts();
        let Some(ready) = ready(table, other) else { continue };
        let proof = scratch.prove(&this, &ready);
        let (forth, back) =
            (proof.forth && rule.is_within(other), proof.back && other.is_within(&rule));
        let first = (other.priority, &other.name) < (rule.priority, &rule.name);
        let relation = match (proof.apart, forth, back) {
            (false, true, true) => "equivalent",
            (false, true, false) if other.stop && first => "stopped",
            _ => continue,
        };
        found.push(Beside { other: other.name.clone(), relation });
    }
    scratch.end();
    Ok(found)
}

fn read(own: &Own, user: pg_sys::Oid, table: pg_sys::Oid) -> Result<Vec<Rule>> {
    let rows = own.run(
        "SELECT name, owner::pg_catalog.oid, operations, coalesce(condition_sql, condition), search_path, priority,
                columns, valid_from, valid_until, stop
         FROM automate.rule
         WHERE on_table = $2::pg_catalog.oid AND status = 'active'
           AND (pg_has_role($1, owner, 'USAGE') OR has_function_privilege($1, 'automate.see_all()', 'EXECUTE'))
         ORDER BY priority, name, owner",
        &[user.into(), table.into()],
    )?;
    let at =
        |i, column, or: i64| rows.get::<TimestampWithTimeZone>(i, column).map_or(or, i64::from);
    let rule = |i| {
        Some(Rule {
            name: rows.get(i, 1)?,
            owner: rows.get(i, 2)?,
            operations: rows.get(i, 3)?,
            condition: rows.get(i, 4),
            search_path: look::path(rows.get(i, 5)),
            priority: rows.get(i, 6)?,
            columns: rows.get(i, 7),
            valid: (at(i, 8, i64::MIN), at(i, 9, i64::MAX)),
            stop: rows.get(i, 10).unwrap_or(false),
        })
    };
    Ok((0..rows.len()).filter_map(rule).collect())
}

/// Analyses a rule's condition as its owner; None for a rule that cannot work as things are.
fn ready(table: pg_sys::Oid, rule: &Rule) -> Option<Ready<'_>> {
    super::rights::check_rights(table, rule.owner).ok()?;
    let none = Ready { rule, clauses: std::ptr::null_mut() };
    let Some(text) = &rule.condition else { return Some(none) };
    let text = CString::new(text.as_str()).ok()?;
    let sides = look::sides(&rule.operations);
    // SAFETY: within a subtransaction; the text outlives the call. The list lives in the memory of
    // the caller, since a subtransaction of ours leaves that in force.
    let clauses = as_owner(rule.owner, &rule.search_path, || unsafe {
        expression::read("condition", table, &text, sides).map(|clause| {
            let planned = expression::plan(clause);
            pg_sys::make_ands_implicit(pg_sys::canonicalize_qual(planned, false))
        })
    });
    clauses.ok()?.ok().map(|clauses| Ready { clauses, ..none })
}

/// Adds what there is to say of a rule and each of those after it.
fn relations(first: &Ready, others: &[Ready], found: &mut Vec<Value>) {
    let shared = |other: &Ready| -> Vec<String> {
        let sees = |operation: &String| other.rule.operations.contains(operation);
        first.rule.operations.iter().filter(|operation| sees(operation)).cloned().collect()
    };
    let scratch = Scratch::new();
    for other in others {
        let shared = shared(other);
        if shared.is_empty() {
            continue;
        }
        pg::check_interrupts();
        let proof = scratch.prove(first, other);
        found.extend(told(first.rule, other.rule, proof, &shared));
    }
    scratch.end();
}

/// Memory for what the provers leave behind.
struct Scratch(pg_sys::MemoryContext);

impl Scratch {
    fn new() -> Scratch {
        // SAFETY: a context under the current one, with which it goes if an error ends us.
        Scratch(unsafe {
            pg_sys::AllocSetContextCreateInternal(
                pg_sys::CurrentMemoryContext,
                c"pg_automate proofs".as_ptr(),
                0,
                8 * 1024,
                8 * 1024 * 1024,
            )
        })
    }

    fn prove(&self, first: &Ready, other: &Ready) -> Proof {
        // SAFETY: the lists live in the caller's context; only truth values leave this one.
        unsafe {
            let before = pg_sys::MemoryContextSwitchTo(self.0);
            let proof = prove(first, other);
            pg_sys::MemoryContextSwitchTo(before);
            pg_sys::MemoryContextReset(self.0);
            proof
        }
    }

    fn end(self) {
        // SAFETY: made by us, and not in force.
        unsafe { pg_sys::MemoryContextDelete(self.0) };
    }
}

/// Asks the provers, which may run the functions of comparison operators: as a rule's owner.
fn prove(first: &Ready, other: &Ready) -> Proof {
    let (a, b) = (first.clauses, other.clauses);
    let proved = as_owner(first.rule.owner, &first.rule.search_path, || {
        let ask = |proof: unsafe fn(*mut pg_sys::List, *mut pg_sys::List, bool) -> bool,
                   (goal, given, weak)| {
            // SAFETY: lists of planned expressions, which the provers only read.
            tried(|| unsafe { proof(goal, given, weak) }).unwrap_or(false)
        };
        let refuted = pg_sys::predicate_refuted_by;
        // The weak form proves "not true", the strong one "false": each finds what the other does not.
        let ways = [(b, a, true), (a, b, true), (b, a, false), (a, b, false)];
        Proof {
            forth: ask(pg_sys::predicate_implied_by, (b, a, false)),
            back: ask(pg_sys::predicate_implied_by, (a, b, false)),
            apart: ways.into_iter().any(|way| ask(refuted, way)),
        }
    });
    proved.unwrap_or_default()
}

/// The row of the answer for two rules, if it has one.
fn told(first: &Rule, other: &Rule, proof: Proof, shared: &[String]) -> Option<Value> {
    let whenever = |a: &Rule, b: &Rule| {
        format!("whenever \"{}\" matches, \"{}\" matches, too", a.name, b.name)
    };
    let (forth, back) =
        (proof.forth && first.is_within(other), proof.back && other.is_within(first));
    let (rule, other, relation, note) = if proof.apart || first.is_never_with(other) {
        (first, other, "exclusive", "no change matches both".to_string())
    } else if forth && back {
        (first, other, "equivalent", "both match the same changes".to_string())
    } else if forth {
        (first, other, "shadowed", whenever(first, other))
    } else if back {
        (other, first, "shadowed", whenever(other, first))
    } else if first.priority == other.priority {
        let partly = match (proof.forth, proof.back) {
            (true, true) => "the same rows match both".to_string(),
            (true, false) => whenever(first, other),
            (false, true) => whenever(other, first),
            (false, false) => "nothing was proved".to_string(),
        };
        let note =
            format!("on {}: {partly}; both have priority {}", shared.join(" and "), first.priority);
        (first, other, "may overlap", note)
    } else {
        return None;
    };
    let note =
        if rule.owner == other.owner { note } else { format!("{note}; {}", owners(rule, other)) };
    Some(json!({"rule": rule.name, "other": other.name, "relation": relation, "note": note}))
}

/// Tells apart rules whose names may be the same.
fn owners(rule: &Rule, other: &Rule) -> String {
    let name = |rule: &Rule| pg::role_name(rule.owner).unwrap_or_default();
    format!("their owners are \"{}\" and \"{}\"", name(rule), name(other))
}
