//! Rules that ask for a range of a column's values: which of them contain a value?
//!
//! A segment tree over the ends of all ranges: a value finds its place among them by binary search,
//! and the ranges that contain it on the way from there to the root.

use super::asks::{Bounds, Order};
use super::cache::Test;
use crate::pg;
use pgrx::prelude::*;
use std::cmp::Ordering;

/// The ranges of one column, in one order.
pub struct Ranges {
    compare: Compare,
    /// Every end once, ascending.
    ends: Vec<pg_sys::Datum>,
    /// The places are before the first end, at it, between it and the next, and so on. A node holds
    /// the ranges that contain all of its places and not all of its parent's.
    nodes: Vec<Vec<Test>>,
}

/// A comparison function that is ready to be called.
struct Compare {
    function: Box<pg_sys::FmgrInfo>,
    collation: pg_sys::Oid,
}

impl Compare {
    /// # Safety
    /// `context` lives as long as what is made here.
    unsafe fn of(order: Order, context: pg_sys::MemoryContext) -> Compare {
        let mut function = Box::new(pg_sys::FmgrInfo::default());
        // SAFETY: the function exists, and what it keeps goes into the context.
        unsafe { pg_sys::fmgr_info_cxt(order.compare, &mut *function, context) };
        Compare { function, collation: order.collation }
    }

    /// # Safety
    /// Both are of the type that the function compares. Errors leave by a jump.
    unsafe fn call(&self, a: pg_sys::Datum, b: pg_sys::Datum) -> Ordering {
        let function = std::ptr::from_ref(&*self.function).cast_mut();
        // SAFETY: as the caller promises.
        let answer = unsafe { pg::c::FunctionCall2Coll(function, self.collation, a, b) };
        (answer.value() as i32).cmp(&0)
    }
}

impl Ranges {
    /// Builds the tree.
    ///
    /// # Safety
    /// The bounds are of the type that the order is for; they and `context` live as long as the tree.
    pub unsafe fn of(
        order: Order,
        ranges: &[(Test, Bounds)],
        context: pg_sys::MemoryContext,
    ) -> Ranges {
        // SAFETY: as the caller promises.
        let compare = unsafe { Compare::of(order, context) };
        let mut ends: Vec<pg_sys::Datum> =
            ranges.iter().flat_map(|(_, bounds)| [bounds.low, bounds.high]).flatten().collect();
        // SAFETY: as the caller promises; the comparison is guarded, since the sort owns memory.
        let ordering =
            |a: &pg_sys::Datum, b: &pg_sys::Datum| unsafe { pg::guarded(|| compare.call(*a, *b)) };
        ends.sort_by(ordering);
        ends.dedup_by(|a, b| ordering(a, b) == Ordering::Equal);
        let mut tree = Ranges { compare, ends, nodes: Vec::new() };
        tree.nodes.resize_with(2 * tree.places(), Vec::new);
        for (test, bounds) in ranges {
            // SAFETY: as above.
            let place = |end: pg_sys::Datum| unsafe { tree.place(end) };
            let first = bounds.low.map_or(0, place);
            let last = bounds.high.map_or(tree.places() - 1, place);
            tree.insert(*test, first, last);
        }
        tree
    }

    fn places(&self) -> usize {
        2 * self.ends.len() + 1
    }

    /// Puts a test at the nodes that together are its places. A range that ends before it begins
    /// is nowhere.
    fn insert(&mut self, test: Test, first: usize, last: usize) {
        let (mut from, mut to) = (first + self.places(), last + self.places() + 1);
        while from < to {
            if from & 1 == 1 {
                self.nodes[from].push(test);
                from += 1;
            }
            if to & 1 == 1 {
                to -= 1;
                self.nodes[to].push(test);
            }
            from >>= 1;
            to >>= 1;
        }
    }

    /// Where a value is among the ends.
    unsafe fn place(&self, value: pg_sys::Datum) -> usize {
        let (ends, compare) = (self.ends.as_slice(), &self.compare);
        // One guard for all comparisons: there are only plain values in the guarded frame.
        // SAFETY: the value is of the column's type, as the ends are.
        pg::guarded(|| unsafe {
            let (mut low, mut high) = (0, ends.len());
            while low < high {
                let middle = usize::midpoint(low, high);
                match compare.call(ends[middle], value) {
                    Ordering::Less => low = middle + 1,
                    Ordering::Equal => return 2 * middle + 1,
                    Ordering::Greater => high = middle,
                }
            }
            2 * low
        })
    }

    /// Adds the tests whose range contains the value.
    ///
    /// # Safety
    /// The value is not NULL and of the column's type.
    pub unsafe fn containing(&self, value: pg_sys::Datum, found: &mut Vec<Test>) {
        // SAFETY: as the caller promises.
        let mut node = unsafe { self.place(value) } + self.places();
        while node > 0 {
            found.extend_from_slice(&self.nodes[node]);
            node >>= 1;
        }
    }
}
