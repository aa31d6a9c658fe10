//! The trigger of a table with rules before the write: they change a row, or refuse it.

use super::cache::{self, Condition, INSERT, Rule, Rules, Test, Timing, UPDATE};
use super::capture::{self, Change};
use super::inline::{Assign, Deed};
use super::{context, expression, tally};
use crate::error::{Error, Failure, Result};
use crate::spi::own::as_role;
use crate::spi::step;
use crate::{guc, pg};
use automate_core::rule::before::{Rejected, Rejection};
use pgrx::pg_sys::errcodes::PgSqlErrorCode::*;
use pgrx::prelude::*;
use serde_json::Value;
use std::ffi::{CString, c_char, c_int};

#[doc(hidden)]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_finfo_automate_capture_before() -> *const pg_sys::Pg_finfo_record {
    static RECORD: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &RECORD
}

#[doc(hidden)]
#[unsafe(no_mangle)]
pub unsafe extern "C-unwind" fn automate_capture_before(
    fcinfo: pg_sys::FunctionCallInfo,
) -> pg_sys::Datum {
    let mut refusal: *mut pg_sys::ErrorData = std::ptr::null_mut();
    // SAFETY: PostgreSQL hands over a valid call frame. A rejection is raised here, where no value
    // has a destructor that its jump could skip: a rule may name any SQLSTATE, and those that are
    // not PostgreSQL's own would be lost on the way through Rust's errors.
    unsafe {
        let row = decide_row(fcinfo, &raw mut refusal);
        if !refusal.is_null() {
            pg::c::ThrowErrorData(refusal);
        }
        row
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn decide_row(
    fcinfo: pg_sys::FunctionCallInfo,
    refusal: *mut *mut pg_sys::ErrorData,
) -> pg_sys::Datum {
    // SAFETY: PostgreSQL hands over a valid call frame, and TriggerData as its context when the
    // function is called as a trigger; the caller passes a place for the refusal.
    let decided = unsafe {
        let context = (*fcinfo).context;
        match Change::of(context, pg_sys::TRIGGER_EVENT_BEFORE) {
            Some(change) => {
                let data = &*context.cast::<pg_sys::TriggerData>();
                let updates = change.operation == UPDATE;
                decide(change, if updates { data.tg_newtuple } else { data.tg_trigtuple })
            }
            None => Err(Error::refused(
                ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                "automate.capture_before() must be called by a BEFORE ROW trigger",
            )
            .with_detail("It was called in another way.")
            .with_hint("SELECT automate.create_rule(..., timing => 'before') makes the trigger.")),
        }
    };
    match decided {
        Ok(Verdict::Row(tuple)) => pg_sys::Datum::from(tuple),
        Ok(Verdict::Refused(error)) => {
            // SAFETY: as above.
            unsafe { *refusal = error };
            pg_sys::Datum::from(0)
        }
        Err(error) => error.raise(),
    }
}

/// What became of a row.
enum Verdict {
    /// It is to be written, as it came or as rules changed it.
    Row(pg_sys::HeapTuple),
    Refused(*mut pg_sys::ErrorData),
}

/// A row on its way through the rules.
#[derive(Clone, Copy)]
struct Row {
    change: Change,
    tuple: pg_sys::HeapTuple,
    changed: bool,
}

/// What one rule makes of a row that it matches.
enum Step<'r> {
    Row(Row),
    Reject(Row, &'r Rejection),
}

/// Leads a row through the rules, by priority and name: each sees what those before it set.
fn decide(change: Change, tuple: pg_sys::HeapTuple) -> Result<Verdict> {
    if guc::skip_rules() {
        capture::check_owner(change.relation)?;
        return Ok(Verdict::Row(tuple));
    }
    // SAFETY: PostgreSQL holds the table open while its trigger runs.
    let rules = unsafe { cache::rules_of(change.relation, Timing::Before)? };
    let mut row = Row { change, tuple, changed: false };
    if rules.operations & change.operation == 0 || change.is_idle() {
        return Ok(Verdict::Row(tuple));
    }
    tally::touch(&rules);
    let mut next = 0;
    while let Some(index) = next_candidate(&rules, &row, next) {
        next = index + 1;
        let rule = &rules.rules[index as usize];
        if !rule.terms.hold(&row.change) {
            continue;
        }
        if matches!(rule.condition, Condition::Guarded(_)) {
            rules.tally.evaluated_one(index);
        }
        let applied = apply(&rules, rule, row);
        if let Ok(Some(_)) = applied {
            rules.tally.matched(&[index]);
        }
        match applied {
            Ok(None) => continue,
            Ok(Some(Step::Row(changed))) => row = changed,
            Ok(Some(Step::Reject(row, rejection))) => {
                return Ok(Verdict::Refused(refusal(&rules, rule, &row, rejection)));
            }
            Err(failure) => {
                forget_states(rule);
                // The row is again as it was before this rule.
                restore(&rules, &row);
                capture::pass_over(&rules, index, failure)?;
                continue;
            }
        }
        if rule.terms.stop {
            break;
        }
    }
    // SAFETY: nothing looks at the row in the slot any more.
    unsafe {
        if let Some(clear) = (*(*rules.new_row).tts_ops).clear {
            pg::guarded(|| clear(rules.new_row));
        }
    }
    Ok(Verdict::Row(row.tuple))
}

/// The next rule, from a number on, that the row matches, or whose condition must be evaluated as
/// its owner. All plain conditions before it are evaluated under one guard.
fn next_candidate(rules: &Rules, row: &Row, from: u32) -> Option<u32> {
    let guarded = rules.guarded.iter().copied().find(|index| {
        *index >= from && rules.rules[*index as usize].operations & row.change.operation != 0
    });
    let first = rules.tests.partition_point(|test| test.rule < from);
    let end = rules.tests.partition_point(|test| test.rule < guarded.unwrap_or(u32::MAX));
    let tests = &rules.tests[first..end.max(first)];
    if tests.is_empty() {
        return guarded;
    }
    let econtext = capture::place(rules, &row.change);
    let (list, count, operation) = (tests.as_ptr(), tests.len(), row.change.operation);
    // SAFETY: an array of that length. Only plain values are in the guarded frame.
    let found = pg::guarded(|| unsafe { first_match(list, count, operation, econtext) });
    rules.tally.evaluated(&tests[..count.min(found + 1)], operation);
    tests.get(found).map(|test| test.rule).or(guarded)
}

/// The place of the first test that holds; `count` if none does.
unsafe fn first_match(
    tests: *const Test,
    count: usize,
    operation: u8,
    econtext: *mut pg_sys::ExprContext,
) -> usize {
    // SAFETY: the caller passes an array of that length and live states; errors leave by a jump
    // over this frame, which owns nothing.
    unsafe {
        let memory = (*econtext).ecxt_per_tuple_memory;
        let before = pg_sys::MemoryContextSwitchTo(memory);
        let mut at = 0;
        while at < count {
            let test = *tests.add(at);
            if test.operations & operation != 0
                && (test.state.is_null() || capture::is_true(test.state, econtext))
            {
                break;
            }
            at += 1;
        }
        pg_sys::MemoryContextSwitchTo(before);
        if !(*memory).isReset {
            pg_sys::MemoryContextReset(memory);
        }
        at
    }
}

/// What a rule makes of a row: None if its condition does not hold after all.
fn apply<'r>(
    rules: &Rules,
    rule: &'r Rule,
    row: Row,
) -> std::result::Result<Option<Step<'r>>, Failure> {
    let is_guarded = matches!(rule.condition, Condition::Guarded(_));
    if !is_guarded && deeds_are_plain(rule) {
        return Ok(Some(carry_out(rules, rule, row)));
    }
    as_role(rule.owner, || {
        step::in_subtransaction(|| {
            let nest = pg::GucNest::open();
            expression::fix_settings(&rule.search_path);
            let econtext = capture::place(rules, &row.change);
            let holds = match &rule.condition {
                // SAFETY: state and context belong to the set, which we hold.
                Condition::Guarded(guarded) => unsafe { capture::evaluate(guarded, econtext) },
                _ => true,
            };
            let step = holds.then(|| carry_out(rules, rule, row));
            nest.undo();
            step
        })
    })
}

fn assigns(rule: &Rule) -> impl Iterator<Item = &Assign> {
    rule.inline.deeds.iter().flat_map(|deed| match deed {
        Deed::Set(assigns) => assigns.as_slice(),
        Deed::Reject(_) => &[],
    })
}

/// True when the rule's values can neither fail nor run foreign code.
fn deeds_are_plain(rule: &Rule) -> bool {
    assigns(rule).all(|assign| matches!(assign.value, Condition::Plain(_)))
}

/// A failure ends the states that expressions had.
fn forget_states(rule: &Rule) {
    let values = assigns(rule).map(|assign| &assign.value);
    for expression in values.chain([&rule.condition]) {
        if let Condition::Guarded(guarded) = expression {
            guarded.state.set(std::ptr::null_mut());
        }
    }
}

/// Does what a rule says, in its order.
fn carry_out<'r>(rules: &Rules, rule: &'r Rule, mut row: Row) -> Step<'r> {
    for deed in &rule.inline.deeds {
        match deed {
            Deed::Set(assigns) => row = set(rules, &row, assigns),
            Deed::Reject(rejection) => return Step::Reject(row, rejection),
        }
    }
    Step::Row(row)
}

/// The row with other values. All of them are computed from the row as it is.
fn set(rules: &Rules, row: &Row, assigns: &[Assign]) -> Row {
    let econtext = capture::place(rules, &row.change);
    let mut columns: Vec<c_int> = assigns.iter().map(|a| c_int::from(a.column)).collect();
    let (mut values, mut nulls) = (Vec::new(), Vec::new());
    for assign in assigns {
        let mut is_null = true;
        // SAFETY: live states of this set; the value is of the column's type, in the memory of
        // the row.
        let value = unsafe {
            let state = match &assign.value {
                Condition::Plain(state) => *state,
                Condition::Guarded(guarded) => capture::state_of(guarded),
                Condition::Always | Condition::Broken => std::ptr::null_mut(),
            };
            match state.as_ref().and_then(|state| state.evalfunc) {
                Some(evaluate) => {
                    let place = &raw mut is_null;
                    pg::guarded(|| evaluate(state, econtext, place))
                }
                None => pg_sys::Datum::from(0),
            }
        };
        values.push(value);
        nulls.push(is_null);
    }
    // SAFETY: as many columns as values, of a row of this relation.
    let tuple = unsafe {
        pg_sys::heap_modify_tuple_by_cols(
            row.tuple,
            (*row.change.relation).rd_att,
            columns.len() as c_int,
            columns.as_mut_ptr(),
            values.as_mut_ptr(),
            nulls.as_mut_ptr(),
        )
    };
    let changed = Row { change: Change { new: rules.new_row, ..row.change }, tuple, changed: true };
    restore(rules, &changed);
    changed
}

/// Puts a changed row where expressions look for it.
fn restore(rules: &Rules, row: &Row) {
    if row.changed {
        // SAFETY: the slot is the set's own, and leaves the tuple to its memory context.
        unsafe { pg_sys::ExecStoreHeapTuple(row.tuple, rules.new_row, false) };
    }
}

/// The error that a rejection means. Texts that cannot be made for the row do not save it.
fn refusal(rules: &Rules, rule: &Rule, row: &Row, rejection: &Rejection) -> *mut pg_sys::ErrorData {
    let rejected = if rejection.is_constant() {
        rejection.render(&Value::Null).map_err(|e| e.to_string())
    } else {
        let writer = pg::role_name(pg::current_user());
        as_role(rule.owner, || {
            step::in_subtransaction(|| {
                let context = context::of(rules, rule, &row.change, writer.as_deref());
                rejection.render(&context.unwrap_or_else(|e| e.raise()))
            })
        })
        .map_err(|failure| failure.message)
        .and_then(|rendered| rendered.map_err(|e| e.to_string()))
    };
    let rejected = rejected.unwrap_or_else(|why| Rejected {
        sqlstate: rejection.sqlstate.clone(),
        message: format!("rule \"{}\" refuses the row", rule.name),
        detail: Some(format!("The rule's own message could not be made: {why}.")),
        hint: None,
    });
    error_data(rules, rule, row, &rejected)
}

fn error_data(
    rules: &Rules,
    rule: &Rule,
    row: &Row,
    rejected: &Rejected,
) -> *mut pg_sys::ErrorData {
    let what = if row.change.operation == INSERT { "new row" } else { "change" };
    let detail = rejected.detail.clone().unwrap_or_else(|| {
        format!("Rule \"{}\" refuses the {what} of table \"{}\".", rule.name, rules.table)
    });
    // SAFETY: all of it is made in the memory of the row, which lives until the error is raised.
    unsafe {
        let error = pg_sys::palloc0(size_of::<pg_sys::ErrorData>()).cast::<pg_sys::ErrorData>();
        (*error).elevel = PgLogLevel::ERROR as c_int;
        (*error).sqlerrcode = sqlstate(&rejected.sqlstate);
        (*error).message = text(&rejected.message);
        (*error).detail = text(&detail);
        (*error).hint = rejected.hint.as_deref().map_or(std::ptr::null_mut(), |hint| text(hint));
        (*error).schema_name = text(&rules.schema);
        (*error).table_name = text(&rules.table);
        (*error).assoc_context = pg_sys::CurrentMemoryContext;
        error
    }
}

/// A palloc'd copy of a text; PostgreSQL knows no NUL.
unsafe fn text(text: &str) -> *mut c_char {
    let text = CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
    // SAFETY: copies a C string.
    unsafe { pg_sys::pstrdup(text.as_ptr()) }
}

/// Five characters as PostgreSQL packs them.
fn sqlstate(code: &str) -> c_int {
    let bits = |byte: u8| c_int::from(byte.wrapping_sub(b'0') & 0x3F);
    code.bytes().take(5).enumerate().fold(0, |all, (at, byte)| all | bits(byte) << (6 * at))
}
