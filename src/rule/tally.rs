//! What the rules of a table did in this transaction, on its way to the counters in shared memory.

use super::cache::{Rules, Test};
use crate::pg;
use crate::shmem::counter::Counts;
use crate::shmem::registry;
use pgrx::prelude::*;
use std::cell::{Cell, RefCell};
use std::ffi::c_void;
use std::rc::Rc;

thread_local! {
    /// The sets of which something is to be told.
    static TOUCHED: RefCell<Vec<Rc<Rules>>> = const { RefCell::new(Vec::new()) };
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
    if !REGISTERED.replace(true) {
        // SAFETY: registered once per backend, for its life; the function is ours and static.
        unsafe { pg_sys::RegisterXactCallback(Some(at_end), pg::NO_ARG) };
    }
    TOUCHED.with_borrow_mut(|touched| touched.push(rules.clone()));
}

#[pg_guard]
unsafe extern "C-unwind" fn at_end(event: pg_sys::XactEvent::Type, _arg: *mut c_void) {
    use pg_sys::XactEvent::*;
    let committed = event == XACT_EVENT_COMMIT || event == XACT_EVENT_PREPARE;
    if committed || event == XACT_EVENT_ABORT {
        let touched = TOUCHED.with(|t| t.try_borrow_mut().map(|mut t| std::mem::take(&mut *t)));
        for rules in touched.unwrap_or_default() {
            tell(&rules, committed);
        }
    }
}

/// Adds what was counted to the counters. What was rolled back was evaluated, but did not match.
fn tell(rules: &Rules, committed: bool) {
    let tally = &rules.tally;
    tally.is_touched.set(false);
    // SAFETY: reads a process-local variable.
    let now = unsafe { pg_sys::GetCurrentTransactionStopTimestamp() };
    let mut counts = tally.counts.borrow_mut();
    for index in tally.changed.borrow_mut().drain(..) {
        let mut counted = std::mem::take(&mut counts[index as usize]);
        if !committed {
            (counted.matched, counted.skipped) = (0, 0);
        }
        if counted.matched > counted.skipped {
            counted.last = now;
        }
        if let Some(registry) = registry() {
            registry.counters.add(pg::my_database(), rules.rules[index as usize].id, counted);
        }
    }
}
