//! What the rules of a table did in this transaction, on its way to the counters in shared memory.

use super::cache::{Rules, Test};
use crate::error::Result;
use crate::pg;
use crate::shmem::counter::Counts;
use crate::shmem::registry;
use crate::spi::Own;
use chrono::DateTime;
use pgrx::prelude::*;
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ffi::c_void;
use std::rc::Rc;
use uuid::Uuid;

thread_local! {
    /// The sets of which something is to be told.
    static TOUCHED: RefCell<Vec<Rc<Rules>>> = const { RefCell::new(Vec::new()) };
    /// What was counted of rules and triggers that are in no set.
    static LOOSE: RefCell<HashMap<Uuid, Counts>> = RefCell::default();
    /// Of the coordinator: whose counters there were when it last looked.
    static COUNTED: RefCell<HashSet<u64>> = RefCell::default();
    static REGISTERED: Cell<bool> = const { Cell::new(false) };
}

/// The counts of a set of rules since they were last told.
pub struct Tally {
    counts: RefCell<Vec<Counts>>,
    /// The rules of which something was counted.
    changed: RefCell<Vec<u32>>,
    is_touched: Cell<bool>,
}

impl Tally {
    pub fn of(rules: usize) -> Tally {
        Tally {
            counts: RefCell::new(vec![Counts::default(); rules]),
            changed: RefCell::default(),
            is_touched: Cell::new(false),
        }
    }

    /// Counts for a rule.
    fn with(&self, rule: u32, f: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.borrow_mut();
        let count = &mut counts[rule as usize];
        if count.evaluated == 0 && count.matched == 0 {
            self.changed.borrow_mut().push(rule);
        }
        f(count);
    }

    /// The conditions of these tests were evaluated on a change.
    pub fn evaluated(&self, tests: &[Test], operation: u8) {
        for test in tests.iter().filter(|test| test.operations & operation != 0) {
            self.with(test.rule, |count| count.evaluated += 1);
        }
    }

    /// The condition of one rule was evaluated.
    pub fn evaluated_one(&self, rule: u32) {
        self.with(rule, |count| count.evaluated += 1);
    }

    /// These rules matched.
    pub fn matched(&self, hits: &[u32]) {
        hits.iter().for_each(|hit| self.with(*hit, |count| count.matched += 1));
    }

    /// A rule that matched was passed over.
    pub fn skipped(&self, rule: u32) {
        self.with(rule, |count| count.skipped += 1);
    }
}

/// Says that something will be counted in a set in this transaction.
pub fn touch(rules: &Rc<Rules>) {
    if rules.tally.is_touched.replace(true) {
        return;
    }
    register();
    TOUCHED.with_borrow_mut(|touched| touched.push(rules.clone()));
}

/// Counts that the condition of a rule or trigger that is in no set was evaluated, and whether it
/// was true.
pub fn count(id: Uuid, is_match: bool) {
    register();
    LOOSE.with_borrow_mut(|loose| {
        let counts = loose.entry(id).or_default();
        counts.evaluated += 1;
        counts.matched += u64::from(is_match);
    });
}

/// Counts how long it took from an event until a subscriber of the trigger was done with it.
pub fn delay(trigger: Uuid, event: &Value) {
    let at = event["at"].as_str().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
    if let (Some(at), Some(registry)) = (at, registry()) {
        let us = pg::now() - (at.timestamp_micros() - pg::EPOCH_S * 1_000_000);
        registry.counters.add_delay(pg::my_database(), trigger, us);
    }
}

/// Frees the counters of rules and triggers that are no more; for the coordinator.
pub fn forget_dropped(own: &Own) -> Result<()> {
    let rows =
        own.run("SELECT id FROM automate.rule UNION ALL SELECT id FROM automate.trigger", &[])?;
    let id = |row| rows.get::<pgrx::Uuid>(row, 1).map(|id| Uuid::from_bytes(*id.as_bytes()));
    let known: Vec<Uuid> = (0..rows.len()).filter_map(id).collect();
    if let Some(registry) = registry() {
        COUNTED.with_borrow_mut(|was| {
            registry.counters.forget_others(pg::my_database(), &known, was);
        });
    }
    Ok(())
}

fn register() {
    if !REGISTERED.replace(true) {
        // SAFETY: registered once per backend, for its life; the function is ours and static.
        unsafe { pg_sys::RegisterXactCallback(Some(at_end), pg::NO_ARG) };
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    let committed = event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE;
    if committed || event == XACT_EVENT_ABORT {
        let touched = TOUCHED.with(|t| t.try_borrow_mut().map(|mut t| std::mem::take(&mut *t)));
        for rules in touched.unwrap_or_default() {
            tell_set(&rules, committed);
        }
        let loose = LOOSE.with(|l| l.try_borrow_mut().map(|mut l| std::mem::take(&mut *l)));
        for (id, counts) in loose.unwrap_or_default() {
            tell(id, counts, committed);
        }
    }
}

fn tell_set(rules: &Rules, committed: bool) {
    let tally = &rules.tally;
    tally.is_touched.set(false);
    let mut counts = tally.counts.borrow_mut();
    for index in tally.changed.borrow_mut().drain(..) {
        let counted = std::mem::take(&mut counts[index as usize]);
        tell(rules.rules[index as usize].id, counted, committed);
    }
}

/// Adds what was counted to the counters. What was rolled back was evaluated, but did not match.
fn tell(id: Uuid, mut counted: Counts, committed: bool) {
    if !committed {
        (counted.matched, counted.skipped) = (0, 0);
    }
    if counted.matched > counted.skipped {
        // SAFETY: reads a process-local variable.
        counted.last = unsafe { pg_sys::GetCurrentTransactionStopTimestamp() };
    }
    if let Some(registry) = registry() {
        registry.counters.add(pg::my_database(), id, counted);
    }
}
