//! Many rules on one table: those that ask for certain values of a column are found by the row's
//! value, so that a thousand of them cost no more than a few.

use super::asks::{Ask, Bounds, Column, Key, Kind, Of, Order};
use super::cache::Test;
use super::range::Ranges;
use pgrx::prelude::*;
use std::cell::RefCell;
use std::collections::HashMap;

/// From so many conditions on, looking up is cheaper than evaluating all.
pub const WORTH_IT: usize = 16;

/// The conditions of a table by the values they ask for.
pub struct Index {
    values: Vec<ByValue>,
    ranges: Vec<ByRange>,
    /// Conditions that ask for nothing of the kind.
    rest: Vec<Test>,
    /// Where candidates are gathered, kept from row to row.
    found: RefCell<Vec<Test>>,
}

struct ByValue {
    column: Column,
    kind: Kind,
    tests: HashMap<Key, Vec<Test>>,
}

struct ByRange {
    column: Column,
    ranges: Ranges,
}

/// The ranges of one column in one order, while they are gathered.
type Gathered = (Column, Order, Vec<(Test, Bounds)>);

impl Index {
    /// Builds it from the tests and what each asks for.
    ///
    /// # Safety
    /// The asks come from expressions that live as long as `context` and the index do.
    pub unsafe fn of(tests: Vec<(Test, Option<Ask>)>, context: pg_sys::MemoryContext) -> Index {
        let mut values: Vec<ByValue> = Vec::new();
        let mut gathered: Vec<Gathered> = Vec::new();
        let mut rest = Vec::new();
        for (test, ask) in tests {
            match ask {
                None => rest.push(test),
                Some(Ask { column, of: Of::Values(kind, keys) }) => {
                    let same = |v: &ByValue| v.column == column && v.kind == kind;
                    let at = values.iter().position(same).unwrap_or_else(|| {
                        values.push(ByValue { column, kind, tests: HashMap::new() });
                        values.len() - 1
                    });
                    for key in keys {
                        values[at].tests.entry(key).or_default().push(test);
                    }
                }
                Some(Ask { column, of: Of::Between(order, bounds) }) => {
                    let same = |g: &Gathered| g.0 == column && g.1 == order;
                    let at = gathered.iter().position(same).unwrap_or_else(|| {
                        gathered.push((column, order, Vec::new()));
                        gathered.len() - 1
                    });
                    gathered[at].2.push((test, bounds));
                }
            }
        }
        let tree = |(column, order, ranges): Gathered| {
            // SAFETY: as the caller promises.
            ByRange { column, ranges: unsafe { Ranges::of(order, &ranges, context) } }
        };
        let ranges = gathered.into_iter().map(tree).collect();
        Index { values, ranges, rest, found: RefCell::default() }
    }

    /// Hands the tests that a change may pass to `f`.
    ///
    /// # Safety
    /// The slots hold rows of the table for which the index was made; nothing that `f` does looks
    /// into the index.
    pub unsafe fn with_candidates<R>(
        &self,
        new: *mut pg_sys::TupleTableSlot,
        old: *mut pg_sys::TupleTableSlot,
        f: impl FnOnce(&[Test]) -> R,
    ) -> R {
        let mut found = self.found.borrow_mut();
        found.clear();
        found.extend_from_slice(&self.rest);
        // SAFETY: as the caller promises.
        let value =
            |column: Column| unsafe { value(if column.is_old { old } else { new }, column.number) };
        for by_value in &self.values {
            if let Some(datum) = value(by_value.column) {
                // SAFETY: the column is of a type of this kind.
                let tests = unsafe { by_value.kind.bytes(datum, |key| by_value.tests.get(key)) };
                found.extend_from_slice(tests.map_or(&[], Vec::as_slice));
            }
        }
        for by_range in &self.ranges {
            if let Some(datum) = value(by_range.column) {
                // SAFETY: the column is of the type that the ranges are of.
                unsafe { by_range.ranges.containing(datum, &mut found) };
            }
        }
        f(&found)
    }
}

/// The value of a column; None for NULL.
unsafe fn value(slot: *mut pg_sys::TupleTableSlot, number: i16) -> Option<pg_sys::Datum> {
    // SAFETY: after deforming, the arrays have entries up to the column.
    unsafe {
        if (*slot).tts_nvalid < number {
            pg_sys::slot_getsomeattrs_int(slot, i32::from(number));
        }
        let at = number as usize - 1;
        (!*(*slot).tts_isnull.add(at)).then(|| *(*slot).tts_values.add(at))
    }
}
