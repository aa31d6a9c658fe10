//! A trial of a condition's parts on two rows that were given as JSON.

use super::columns::TableColumns;
use super::expression;
use super::look::{Looked, tried};
use super::print::Printer;
use crate::error::{Error, Failure, Result, shown, shown_json};
use crate::pg;
use automate_core::rule::Columns;
use automate_core::suggest;
use pgrx::pg_sys::errcodes::PgSqlErrorCode::*;
use pgrx::prelude::*;
use serde_json::Value;
use std::ffi::{CStr, CString};

/// A row as the caller wrote it: parsed, and as PostgreSQL printed it, with every digit.
pub struct Given {
    pub value: Value,
    pub text: String,
}

impl PartialEq for Given {
    /// The same text, which is PostgreSQL's for the value.
    fn eq(&self, other: &Given) -> bool {
        self.text == other.text
    }
}

/// The rows of a change where expressions look for them. Everything lives in the memory context in
/// which it was made.
pub struct Trial {
    pub printer: Printer,
    econtext: *mut pg_sys::ExprContext,
}

/// Checks that a row can be one of the rule's: an object whose keys are columns of its table.
pub fn check_row(rule: &Looked, side: &str, row: &Given) -> Result<()> {
    let sides = rule.sides();
    if !(if side == "new" { sides.new } else { sides.old }) {
        let other = if side == "new" { "old" } else { "new" };
        return Err(Error::invalid(format!("{side}: the rule has no {side} row"))
            .with_detail(format!(
                "Rule {} sees {}.",
                shown(&rule.name),
                rule.operations.join(" and ")
            ))
            .with_hint(format!("Give the row as {other}.")));
    }
    let Value::Object(keys) = &row.value else {
        return Err(Error::invalid(format!("{side} must be a JSON object"))
            .with_detail(format!("The value given is {}.", shown_json(&row.value)))
            .with_hint("Write {\"column\": value, ...}, or to_jsonb(a_row)."));
    };
    let columns = TableColumns::of(rule.table, sides);
    match keys.keys().find(|key| columns.kind(key).is_none()) {
        None => Ok(()),
        Some(key) => {
            let names = columns.names();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let message = format!("{side}: the table has no column {}", shown(key));
            Err(Error::refused(ERRCODE_UNDEFINED_COLUMN, message)
                .with_detail(format!("The row given is {}.", shown_json(&row.value)))
                .with_hint(suggest::hint(key, &names)))
        }
    }
}

impl Trial {
    /// Makes the rows; missing columns, and rows that are not there, are NULL.
    ///
    /// # Safety
    /// Within [`Looked::as_owner`], in which alone the trial is good.
    pub unsafe fn of(rule: &Looked, new: Option<&Given>, old: Option<&Given>) -> Result<Trial> {
        // SAFETY: all of it is made in the current context; the descriptor is copied, and the
        // relation stays locked.
        unsafe {
            let econtext = pg_sys::CreateStandaloneExprContext();
            let relation = pg_sys::table_open(rule.table, pg_sys::AccessShareLock as i32);
            let slot = || {
                let copy = pg_sys::CreateTupleDescCopy((*relation).rd_att);
                pg_sys::MakeSingleTupleTableSlot(copy, &raw const pg_sys::TTSOpsVirtual)
            };
            (*econtext).ecxt_outertuple = slot();
            (*econtext).ecxt_innertuple = slot();
            pg_sys::table_close(relation, pg_sys::NoLock as i32);
            let trial = Trial { printer: Printer::of(rule.table), econtext };
            trial.fill((*econtext).ecxt_outertuple, rule.table, "new", new)?;
            trial.fill((*econtext).ecxt_innertuple, rule.table, "old", old)?;
            Ok(trial)
        }
    }

    unsafe fn fill(
        &self,
        slot: *mut pg_sys::TupleTableSlot,
        table: pg_sys::Oid,
        side: &str,
        row: Option<&Given>,
    ) -> Result<()> {
        let Some(row) = row else {
            // SAFETY: an empty slot.
            unsafe { pg_sys::ExecStoreAllNullTuple(slot) };
            return Ok(());
        };
        let text = CString::new(row.text.as_str()).unwrap_or_default();
        // SAFETY: the call has the arguments that the function is declared with, and it answers a
        // row of the table's type, which is that of the slot.
        let filled = tried(|| unsafe {
            let made = self.run(populate(pg_sys::get_rel_type_id(table), &text).cast());
            match made {
                Some(made) => pg_sys::ExecStoreHeapTupleDatum(made, slot),
                None => {
                    pg_sys::ExecStoreAllNullTuple(slot);
                }
            }
        });
        filled.map_err(|failure| {
            Error::from(Failure { message: format!("{side}: {}", failure.message), ..failure })
                .or_detail(format!("The row given is {}.", shown_json(&row.value)))
                .or_hint("Give values that PostgreSQL reads as the types of the columns.")
        })
    }

    /// The value of a part of a condition: None for NULL.
    ///
    /// # Safety
    /// `node` comes from [`expression::read`], or is a part of that, and is boolean.
    pub unsafe fn truth(
        &self,
        node: *mut pg_sys::Node,
    ) -> std::result::Result<Option<bool>, Failure> {
        // SAFETY: the copy is planned, not the node; a boolean is a datum by value.
        tried(|| unsafe {
            let planned = expression::plan(copy(node));
            self.run(planned).map(|datum| datum.value() & 0xFF != 0)
        })
    }

    /// The value of an operand as the text of its JSON.
    ///
    /// # Safety
    /// As for [`Trial::truth`], but for the type.
    pub unsafe fn json(&self, node: *mut pg_sys::Node) -> std::result::Result<String, Failure> {
        // SAFETY: to_jsonb takes any type, and answers a jsonb, which jsonb_out prints.
        tried(|| unsafe {
            let planned = expression::plan(call(
                pg_sys::F_TO_JSONB,
                pg_sys::JSONBOID,
                pg_sys::lappend(std::ptr::null_mut(), copy(node).cast()),
            ));
            let text = self.run(planned).and_then(|datum| {
                pgrx::direct_function_call::<&CStr>(pg_sys::jsonb_out, &[Some(datum)])
            });
            text.map_or_else(|| "null".into(), |text| text.to_string_lossy().into_owned())
        })
    }

    /// Evaluates a planned expression.
    unsafe fn run(&self, planned: *mut pg_sys::Expr) -> Option<pg_sys::Datum> {
        let econtext = self.econtext;
        // SAFETY: the state is made ready for this expression; only plain values are in the
        // guarded frame.
        unsafe {
            let state = pg_sys::ExecInitExpr(planned, std::ptr::null_mut());
            let evaluate = (*state).evalfunc?;
            let mut is_null = false;
            let place = &raw mut is_null;
            let datum = pg::guarded(|| evaluate(state, econtext, place));
            (!is_null).then_some(datum)
        }
    }
}

/// A copy, since planning changes what it plans.
unsafe fn copy(node: *mut pg_sys::Node) -> *mut pg_sys::Node {
    // SAFETY: the caller passes a node.
    unsafe { pg_sys::copyObjectImpl(node.cast_const().cast()).cast() }
}

unsafe fn call(
    function: u32,
    answers: pg_sys::Oid,
    arguments: *mut pg_sys::List,
) -> *mut pg_sys::Node {
    let none = pg_sys::InvalidOid;
    let form = pg_sys::CoercionForm::COERCE_EXPLICIT_CALL;
    // SAFETY: makes a node of one of PostgreSQL's own functions.
    unsafe { pg_sys::makeFuncExpr(function.into(), answers, arguments, none, none, form).cast() }
}

/// jsonb_populate_record(NULL::type, text::jsonb), with the type in its arguments.
unsafe fn populate(row_type: pg_sys::Oid, text: &CStr) -> *mut pg_sys::Node {
    // SAFETY: jsonb_in reads a C string; constants of the function's two arguments.
    unsafe {
        let text = pg_sys::Datum::from(text.as_ptr());
        let document = pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[Some(text)]);
        let document = document.unwrap_or(pg_sys::Datum::from(0));
        let none = pg_sys::InvalidOid;
        let row = pg_sys::makeNullConst(row_type, -1, none);
        let json = pg_sys::makeConst(pg_sys::JSONBOID, -1, none, -1, document, false, false);
        let arguments = pg_sys::lappend(std::ptr::null_mut(), row.cast());
        let arguments = pg_sys::lappend(arguments, json.cast());
        call(pg_sys::F_JSONB_POPULATE_RECORD, row_type, arguments)
    }
}
