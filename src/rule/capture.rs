//! The trigger of a table with rules and data triggers: which of them does a changed row match?

use super::cache::{self, Condition, DELETE, Guarded, INSERT, Rules, Test, Timing, UPDATE};
use super::{cause, expression, fault, fired, matched, ruleset, tally, view, within};
use crate::error::{Error, Failure, Result};
use crate::spi::own::as_role;
use crate::spi::step;
use crate::{guc, pg};
use pgrx::pg_sys::errcodes::PgSqlErrorCode::*;
use pgrx::prelude::*;
use std::rc::Rc;

#[doc(hidden)]
#[unsafe(no_mangle)]
pub extern "C-unwind" fn pg_finfo_automate_capture() -> *const pg_sys::Pg_finfo_record {
    static RECORD: pg_sys::Pg_finfo_record = pg_sys::Pg_finfo_record { api_version: 1 };
    &RECORD
}

#[doc(hidden)]
#[unsafe(no_mangle)]
#[pg_guard]
pub unsafe extern "C-unwind" fn automate_capture(
    fcinfo: pg_sys::FunctionCallInfo,
) -> pg_sys::Datum {
    // SAFETY: PostgreSQL hands over a valid call frame, and TriggerData as its context when the
    // function is called as a trigger.
    let captured = unsafe {
        let context = (*fcinfo).context;
        match (Change::of(context, pg_sys::TRIGGER_EVENT_AFTER), view::row(context)) {
            (Some(change), _) => capture(&change).map(|()| pg_sys::Datum::from(0)),
            (None, Some(row)) => view::capture(row),
            (None, None) => Err(Error::refused(
                ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
                "automate.capture() must be called by an AFTER or INSTEAD OF trigger for each row",
            )
            .with_detail("It was called in another way.")
            .with_hint("SELECT automate.create_rule(...) makes the trigger.")),
        }
    };
    match captured {
        Ok(answer) => answer,
        Err(error) => error.raise(),
    }
}

/// One changed row.
#[derive(Clone, Copy)]
pub struct Change {
    pub relation: pg_sys::Relation,
    /// INSERT, UPDATE or DELETE.
    pub operation: u8,
    /// Null where the operation has no such row.
    pub new: *mut pg_sys::TupleTableSlot,
    pub old: *mut pg_sys::TupleTableSlot,
    /// The table that the row is in, where a table from which that one inherits sees it.
    pub part: Option<pg_sys::Oid>,
}

impl Change {
    /// What the trigger was called for; None if it is not a row trigger of that timing.
    pub(super) unsafe fn of(context: *mut pg_sys::Node, timing: u32) -> Option<Change> {
        // SAFETY: the tag says that it is TriggerData, whose slots live during the call.
        unsafe {
            if context.is_null() || (*context).type_ != pg_sys::NodeTag::T_TriggerData {
                return None;
            }
            let data = &*context.cast::<pg_sys::TriggerData>();
            let event = data.tg_event;
            if event & pg_sys::TRIGGER_EVENT_ROW == 0
                || event & pg_sys::TRIGGER_EVENT_TIMINGMASK != timing
            {
                return None;
            }
            let none = std::ptr::null_mut();
            let (operation, new, old) = match event & pg_sys::TRIGGER_EVENT_OPMASK {
                pg_sys::TRIGGER_EVENT_INSERT => (INSERT, data.tg_trigslot, none),
                pg_sys::TRIGGER_EVENT_UPDATE => (UPDATE, data.tg_newslot, data.tg_trigslot),
                pg_sys::TRIGGER_EVENT_DELETE => (DELETE, none, data.tg_trigslot),
                _ => return None,
            };
            Some(Change { relation: data.tg_relation, operation, new, old, part: None })
        }
    }

    /// The part of the table that an event names beside it.
    pub fn partition(&self, rules: &Rules) -> Option<String> {
        match self.part {
            Some(relid) => Some(cache::name_of(relid).1),
            None => rules.partition.clone(),
        }
    }

    /// True for an update that left every byte of the row as it was.
    pub(super) fn is_idle(&self) -> bool {
        /// Bytes of a tuple before its null bitmap.
        const HEADER: usize = std::mem::offset_of!(pg_sys::HeapTupleHeaderData, t_bits);
        /// The bits of t_infomask that speak of the data and not of transactions.
        const DATA_BITS: u16 = 0x000F;
        if self.operation != UPDATE {
            return false;
        }
        // SAFETY: the slots of an UPDATE trigger hold heap tuples, which live during the call.
        unsafe {
            let new = pg_sys::ExecFetchSlotHeapTuple(self.new, false, std::ptr::null_mut());
            let old = pg_sys::ExecFetchSlotHeapTuple(self.old, false, std::ptr::null_mut());
            let (a, b) = ((*new).t_data, (*old).t_data);
            let length = (*new).t_len as usize;
            let attributes = pg_sys::HEAP_NATTS_MASK as u16;
            length == (*old).t_len as usize
                && length >= HEADER
                && (*a).t_hoff == (*b).t_hoff
                && ((*a).t_infomask2 ^ (*b).t_infomask2) & attributes == 0
                && ((*a).t_infomask ^ (*b).t_infomask) & DATA_BITS == 0
                && std::slice::from_raw_parts(a.cast::<u8>().add(HEADER), length - HEADER)
                    == std::slice::from_raw_parts(b.cast::<u8>().add(HEADER), length - HEADER)
        }
    }
}

/// Finds the rules and data triggers that a change matches, also those of tables above this one.
pub fn capture(change: &Change) -> Result<()> {
    if guc::skip_rules() {
        return check_owner(change.relation);
    }
    // SAFETY: PostgreSQL holds the table open while its trigger runs.
    let rules = unsafe { cache::rules_of(change.relation, Timing::After)? };
    let is_wanted = rules.operations & change.operation != 0;
    if (!is_wanted && rules.parents.is_empty()) || change.is_idle() {
        return Ok(());
    }
    if is_wanted {
        decide(&rules, change)?;
    }
    rules.parents.iter().try_for_each(|parent| parent.capture(change))
}

/// Lets the matches of a change be done: jobs of rules, events of triggers.
pub fn decide(rules: &Rc<Rules>, change: &Change) -> Result<()> {
    tally::touch(rules);
    let mut hits = plain_hits(rules, change);
    if !rules.guarded.is_empty() {
        guarded_hits(rules, change, &mut hits)?;
        hits.sort_unstable();
    }
    if hits.is_empty() {
        return Ok(());
    }
    rules.tally.matched(&hits);
    choose(rules, change, &mut hits)?;
    if hits.is_empty() {
        return Ok(());
    }
    let fires = hits.split_off(hits.partition_point(|hit| *hit < rules.first_trigger));
    if cause::depth() >= cause::MAX_DEPTH {
        refuse_loop(rules, &hits)?;
        return refuse_loop(rules, &fires);
    }
    within::run(rules, &mut hits, change)?;
    matched::put(rules, &hits, change)?;
    fired::put(rules, &fires, change)
}

/// Leaves those of the rules that match that are to act.
fn choose(rules: &Rules, change: &Change, hits: &mut Vec<u32>) -> Result<()> {
    let matched = hits.len();
    let all = hits.clone();
    // A rule does not see what its own action does.
    let own = cause::rule();
    hits.retain(|hit| {
        let rule = &rules.rules[*hit as usize];
        rule.terms.hold(change) && own != Some(rule.id)
    });
    // Triggers stand behind the rules, and are no part of what they decide among themselves.
    let fires = hits.split_off(hits.partition_point(|hit| *hit < rules.first_trigger));
    ruleset::settle(rules, hits)?;
    hits.extend(fires);
    if hits.len() < matched {
        all.iter().filter(|hit| !hits.contains(hit)).for_each(|hit| rules.tally.skipped(*hit));
    }
    Ok(())
}

/// Only a table's owner may keep changes from its rules, which may be somebody else's.
pub(super) fn check_owner(relation: pg_sys::Relation) -> Result<()> {
    // SAFETY: the table is open; a look-up in the catalog.
    let (is_owner, name) = unsafe {
        let name = std::ffi::CStr::from_ptr((*(*relation).rd_rel).relname.data.as_ptr());
        (pg_sys::pg_class_ownercheck((*relation).rd_id, pg::current_user()), name)
    };
    if is_owner {
        return Ok(());
    }
    Err(Error::forbidden("automate.skip_rules is for the owner of a table")
        .with_detail(format!("Table \"{}\" belongs to another role.", name.to_string_lossy()))
        .with_hint("SET LOCAL automate.skip_rules = off before you write to it."))
}

/// The rules whose plain conditions match.
fn plain_hits(rules: &Rules, change: &Change) -> Vec<u32> {
    if rules.tests.is_empty() {
        return Vec::new();
    }
    let econtext = place(rules, change);
    let Some(index) = &rules.index else { return matching(rules, &rules.tests, change, econtext) };
    // SAFETY: rows of the table, or its row of NULLs; plain conditions do not look into the index.
    let mut hits = unsafe {
        let (new, old) = ((*econtext).ecxt_outertuple, (*econtext).ecxt_innertuple);
        index.with_candidates(new, old, |tests| matching(rules, tests, change, econtext))
    };
    hits.sort_unstable();
    hits
}

/// The rules of the tests that a change passes, all under one guard.
fn matching(
    rules: &Rules,
    tests: &[Test],
    change: &Change,
    econtext: *mut pg_sys::ExprContext,
) -> Vec<u32> {
    rules.tally.evaluated(tests, change.operation);
    let mut hits: Vec<u32> = Vec::new();
    let mut few = [0u32; 16];
    let (tests, count) = (tests.as_ptr(), tests.len());
    let many = count > few.len();
    let out = if many {
        hits.reserve(count);
        hits.as_mut_ptr()
    } else {
        few.as_mut_ptr()
    };
    let operation = change.operation;
    // SAFETY: `out` has room for every test. Only plain values are in the guarded frame.
    let found = pg::guarded(|| unsafe { run_tests(tests, count, operation, econtext, out) });
    if many {
        // SAFETY: so many were written.
        unsafe { hits.set_len(found) };
    } else if found > 0 {
        hits.extend_from_slice(&few[..found]);
    }
    hits
}

/// Puts the rows where the expressions look for them.
pub(super) fn place(rules: &Rules, change: &Change) -> *mut pg_sys::ExprContext {
    let or_none = |slot: *mut pg_sys::TupleTableSlot| {
        if slot.is_null() { rules.no_row } else { slot }
    };
    // SAFETY: the context is the set's own.
    unsafe {
        (*rules.econtext).ecxt_outertuple = or_none(change.new);
        (*rules.econtext).ecxt_innertuple = or_none(change.old);
    }
    rules.econtext
}

/// Evaluates the tests; writes the indexes of the rules that match and returns their number.
unsafe fn run_tests(
    tests: *const Test,
    count: usize,
    operation: u8,
    econtext: *mut pg_sys::ExprContext,
    out: *mut u32,
) -> usize {
    // SAFETY: the caller passes arrays of that length and live states; errors leave by a jump
    // over this frame, which owns nothing.
    unsafe {
        let memory = (*econtext).ecxt_per_tuple_memory;
        let before = pg_sys::MemoryContextSwitchTo(memory);
        let mut found = 0;
        for i in 0..count {
            let test = *tests.add(i);
            if test.operations & operation != 0
                && (test.state.is_null() || is_true(test.state, econtext))
            {
                *out.add(found) = test.rule;
                found += 1;
            }
        }
        pg_sys::MemoryContextSwitchTo(before);
        if !(*memory).isReset {
            pg_sys::MemoryContextReset(memory);
        }
        found
    }
}

pub(super) unsafe fn is_true(
    state: *mut pg_sys::ExprState,
    econtext: *mut pg_sys::ExprContext,
) -> bool {
    let mut is_null = false;
    // SAFETY: a state that ExecInitExpr made ready.
    unsafe {
        match (*state).evalfunc {
            Some(evaluate) => {
                evaluate(state, econtext, &raw mut is_null).value() & 0xFF != 0 && !is_null
            }
            None => false,
        }
    }
}

/// The rules whose conditions may fail: each as its owner, in a subtransaction.
fn guarded_hits(rules: &Rules, change: &Change, hits: &mut Vec<u32>) -> Result<()> {
    for index in &rules.guarded {
        let rule = &rules.rules[*index as usize];
        let Condition::Guarded(guarded) = &rule.condition else { continue };
        if rule.operations & change.operation == 0 || !rule.terms.hold(change) {
            continue;
        }
        rules.tally.evaluated_one(*index);
        let econtext = place(rules, change);
        let outcome = as_role(rule.owner, || {
            step::in_subtransaction(|| {
                let nest = pg::GucNest::open();
                expression::fix_settings(&rule.search_path);
                // SAFETY: state and context belong to the set, which we hold.
                let is_match = unsafe { evaluate(guarded, econtext) };
                nest.undo();
                is_match
            })
        });
        match outcome {
            Ok(true) => hits.push(*index),
            Ok(false) => {}
            Err(failure) => {
                guarded.state.set(std::ptr::null_mut());
                // SAFETY: nothing is evaluated now.
                unsafe { pg_sys::MemoryContextReset((*econtext).ecxt_per_tuple_memory) };
                pass_over(rules, *index, failure)?;
            }
        }
    }
    Ok(())
}

/// Evaluates a condition with a state of this transaction.
pub(super) unsafe fn evaluate(guarded: &Guarded, econtext: *mut pg_sys::ExprContext) -> bool {
    // SAFETY: the state is of this transaction.
    unsafe {
        let state = state_of(guarded);
        let memory = (*econtext).ecxt_per_tuple_memory;
        let before = pg_sys::MemoryContextSwitchTo(memory);
        let is_match = pg::guarded(|| is_true(state, econtext));
        pg_sys::MemoryContextSwitchTo(before);
        pg_sys::MemoryContextReset(memory);
        is_match
    }
}

/// The state of an expression that may fail, made anew for each transaction.
pub(super) unsafe fn state_of(guarded: &Guarded) -> *mut pg_sys::ExprState {
    // SAFETY: the context holds only the state, which is not in use.
    unsafe {
        let transaction = cache::this_transaction();
        if guarded.state.get().is_null() || guarded.made.get() != transaction {
            guarded.state.set(std::ptr::null_mut());
            pg_sys::MemoryContextReset(guarded.context);
            let before = pg_sys::MemoryContextSwitchTo(guarded.context);
            guarded.state.set(pg_sys::ExecInitExpr(guarded.expr, std::ptr::null_mut()));
            pg_sys::MemoryContextSwitchTo(before);
            guarded.made.set(transaction);
        }
        guarded.state.get()
    }
}

/// Notes a failure of a condition and lets the writer go on, unless the session itself is to stop.
pub fn pass_over(rules: &Rules, index: u32, failure: Failure) -> Result<()> {
    let rule = &rules.rules[index as usize];
    if failure.stops() {
        return Err(failure.into());
    }
    if rule.terms.fails {
        let message = format!("rule \"{}\": {}", rule.name, failure.message);
        return Err(Error::from(Failure { message, ..failure })
            .or_detail("Its owner wants writes to fail when it cannot be decided.")
            .or_hint("Mend the row, or let the owner of the rule mend its condition."));
    }
    fault::note(&rule.culprit(), &failure, false)
}

/// The change ends a chain of rules that cause each other.
pub(super) fn refuse_loop(rules: &Rules, hits: &[u32]) -> Result<()> {
    for hit in hits {
        let message = format!(
            "the change ends a chain of {} rules, each caused by the one before",
            cause::depth()
        );
        let failure = Failure {
            code: ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            message,
            detail: None,
            hint: Some(
                "The rules feed each other: give one of them a condition that ends the loop."
                    .into(),
            ),
        };
        pass_over(rules, *hit, failure)?;
    }
    Ok(())
}
