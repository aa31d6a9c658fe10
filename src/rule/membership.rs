//! Rows that come to match a condition, or cease to: the condition is asked of the new row and of
//! the old one.

use super::cache::{DELETE, INSERT, UPDATE};
use super::expression::{self, NEW, OLD, Sides};
use crate::error::{Error, Result};
use crate::pg;
use pgrx::prelude::*;
use std::ffi::CStr;

/// Which way a row crosses a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crossing {
    Enters,
    Leaves,
}

/// The condition speaks of one row; which one is ours to choose.
const ONE_ROW: Sides = Sides { new: true, old: false };

impl Crossing {
    /// From `options.when`; None: each change that matches counts.
    pub fn of(word: Option<&str>) -> Option<Crossing> {
        match word {
            Some("enters") => Some(Crossing::Enters),
            Some("leaves") => Some(Crossing::Leaves),
            _ => None,
        }
    }

    /// The operations by which a row can cross.
    pub fn operations(self) -> u8 {
        match self {
            Crossing::Enters => INSERT | UPDATE,
            Crossing::Leaves => UPDATE | DELETE,
        }
    }

    fn words(self) -> (&'static str, [&'static str; 2]) {
        match self {
            Crossing::Enters => ("enters", ["insert", "update"]),
            Crossing::Leaves => ("leaves", ["update", "delete"]),
        }
    }
}

/// What a row must be for a change of one operation to cross: an expression over new and old.
///
/// # Safety
/// As for [`expression::analyse`].
pub unsafe fn analyse(
    relid: pg_sys::Oid,
    text: &CStr,
    crossing: Crossing,
    operation: u8,
) -> Result<*mut pg_sys::Expr> {
    // SAFETY: as the caller promises; the copy is ours to change.
    unsafe {
        let now = expression::read("condition", relid, text, ONE_ROW)?;
        let was: *mut pg_sys::Node = pg_sys::copyObjectImpl(now.cast_const().cast()).cast();
        pg::guarded(|| pg::c::ChangeVarNodes(was, NEW, OLD, 0));
        let clause = match (crossing, operation) {
            (Crossing::Enters, INSERT) => now,
            (Crossing::Enters, _) => first_and_not(now, was),
            (Crossing::Leaves, DELETE) => was,
            (Crossing::Leaves, _) => first_and_not(was, now),
        };
        let planned = expression::plan(clause);
        pg_sys::convert_saop_to_hashed_saop(planned.cast());
        Ok(planned)
    }
}

/// `one AND (other IS NOT TRUE)`.
unsafe fn first_and_not(one: *mut pg_sys::Node, other: *mut pg_sys::Node) -> *mut pg_sys::Node {
    // SAFETY: nodes made in the current memory context, of the structs that their tags name.
    unsafe {
        let test: *mut pg_sys::BooleanTest =
            pg_sys::palloc0(std::mem::size_of::<pg_sys::BooleanTest>()).cast();
        (*test).xpr.type_ = pg_sys::NodeTag::T_BooleanTest;
        (*test).arg = other.cast();
        (*test).booltesttype = pg_sys::BoolTestType::IS_NOT_TRUE;
        (*test).location = -1;
        let both = pg_sys::lappend(pg_sys::lappend(std::ptr::null_mut(), one.cast()), test.cast());
        pg_sys::makeBoolExpr(pg_sys::BoolExprType::AND_EXPR, both, -1).cast()
    }
}

/// Checks such a condition with the rights of the role in force.
pub fn check(relid: pg_sys::Oid, text: &str, search_path: &CStr) -> Result<()> {
    expression::check(relid, text, ONE_ROW, search_path).map_err(|error| match error {
        Error::Refused { code: PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE, .. } => error.with_hint(
            "The condition is asked of the row before and after the change: name columns alone or as new.column.",
        ),
        other => other,
    })
}

/// Refuses operations by which no row crosses.
pub fn check_operations(crossing: Crossing, operations: &[String]) -> Result<()> {
    let (word, usual) = crossing.words();
    let strange = operations.iter().find(|o| !usual.contains(&o.as_str()));
    match strange {
        None => Ok(()),
        Some(operation) => Err(Error::invalid(format!("no row {word} a condition by {operation}"))
            .with_detail(format!("The operations given are {}.", operations.join(", ")))
            .with_hint(format!("Give operations => '{{{}}}'.", usual.join(",")))),
    }
}
