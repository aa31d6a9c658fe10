//! Getting the rules of a table ready: their texts become expressions.

use super::before::Place;
use super::cache::{Condition, Guarded, Row, Rule};
use super::expression;
use super::fault;
use super::inline::{self, Inline};
use super::membership;
use super::rights::check_rights;
use super::terms;
use crate::error::{Error, Failure, Result};
use crate::pg;
use crate::spi::own::as_role;
use crate::spi::step;
use pgrx::prelude::*;
use std::cell::{Cell, OnceCell};
use std::ffi::CString;

/// The rules with their conditions; what does not compile is noted and passed over.
pub(super) fn compile_all(
    context: pg_sys::MemoryContext,
    relid: pg_sys::Oid,
    rows: Vec<Row>,
) -> Result<Vec<Rule>> {
    // Those of one owner, written under one search_path, are read under one setting of both.
    let alike = |a: &Row, b: &Row| a.owner == b.owner && a.search_path == b.search_path;
    let mut all = Vec::with_capacity(rows.len());
    for run in rows.chunk_by(alike) {
        as_role(run[0].owner, || {
            let nest = pg::GucNest::open();
            expression::fix_settings(&run[0].search_path);
            all.extend(run.iter().map(|row| tidily(|| compile(context, relid, row))));
            nest.undo();
        });
    }
    let mut faults: Vec<(usize, Failure)> = Vec::new();
    let mut rules = Vec::with_capacity(rows.len());
    for (mut row, compiled) in rows.into_iter().zip(all) {
        let compiled = compiled.unwrap_or_else(|failure| {
            faults.push((rules.len(), failure));
            Compiled::default()
        });
        row.terms.columns = compiled.columns;
        rules.push(Rule {
            id: row.id,
            name: row.name,
            owner: row.owner,
            priority: row.priority,
            operations: row.operations,
            search_path: row.search_path,
            condition: compiled.condition,
            terms: row.terms,
            inline: compiled.inline,
            member: row.member,
            version: row.version,
            reads: row.reads,
            kept: OnceCell::new(),
            firing: row.firing,
        });
    }
    for (index, failure) in &faults {
        fault::note(&rules[*index].culprit(), failure, true)?;
    }
    Ok(rules)
}

/// What became of a rule's texts.
struct Compiled {
    columns: Vec<i16>,
    condition: Condition,
    inline: Inline,
}

impl Default for Compiled {
    fn default() -> Compiled {
        Compiled { columns: Vec::new(), condition: Condition::Broken, inline: Inline::default() }
    }
}

/// Gives back at once what `f` leaves in memory: trees of thousands of rules are much.
fn tidily<R>(f: impl FnOnce() -> R) -> R {
    // SAFETY: nothing that `f` answers is in the context, and the one before is put back.
    unsafe {
        let context = pg_sys::AllocSetContextCreateInternal(
            pg_sys::CurrentMemoryContext,
            c"pg_automate compile".as_ptr(),
            0,
            8 * 1024,
            8 * 1024 * 1024,
        );
        let before = pg_sys::MemoryContextSwitchTo(context);
        let result = f();
        pg_sys::MemoryContextSwitchTo(before);
        pg_sys::MemoryContextDelete(context);
        result
    }
}

/// Compiles a rule with the rights of its owner, which are in force, as are the settings of its
/// texts.
fn compile(
    context: pg_sys::MemoryContext,
    relid: pg_sys::Oid,
    row: &Row,
) -> std::result::Result<Compiled, Failure> {
    if !crate::access::can_log_in(row.owner) {
        return Err(Error::invalid("its owner was dropped or may not log in")
            .with_detail(format!("It is the role with OID {}.", row.owner.to_u32()))
            .with_hint("Let the role log in with ALTER ROLE, or let another make the rule.")
            .into());
    }
    check_rights(row.table, row.owner).map_err(Failure::from)?;
    let columns = terms::attribute_numbers(relid, &row.columns).map_err(Failure::from)?;
    if row.condition.is_none() && row.actions.is_none() {
        let (condition, inline) = (Condition::Always, Inline::default());
        return Ok(Compiled { columns, condition, inline });
    }
    let text = row.condition.as_deref().map(CString::new).transpose();
    let text = text.map_err(|e| Failure::internal(e.to_string()))?;
    let actions = row.actions.as_deref().map(inline::parse).transpose()?;
    let place = Place { relid, owner: row.owner, operations: row.operations };
    step::in_subtransaction(|| {
        // SAFETY: an error ends the subtransaction; the expression is copied into our context.
        let condition = text.as_ref().map_or(Condition::Always, |text| unsafe {
            let expr = match row.crossing {
                None => expression::analyse(relid, text, place.sides()),
                Some(crossing) => membership::analyse(relid, text, crossing, row.operations),
            };
            keep(context, expr.unwrap_or_else(|e| e.raise()))
        });
        let inline = actions.map_or_else(Inline::default, |actions| {
            inline::compile(context, &place, actions).unwrap_or_else(|e| e.raise())
        });
        Compiled { columns, condition, inline }
    })
}

/// Copies an expression into the context of its set and gets it ready.
pub(super) unsafe fn keep(context: pg_sys::MemoryContext, expr: *mut pg_sys::Expr) -> Condition {
    // SAFETY: the caller passes an analysed expression; the previous context is put back.
    unsafe {
        let before = pg_sys::MemoryContextSwitchTo(context);
        let expr: *mut pg_sys::Expr = pg_sys::copyObjectImpl(expr.cast_const().cast()).cast();
        let condition = if expression::is_plain(expr.cast(), 0) {
            Condition::Plain(pg_sys::ExecInitExpr(expr, std::ptr::null_mut()))
        } else {
            let own = pg_sys::AllocSetContextCreateInternal(
                context,
                c"pg_automate condition".as_ptr(),
                0,
                1024,
                8 * 1024 * 1024,
            );
            Condition::Guarded(Guarded {
                expr,
                context: own,
                state: Cell::new(std::ptr::null_mut()),
                made: Cell::new(0),
            })
        };
        pg_sys::MemoryContextSwitchTo(before);
        condition
    }
}
