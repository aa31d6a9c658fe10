//! The memory one evaluation may use: what it allocates is counted before it is allocated.
//!
//! jaq gives no context to the operations on values, so the count lives in the thread. What runs
//! out leaves by unwinding with [`Stop`], as in `meter`: `try` cannot swallow it.

use super::meter::Stop;
use std::cell::Cell;
use std::panic::resume_unwind;

/// Bytes of one value, parts that are shared counted as often as they appear.
pub(super) const MAX_SIZE: usize = 16 * 1024 * 1024;
/// Levels of one value.
pub(super) const MAX_DEPTH: usize = 1_000;
/// Accesses (`.a`, `.[0]`, `.[1:]`) in a chain; jaq frees the path of a chain recursively.
pub(super) const MAX_CHAIN: usize = 4_000;
/// Bytes an evaluation may allocate in all, whether it frees them or not.
const BYTES: usize = 64 * 1024 * 1024;
/// Parts of values an evaluation may visit to weigh or compare them.
const VISITS: usize = 50_000_000;

thread_local! {
    static BYTES_LEFT: Cell<usize> = const { Cell::new(BYTES) };
    static VISITS_LEFT: Cell<usize> = const { Cell::new(VISITS) };
}

/// Ends the evaluation.
pub(super) fn stop(why: &'static str) -> ! {
    resume_unwind(Box::new(Stop(why)))
}

/// A full allowance, at the begin of an evaluation.
pub(super) fn begin() {
    BYTES_LEFT.set(BYTES);
    VISITS_LEFT.set(VISITS);
}

/// Pays for memory that is about to be allocated, or leaves.
pub(super) fn allocate(bytes: usize) {
    match BYTES_LEFT.get().checked_sub(bytes) {
        Some(left) => BYTES_LEFT.set(left),
        None => stop("it needs too much memory"),
    }
}

/// Pays for looking at `parts` parts of values, or leaves.
pub(super) fn visit(parts: usize) {
    match VISITS_LEFT.get().checked_sub(parts) {
        Some(left) => VISITS_LEFT.set(left),
        None => stop("it took too many steps"),
    }
}

/// Leaves when a value would be too large.
pub(super) fn check_size(bytes: usize) {
    if bytes > MAX_SIZE {
        stop("a value in it grows too large");
    }
}

/// Leaves when a value would be nested too deeply.
pub(super) fn check_depth(levels: usize) {
    if levels > MAX_DEPTH {
        stop("a value in it is nested too deeply");
    }
}
